"""Tells PostgreSQL that its server certificate is another one by now: it reads the files at start and when it is reloaded.

By a signal, as that needs no password (PostgreSQL documentation, `pg_ctl`, "reload").
"""

from __future__ import annotations

import logging
import signal
from pathlib import Path

from baas_operator.agent.credentials import snapshot
from baas_operator.agent.postmaster import Postmaster

_FILES = ("ca.crt", "tls.crt", "tls.key")
_log = logging.getLogger("agent.reload")


class ServerCertificate:
    """Watches the certificate in `source`, the Secret's volume."""

    def __init__(self, source: Path, postmaster: Postmaster) -> None:
        self._source = source
        self._postmaster = postmaster
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
        if self._postmaster.signal(signal.SIGHUP) is None:
            return False
        self._told = now
        _log.info("PostgreSQL was told to load its certificate")
        return True
