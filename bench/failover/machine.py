"""What the results were measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from baas_lab.cluster import Cluster
from baas_lab.errors import CommandError
from baas_lab.process import run
from baas_operator.desired.images import Images

REPOSITORY = Path(__file__).resolve().parents[2]


def describe(lab: Cluster) -> dict[str, Any]:
    """CPU, memory in MiB, versions, and the commit; nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    versions = lab.get("nodes")["items"][0]["status"]["nodeInfo"]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "memory_mib": memory,
        "kernel": platform.release(),
        "kubernetes": versions["kubeletVersion"],
        "container_runtime": versions["containerRuntimeVersion"],
        "nodes": len(lab.nodes()),
        "volumes": lab.facts["storage"],
        "postgres_image": Images().postgres,
        "commit": _commit(),
    }


def _commit() -> str:
    try:
        return run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--abbrev=12"]).stdout.strip()
    except CommandError:
        return "unknown"
