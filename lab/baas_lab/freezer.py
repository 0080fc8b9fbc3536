"""Lets go of processes that a node left frozen.

A node's runtime freezes a pod's control group for a moment whenever it changes it. A node that is killed in that moment leaves it so, and
what is frozen can not die: neither can the node then (Docker: "did not receive an exit event").
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_STATES = (("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0"))
"""File, what says that it is frozen, and what thaws it: of control groups version 1 and 2 (Linux documentation,
`cgroup-v1/freezer-subsystem` and `cgroup-v2`)."""


def thaw(containers: Iterable[str], root: Path = _ROOT) -> int:
    """Thaw all control groups of these containers (by id, or its beginning); how many were frozen. What may not be written is left."""
    thawed = 0
    ids = tuple(containers)
    for name, frozen, free in _STATES:
        for file in root.rglob(name):
            if any(each in str(file) for each in ids):
                with suppress(OSError):
                    if file.read_text().strip() == frozen:
                        file.write_text(free)
                        thawed += 1
    return thawed
