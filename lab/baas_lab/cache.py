"""Everything that takes long to make is made once per version and shared by all checkouts.

An entry is a file or folder that exists only when it is complete: it is built under a temporary name and renamed. A
lock per entry keeps two processes from building the same thing. Interrupting at any moment is safe: what was left
behind under a temporary name is removed by the next build of that entry.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


def default_root() -> Path:
    """`$XDG_CACHE_HOME/baas-lab`, or `~/.cache/baas-lab`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "baas-lab"


@dataclass(frozen=True)
class Cache:
    """The folder, and the only way to put something into it."""

    root: Path = field(default_factory=default_root)

    def path(self, key: str) -> Path:
        """Where the entry `key` is, or will be. Keys carry their version (`kwok-0.8.0/kwok`)."""
        return self.root / "store" / key

    def has(self, key: str) -> bool:
        return self.path(key).exists()

    @property
    def empty(self) -> bool:
        """Whether nothing has been built yet."""
        return not any((self.root / "store").glob("[!.]*"))

    def ensure(self, key: str, build: Callable[[Path], None]) -> Path:
        """The entry `key`; if there is none, `build(target)` makes a file or a folder at `target`, a temporary name.

        Whatever `build` raises is raised here, and no entry exists afterwards.
        """
        final = self.path(key)
        if final.exists():
            return final
        with self.lock(key):
            if final.exists():
                return final
            final.parent.mkdir(parents=True, exist_ok=True)
            target = final.with_name(f".building-{final.name}")
            remove(target)
            try:
                build(target)
                target.rename(final)
            finally:
                remove(target)
        return final

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Held by one process at a time on this machine; others wait. Released by the kernel when the holder dies."""
        path = self.root / "locks" / name.replace("/", "_")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def log(self, name: str) -> Path:
        """The log file of one step. It grows with every run; the newest lines are at the end."""
        path = self.root / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def remove(path: Path) -> None:
    """Delete a file or a folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
