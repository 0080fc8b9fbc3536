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

REPOSITORY = Path(__file__).resolve().parents[1]


def host() -> dict[str, Any]:
    """CPU, memory in MiB, kernel, and the commit; nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "memory_mib": memory,
        "kernel": platform.release(),
        "commit": _commit(),
    }


def describe(lab: Cluster, **images: str) -> dict[str, Any]:
    """The host, and the versions of the lab on it; `images` are those that were measured."""
    versions = lab.get("nodes")["items"][0]["status"]["nodeInfo"]
    found = host()
    commit = found.pop("commit")
    return {
        **found,
        "kubernetes": versions["kubeletVersion"],
        "container_runtime": versions["containerRuntimeVersion"],
        "nodes": len(lab.nodes()),
        "volumes": lab.facts["storage"],
        **images,
        "commit": commit,
    }


def _commit() -> str:
    try:
        return run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty", "--abbrev=12"]).stdout.strip()
    except CommandError:
        return "unknown"
