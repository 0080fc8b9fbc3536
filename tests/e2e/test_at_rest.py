"""What the agents cost while nothing happens: there is one beside each member, and one beside each PgBouncer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.e2e.harness.database import Database
from tests.e2e.harness.kube import Kube

pytestmark = pytest.mark.e2e

MOST_MIB = 60.0
MOST_OF_A_CORE = 0.01
MEASURED_SECONDS = 60.0
# Members share their processes among a pod's containers, so the agent is looked for; the one that asks is no agent.
LOOK = """
import json, os
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0")
        if any(word in (b"agent", b"pooler-agent") for word in words):
            stat = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
            status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
            found.append({"pid": pid, "ticks": int(stat[11]) + int(stat[12]), "rss": int(status["VmRSS"].split()[0]),
                          "own": int(status["RssAnon"].split()[0])})
    except (FileNotFoundError, ProcessLookupError):
        continue
print(json.dumps({"found": found, "hertz": os.sysconf("SC_CLK_TCK"), "at": __import__("time").monotonic()}))
"""


@pytest.mark.chaos
def test_agents_are_small_at_rest(kube: Kube, database: Database, figure: Callable[[str], None]) -> None:
    database.wait_whole()
    pods = {"member": database.names(), "pooler": [pod["metadata"]["name"] for pod in kube.pods_of(database.namespace, "main", "pooler")]}

    def look(pod: str) -> dict[str, float]:
        said = json.loads(kube.exec(database.namespace, pod, "agent", "python3", "-c", LOOK))
        (agent,) = said["found"]
        return {"mib": agent["rss"] / 1024, "own": agent["own"] / 1024, "seconds": agent["ticks"] / said["hertz"], "at": said["at"]}

    every = [(beside, pod) for beside, names in pods.items() for pod in names]
    for _, pod in every:
        look(pod)  # what the look itself costs the machine is over before it counts
    before = {pod: look(pod) for _, pod in every}
    time.sleep(MEASURED_SECONDS)  # this is what is measured, not a wait for something
    after = {pod: look(pod) for _, pod in every}

    told = {
        pod: (after[pod]["mib"], (after[pod]["seconds"] - before[pod]["seconds"]) / (after[pod]["at"] - before[pod]["at"]))
        for _, pod in every
    }  # fmt: skip
    for beside, pod in every:
        mib, share = told[pod]
        figure(f"agent beside {beside} {pod}: {mib:.1f} MiB resident ({after[pod]['own']:.1f} its own), {share:.2%} of a core at rest")
    assert max(mib for mib, _ in told.values()) <= MOST_MIB
    assert max(share for _, share in told.values()) <= MOST_OF_A_CORE
