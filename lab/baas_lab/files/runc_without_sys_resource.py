"""A container runtime that is runc, without CAP_SYS_RESOURCE: for machines whose bounding set lacks it.

Docker asks for the capability in each privileged container and in each exec into one; runc fails if it cannot give it.
Negative OOM scores need the same capability, so they become 0. The interpreter line is added when this is installed.
"""

import itertools
import json
import os
import shutil
import sys
from typing import Any

CAPABILITY = "CAP_SYS_RESOURCE"


def without_capability(process: dict[str, Any]) -> None:
    """Edit an OCI process object in place."""
    capabilities = process.get("capabilities") or {}
    for kind, names in capabilities.items():
        capabilities[kind] = [name for name in names or [] if name != CAPABILITY]
    if (process.get("oomScoreAdj") or 0) < 0:
        process["oomScoreAdj"] = 0


def edit(path: str, *, whole_spec: bool) -> None:
    """Rewrite config.json (`whole_spec`), or the process file of an exec."""
    with open(path) as handle:
        spec = json.load(handle)
    without_capability(spec["process"] if whole_spec else spec)
    with open(path, "w") as handle:
        json.dump(spec, handle)


def main(args: list[str]) -> None:
    for flag, value in itertools.pairwise(args):
        if flag in ("--bundle", "-b") and {"create", "run"} & set(args):
            edit(os.path.join(value, "config.json"), whole_spec=True)
        if flag in ("--process", "-p") and "exec" in args:
            edit(value, whole_spec=False)
    os.execv(shutil.which("runc") or "/usr/sbin/runc", ["runc", *args])  # noqa: S606 a wrapper becomes what it wraps


if __name__ == "__main__":
    main(sys.argv[1:])
