"""The certificate that this member streams with, lent to PostgreSQL through a volume in memory.

PostgreSQL reads it anew with each connection. Without the key none succeeds, and nothing else on the member can bring it back: that
makes taking it away a fence, while connections that are already there go on (whoever fences ends those, too).
"""

from __future__ import annotations

import os
from pathlib import Path

_KEY = "tls.key"
_FILES = ("ca.crt", "tls.crt", _KEY)
"""In the order in which they are put there: a key that is there has its certificate beside it."""


def snapshot(source: Path, files: tuple[str, ...]) -> dict[str, bytes]:
    """Files of a Secret's volume, all of the same version: the kubelet puts each version into a folder of its own, and turns the
    link `..data` to it.

    Raises:
        OSError: one is not there, or the kubelet removed that version just now.
    """
    data = source / "..data"
    folder = data.resolve(strict=True) if data.exists() else source
    return {name: (folder / name).read_bytes() for name in files}


class Credentials:
    """Copies from `source`, the Secret's volume that only the agent has, to `target`, which PostgreSQL reads."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target

    @property
    def connected(self) -> bool:
        """Whether PostgreSQL can open connections to a primary."""
        return (self._target / _KEY).exists()

    def connect(self) -> None:
        """Put the certificate there, the key last.

        Raises:
            OSError: the source lacks a file, or the target can not be written.
        """
        for name, content in snapshot(self._source, _FILES).items():
            self._put(name, content)

    def disconnect(self) -> None:
        """Take the key away. It stays away until the next `connect`; `refresh` does not bring it back.

        Raises:
            OSError: the target can not be written.
        """
        (self._target / _KEY).unlink(missing_ok=True)

    def refresh(self) -> bool:
        """After a renewal, put the new certificate there; only if one is there. True if it was another.

        Raises:
            OSError: as `connect`; what was there before still is.
        """
        if not self.connected:
            return False
        wanted = snapshot(self._source, _FILES)
        if all(self._content(name) == content for name, content in wanted.items()):
            return False
        for name, content in wanted.items():
            self._put(name, content)
        return True

    def _content(self, name: str) -> bytes | None:
        try:
            return (self._target / name).read_bytes()
        except FileNotFoundError:
            return None

    def _put(self, name: str, content: bytes) -> None:
        """Never half of a file; and a key that nobody else could read for a moment (libpq refuses one that others may)."""
        beside = self._target / f".{name}"
        beside.unlink(missing_ok=True)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        beside.replace(self._target / name)
