"""A real PostgREST 12 on loopback, over a real PostgreSQL."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

from baas_lab.cache import Cache
from baas_lab.operands import IMAGES
from tests.jetstream.harness.servers import free_ports

ENDED = '{"code":"57P01","details":null,"hint":null,"message":"terminating connection due to administrator command"}'
"""What it says of a session that the server ended."""


@cache
def program() -> Path:
    return IMAGES["postgrest"].programs["postgrest"].get(Cache())


class PostgREST:
    """One process. `hosts`: ports of PostgreSQL servers, the first that is of the kind `target` is taken."""

    def __init__(self, folder: Path, ports: list[int], *, target: str, jwks: str, **settings: str) -> None:
        self.port, self.admin_port = free_ports(2)
        self._log = folder / f"postgrest-{self.port}.log"
        hosts = ",".join("127.0.0.1" for _ in ports)
        numbers = ",".join(str(port) for port in ports)
        self._environment = {
            "PGRST_DB_URI": f"host={hosts} port={numbers} user=authenticator dbname=postgres target_session_attrs={target}"
            " connect_timeout=5 tcp_user_timeout=3000 keepalives_idle=3 keepalives_interval=1 keepalives_count=3",
            "PGRST_DB_SCHEMAS": "public", "PGRST_DB_ANON_ROLE": "anon", "PGRST_DB_POOL": "10", "PGRST_DB_POOL_ACQUISITION_TIMEOUT": "5",
            "PGRST_JWT_SECRET": jwks, "PGRST_SERVER_PORT": str(self.port), "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_ADMIN_SERVER_PORT": str(self.admin_port), "PGRST_LOG_LEVEL": "warn", **settings,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([program()], env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def log(self) -> str:
        return self._log.read_text(errors="replace")
