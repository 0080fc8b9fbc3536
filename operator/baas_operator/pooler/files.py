"""What changes of PgBouncer's configuration while it runs: where the primary is, and the certificate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from baas_operator.agent.credentials import snapshot
from baas_operator.desired.database import names

Certificate = dict[str, bytes]
"""Content by file name."""
_CERTIFICATE = ("ca.crt", "tls.crt", "tls.key")
NOWHERE = "127.0.0.1"
"""Where PgBouncer is told to go while there is no primary. It is paused then, and asks nobody."""
_NOWHERE_PORT = 1


@dataclass(frozen=True)
class Files:
    """The folder that we write for PgBouncer, and the Secret's volume with the server certificate."""

    folder: Path
    certificate: Path

    @property
    def socket(self) -> Path:
        """The admin console."""
        return self.folder / f".s.PGSQL.{names.POSTGRES_PORT}"

    def begin(self) -> None:
        """What PgBouncer needs in order to start, if it is not there: that there is no primary yet."""
        if not (self.folder / "databases.ini").exists():
            self.write(None)

    def write(self, target: str | None) -> bool:
        """Write where the primary is; whether anything else was there."""
        return _replace(self.folder / "databases.ini", _databases(target))

    def read_certificate(self) -> Certificate | None:
        """The certificate that clients are shown, its key, and the authority that servers are verified with; None while they can not be
        read. PgBouncer reads the same files, at start and with each RELOAD."""
        try:
            return snapshot(self.certificate, _CERTIFICATE)
        except OSError:
            return None


def _databases(target: str | None) -> str:
    where = f"host={target or NOWHERE} port={names.POSTGRES_PORT if target else _NOWHERE_PORT}"
    return f"[databases]\n{names.AUTH_DATABASE} = {where} dbname=postgres\n* = {where}\n"


def _replace(path: Path, text: str) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)
    return True
