"""The parts of PgBouncer's configuration that change while it runs: where the primary is, and TLS once there is a certificate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from baas_operator.desired.database import names

NOWHERE = "127.0.0.1"
"""Where PgBouncer is told to go while there is no primary. It is paused then, and asks nobody."""
_NOWHERE_PORT = 1


@dataclass(frozen=True)
class Files:
    """The folder that PgBouncer reads, and the one with the server's certificate, which may be empty."""

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
        """Write what should be; whether anything was otherwise."""
        changed = _replace(self.folder / "tls.ini", self._tls())
        # PgBouncer waits for this one before it starts: it comes last.
        return _replace(self.folder / "databases.ini", _databases(target)) or changed

    def _tls(self) -> str:
        if not all((self.certificate / name).exists() for name in ("tls.crt", "tls.key")):
            return "client_tls_sslmode = disable\n"
        # No section: named a second time, [pgbouncer] sets all that was said before back to its default.
        # The times of the files stand here, so that a renewed certificate is a change that PgBouncer is told of.
        stamp = (self.certificate / "tls.crt").stat().st_mtime_ns
        # A CA that is not set is looked for among the system's, and where there are none TLS stays off (the image may have none). Clients
        # need no certificate; what one shows is not looked at.
        authority = "ca.crt" if (self.certificate / "ca.crt").exists() else "tls.crt"
        return (
            f"; {stamp}\nclient_tls_sslmode = prefer\n"
            f"client_tls_cert_file = {self.certificate}/tls.crt\nclient_tls_key_file = {self.certificate}/tls.key\n"
            f"client_tls_ca_file = {self.certificate}/{authority}\n"
        )


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
