"""`make demo`, as a newcomer runs it: a zone loses power under load, the backend comes back by itself, nothing acknowledged is lost.

The demo counts and judges by itself; its exit code is 0 only when the primary moved and every acknowledged write was read back.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from baas_lab.cluster import Cluster

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO_SECONDS = 900.0
FEWEST_WRITES = 200
"""A run with fewer acknowledgements could hardly have noticed a loss."""


def test_a_zone_loses_power_and_no_acknowledged_write_is_lost(lab: Cluster) -> None:
    lab.kubectl("delete", "namespace", "quickstart", "--ignore-not-found", "--wait", timeout_seconds=360)
    done = subprocess.run(["make", "demo"], cwd=REPOSITORY, capture_output=True, text=True, timeout=DEMO_SECONDS, check=False)
    lab.kubectl("delete", "namespace", "quickstart", "--wait=false")

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    told = dict(re.findall(r"│ (.+?) +│ (.+?) +│", done.stdout))
    print("\n".join(f"{name}: {value}" for name, value in told.items()))
    assert int(told["Writes acknowledged"]) >= FEWEST_WRITES
    assert told["Acknowledged writes lost"] == "0"
    assert told["Acknowledged writes damaged"] == "0"
