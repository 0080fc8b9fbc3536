"""Has the server load what is new: users, routes, and its certificate.

The kubelet puts each version of a volume into a folder of its own and turns the link `..data` to it, so a look costs two system calls. A
server asked over NATS says whether it took it, which a signal would not tell. One that refuses goes on with what it has; it is asked again
for as long as the files are other ones than those that it has.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from baas_operator.jetstream.requests import Unreachable
from baas_operator.queue_agent.server import RefusedError, Server

_AGAIN_SECONDS = 15.0
_log = logging.getLogger("queue_agent.reload")

Version = tuple[object, ...]


def version_of(folder: Path) -> Version:
    """What changes when the content of a volume does: where its link leads, or, where it has none, when its files were written."""
    try:
        return (os.readlink(folder / "..data"),)
    except OSError:
        pass
    try:
        with os.scandir(folder) as found:
            return tuple(sorted((each.name, each.stat().st_mtime_ns) for each in found if each.is_file()))
    except OSError:
        return ()


class Reloader:
    """Watches `folders`. `clock` is monotonic."""

    def __init__(self, server: Server, folders: tuple[Path, ...], clock: Callable[[], float]) -> None:
        self._server = server
        self._folders = folders
        self._clock = clock
        self._taken: Version | None = None
        """What the server last took. An agent that starts does not know, and so asks once."""
        self._not_before = 0.0
        self.reloads = {"taken": 0, "refused": 0}
        self.refused: str | None = None
        """Why the server does not take what is in the files now."""

    async def look(self) -> bool:
        """Reload if something is new; whether the server took something."""
        now = tuple(version_of(each) for each in self._folders)
        if now == self._taken or self._clock() < self._not_before:
            return False
        try:
            digest = await self._server.reload()
        except RefusedError as refused:
            self._not_before = self._clock() + _AGAIN_SECONDS
            self.reloads["refused"] += 1
            if self.refused != str(refused):
                self.refused = str(refused)
                _log.error("the server refuses its new configuration and goes on with the old one: %s", refused)
            return False
        except Unreachable as error:
            self._not_before = self._clock() + _AGAIN_SECONDS / 10
            _log.debug("the server can not be asked to load its configuration: %r", error)
            return False
        self._taken, self.refused = now, None
        self.reloads["taken"] += 1
        _log.info("the server has loaded its configuration: %s", digest)
        return True
