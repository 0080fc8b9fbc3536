"""PostgreSQL's first process, and Patroni's, found without a password: agent and PostgreSQL are one user in one process namespace, and the
lock file of its socket names the first (PostgreSQL's source, `src/include/miscadmin.h` on lock files)."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from baas_operator.desired.database.names import POSTGRES_PORT

# What a session over the network has for a title, and does: `postgres: main: app appdb 10.0.0.7(41562) idle`; nothing is said to be done
# where titles are switched off. A server that receives has `walsender` before its user (PostgreSQL's source, backend_startup.c,
# `BackendInitialize`, and ps_status.c).
_SESSION = re.compile(rb"^postgres: (?!(?:\S+: )?walsender ).*\(\d+\)(?: (?P<does>.+))?$", re.DOTALL)
# What it does where it is about to be acknowledged: COMMIT, or any command that waits for standbys to confirm it (PostgreSQL's source,
# syncrep.c, `SyncRepWaitForLSN`; who waits for a lock is `waiting`, and not said for what).
_COMMITS = re.compile(rb"^COMMIT\b|waiting for [0-9A-F]+/[0-9A-F]+$")
_STATUS_LINE = 7
"""Of `postmaster.pid`, from 0 (PostgreSQL's source, src/include/utils/pidfile.h, `LOCK_FILE_LINE_PM_STATUS`)."""


class Postmaster:
    """The postmaster whose socket is in `sockets`."""

    def __init__(self, sockets: Path, processes: Path = Path("/proc")) -> None:
        self._lock = sockets / f".s.PGSQL.{POSTGRES_PORT}.lock"
        self._processes = processes

    @property
    def process(self) -> int | None:
        """Its number, if it runs. After a crash the lock file may name a process that is another one by now."""
        try:
            process = int(self._lock.read_text().split("\n", 1)[0])
            name = (self._processes / str(process) / "comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return process if process > 1 and name == "postgres" else None

    def signal(self, number: int) -> int | None:
        """Send it a signal (PostgreSQL documentation, "Shutting Down the Server"); the process that got it, if any."""
        process = self.process
        if process is None:
            return None
        try:
            os.kill(process, number)
        except ProcessLookupError:
            return None
        return process

    def end_idle(self) -> int:
        """End the sessions over the network that do nothing, outside a transaction; how many others there are.

        It goes by their titles: what pg_stat_activity says is some milliseconds old when it is acted upon, in which sessions came as far as
        their COMMIT. Where titles are switched off (`update_process_title`) all count as others.
        """
        others = 0
        for session, does in self._sessions():
            if does == b"idle":
                with suppress(OSError):
                    os.kill(session, signal.SIGTERM)
            else:
                others += 1
        return others

    def commits(self) -> bool:
        """Whether a session over the network is done with what it does but for being told so."""
        return any(_COMMITS.search(does) for _, does in self._sessions())

    def finish_stop(self) -> bool:
        """Have a server go that takes in nobody new and goes on with who is there, as whoever stops it leaves it for a moment; whether it
        was one."""
        try:
            data = Path(self._lock.read_text().split("\n")[1])
            stopping = (data / "postmaster.pid").read_text().split("\n")[_STATUS_LINE].strip() == "stopping"
        except (OSError, IndexError):
            return False
        return stopping and self.signal(signal.SIGINT) is not None

    def silent(self) -> set[int]:
        """The processes of clients that have connected and said nothing yet. They hold a shutdown up for as long as
        `authentication_timeout` is: a process that is made during one, to say no to who comes, is asked to go by nobody (PostgreSQL 18
        does so, "Kill dead-end children when there's nothing else left"). Each has its parent's title still: it gets one of its own with
        what the client says first (PostgreSQL's source, backend_startup.c, `BackendInitialize`)."""
        process, found = self.process, set[int]()
        if process is None:
            return found
        with suppress(OSError):
            title = self._title(process)
            for child in self._children():
                with suppress(OSError):
                    if self._title(child) == title:
                        found.add(child)
        return found

    def end(self, processes: Iterable[int]) -> None:
        """Ask those of them to go that are still silent: a number may be another's by now."""
        wanted = set(processes)
        for each in wanted & self.silent() if wanted else ():
            with suppress(OSError):
                os.kill(each, signal.SIGTERM)

    def end_patroni(self) -> bool:
        """End Patroni on the spot, if PostgreSQL does not run; whether it did. In a pod that is about to go it would start PostgreSQL once
        more, as the successor's standby, and shut it down again."""
        if self.process is not None:
            return False
        found = False
        for each in self._processes.glob("[0-9]*/comm"):
            with suppress(OSError):
                if each.read_text().strip() == "patroni":
                    os.kill(int(each.parent.name), signal.SIGKILL)
                    found = True
        return found

    def _sessions(self) -> Iterator[tuple[int, bytes]]:
        """Processes of sessions over the network, each with what it does; nothing where titles are switched off. One at a time, as a title
        that was read earlier may be true no more."""
        for child in self._children():
            with suppress(OSError):
                if found := _SESSION.match(self._title(child).rstrip(b"\0 ")):
                    yield child, found["does"] or b""

    def _children(self) -> list[int]:
        if (process := self.process) is None:
            return []
        try:
            return [int(each) for each in (self._processes / f"{process}/task/{process}/children").read_text().split()]
        except (OSError, ValueError):
            return []

    def _title(self, process: int) -> bytes:
        return (self._processes / str(process) / "cmdline").read_bytes()
