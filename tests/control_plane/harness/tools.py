"""Where the binaries of the control plane come from: the lab builds them once a version into the user's cache.

`BAAS_TOOLS_DIR` names a folder with binaries of one's own instead (kwokctl, kwok, etcd, kubectl, kube-apiserver, …).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from baas_lab import binaries
from baas_lab.cache import Cache
from baas_lab.progress import Progress


def tool(name: str) -> Path:
    """Path of a binary; builds it first when the lab has not done so yet (minutes, once)."""
    own = os.environ.get("BAAS_TOOLS_DIR")
    if own:
        path = Path(own) / name
        assert path.exists(), f"BAAS_TOOLS_DIR has no {name}: put it there, or unset the variable to have it built"
        return path
    return _built() / name


def run(
    name: str, *args: str | Path, env: Mapping[str, str] | None = None, stdin: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a binary; stdout and stderr as text. `env` comes on top of the environment; a failure says what the binary said."""
    done = subprocess.run(
        [tool(name), *args],
        env=os.environ | (env or {}),
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, f"{name} {' '.join(map(str, args))}: {done.stderr or done.stdout}"
    return done


@cache
def _built() -> Path:
    return binaries.ensure(Cache(), Progress(), binaries.HOST_TOOLS)
