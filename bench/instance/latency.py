"""How much longer a request takes through the gateway than to PostgREST itself, and what a backend takes while nobody asks anything."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from baas_lab.errors import LabError
from tests.chaos.instance.backend import OursBackend
from tests.chaos.instance.load import slowest

RATE = 100
SECONDS = 15.0
_GOES = 4
CARRIED_SECONDS = 0.5
"""A backend that is carried answers 95 % of requests sooner, while nothing is done to it: what is slower waits for a processor."""
READS = {"read": 1, "list": 1}
SETTLE_SECONDS = 20.0
_OPERANDS = frozenset(
    {"postgres", "nats", "pgbouncer", "gateway", "rest", "reads", "auth", "storage", "meta", "functions", "server", "cache"}
)
"""Containers that one would run by hand, too; the others are ours: agents, checks, probers."""


def compare(backend: OursBackend, runs: int) -> list[dict[str, float]]:
    """p95 in seconds at the same load, by turns, as the machine is not the same from minute to minute. `direct`: to the same pods that the
    gateway leads to, in turn; `one`: all of it to one of them, which is quicker than three that have a third each and cool down between."""
    node = backend.client_node(in_zone=True)
    pods = _pods(backend, node)
    return [
        {"direct": direct, "gateway": through, "ratio": through / direct, "one": one, "ratio_to_one": through / one}
        for _ in range(runs)
        for direct, through, one in [(_p95(backend, node, pods), _p95(backend, node, []), _p95(backend, node, pods[:1]))]
    ]


def require_carried(backend: OursBackend, rate: int) -> None:
    """Whether this machine carries so many requests a second at all: else what is measured is the machine. A backend that was made just now
    is still busy with that, so it has more than one go. Raises LabError."""
    for _ in range(_GOES):
        with backend.loaded(backend.client_node(in_zone=True), rate=rate) as loading:
            began = time.monotonic()
            time.sleep(SECONDS)
            load = loading.load()
        found = load.between(began, began + SECONDS)
        if not load.skipped and all(each.good for each in found) and slowest(found, 95) <= CARRIED_SECONDS:
            return
    raise LabError(
        f"{rate} requests a second are more than this machine carries: undisturbed, {sum(not each.good for each in found)} of "
        f"{len(found)} failed, and 95 % were answered within {slowest(found, 95):.2f} s; {CARRIED_SECONDS} s are asked for. End what "
        "else runs here, or say a lower --rate."
    )


def _pods(backend: OursBackend, node: str) -> list[str]:
    """The pods of PostgREST; first one on the client's node, as the gateway that the client is led to is there, too."""
    pods = backend.get("pods", "--selector", f"baas-operator.io/name={backend.name},app.kubernetes.io/component=rest")["items"]
    return [f"http://{each['status']['podIP']}:3000" for each in sorted(pods, key=lambda each: each["spec"]["nodeName"] != node)]


def _p95(backend: OursBackend, node: str, urls: Sequence[str]) -> float:
    with backend.loaded(node, rate=RATE, mix=READS, urls=urls, prefix="" if urls else "/rest/v1") as loading:
        began = time.monotonic()
        time.sleep(SECONDS)
        load = loading.load()
    return slowest(load.between(began, began + SECONDS), 95)


def footprint(backend: OursBackend) -> dict[str, Any]:
    """Memory (working set, MiB) by container, as kubelets tell it: what one would run by hand, and what is ours beside it."""
    time.sleep(SETTLE_SECONDS)
    found: dict[str, float] = {}
    for node in backend.lab.workers():
        said = json.loads(backend.lab.kubectl("get", "--raw", f"/api/v1/nodes/{node.name}/proxy/stats/summary"))
        for pod in said.get("pods", []):
            if pod["podRef"]["namespace"] != backend.namespace or pod["podRef"]["name"].startswith(("ledger-", "load-")):
                continue
            for each in pod.get("containers", []):
                found[each["name"]] = found.get(each["name"], 0.0) + each.get("memory", {}).get("workingSetBytes", 0) / 2**20
    by_hand = sum(size for name, size in found.items() if name in _OPERANDS)
    return {
        "by_container_mib": {name: round(size) for name, size in sorted(found.items())}, "by_hand_mib": round(by_hand),
        "all_mib": round(sum(found.values())),
    }  # fmt: skip


def told(scene: str, what: Any) -> str:
    """One line, for people."""
    if scene == "latency":
        of = {key: ", ".join(f"{each:.2f}" for each in sorted(pair[key] for pair in what)) for key in ("ratio", "ratio_to_one")}
        return (
            f"p95 through the gateway ÷ the same pods of PostgREST: {of['ratio']}; ÷ one pod that has all of the load: {of['ratio_to_one']}"
        )
    return f"{what['all_mib']} MiB idle, of which {what['by_hand_mib']} MiB are the operands themselves: {what['by_container_mib']}"
