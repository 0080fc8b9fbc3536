"""Tells PostgreSQL that its server certificate is another one by now: it reads the files at start and when it is reloaded.

By a signal, as that needs no password: agent and PostgreSQL are one user in one process namespace, and the lock file of PostgreSQL's
socket names the process (PostgreSQL documentation, "Signals" of `pg_ctl`, and `src/include/miscadmin.h` on lock files).
"""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

from baas_operator.agent.credentials import snapshot
from baas_operator.desired.database.names import POSTGRES_PORT

_FILES = ("ca.crt", "tls.crt", "tls.key")
_log = logging.getLogger("agent.reload")


class ServerCertificate:
    """Watches the certificate in `source`, the Secret's volume, for the PostgreSQL whose socket is in `sockets`."""

    def __init__(self, source: Path, sockets: Path, processes: Path = Path("/proc")) -> None:
        self._source = source
        self._lock = sockets / f".s.PGSQL.{POSTGRES_PORT}.lock"
        self._processes = processes
        self._told: dict[str, bytes] | None = None
        """What PostgreSQL was last told of. An agent that starts does not know, and so tells it once."""

    def look(self) -> bool:
        """Reload PostgreSQL if the certificate is another one; True if it was told. While it does not run, that stays to be done: it
        may have read the old files a moment ago.

        Raises:
            OSError: the certificate can not be read.
        """
        now = snapshot(self._source, _FILES)
        if now == self._told:
            return False
        process = self._postgres()
        if process is None:
            return False
        try:
            os.kill(process, signal.SIGHUP)
        except ProcessLookupError:
            return False
        self._told = now
        _log.info("PostgreSQL was told to load its certificate")
        return True

    def _postgres(self) -> int | None:
        """The postmaster, if it runs. After a crash the lock file may name a process that is another one by now."""
        try:
            process = int(self._lock.read_text().split("\n", 1)[0])
            name = (self._processes / str(process) / "comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return process if process > 1 and name == "postgres" else None
