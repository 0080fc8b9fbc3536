"""A real Envoy on loopback with a gateway's configuration, in a folder that changes as a mounted ConfigMap does."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import aiohttp

from baas_lab.cache import Cache
from baas_lab.operands import IMAGES
from baas_operator.desired.instance.gateway import GatewayInput, Ports, arguments, gateway_files
from baas_operator.desired.instance.gateway.typed import extension
from tests.jetstream.harness.servers import free_ports

START_SECONDS = 20.0


@cache
def program() -> Path:
    """Envoy, of the version that the image has."""
    return IMAGES["envoy"].programs["envoy"].get(Cache())


class Mount:
    """A folder whose files Kubernetes changes: all at once, by moving one symlink (kubelet, `AtomicWriter`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = count()
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, files: dict[str, str], *, pause: float = 0.0) -> None:
        """The new content. `pause`: seconds until names that are new are there, too."""
        data = self.folder / "..data"
        before = os.readlink(data) if data.is_symlink() else None
        version = self.folder / f"..version-{next(self._versions)}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text)
        staged = self.folder / "..data_tmp"
        staged.symlink_to(version.name)
        staged.rename(data)
        time.sleep(pause)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        if before:
            shutil.rmtree(self.folder / before)


class Gateway:
    """One gateway. `given` says all but where it is: ports and folders are its own. `bootstrap`: what a test
    changes of the text that Envoy starts with."""

    def __init__(
        self, folder: Path, given: GatewayInput, *, certificate: dict[str, str] | None = None, bootstrap: Callable[[str], str] = str
    ) -> None:
        http, health, https, admin, waiting = free_ports(5)
        self._ports = Ports(http, health, https, admin, waiting, "127.0.0.1")
        self.mount = Mount(folder / "config")
        self.certificate = Mount(folder / "tls")
        if certificate is not None:
            self.certificate.write(certificate)
        self._log = folder / "envoy.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._bootstrap = bootstrap
        self.given = self._here(given)
        self.change(given)

    def _here(self, given: GatewayInput) -> GatewayInput:
        return replace(given, ports=self._ports, folder=str(self.mount.folder), tls_folder=str(self.certificate.folder))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._ports.http}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self._ports.https}"

    @property
    def health_url(self) -> str:
        return f"http://127.0.0.1:{self._ports.health}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def change(self, given: GatewayInput) -> None:
        """Another configuration, as the kubelet brings it."""
        self.given = self._here(given)
        files = gateway_files(self.given)
        self.mount.write(files | {"envoy.yaml": self._bootstrap(files["envoy.yaml"])})

    def start(self) -> None:
        words = [program(), *arguments(str(self.mount.folder), drain_seconds=5)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def terminate(self) -> None:
        """SIGTERM, as the kubelet sends after preStop."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        self._process = None

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    async def statistics(self) -> dict[str, float]:
        """All of `/metrics`: name with labels → value."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.health_url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line and line[0] != "#")}

    async def wait(self, path: str = "/started", *, seconds: float = START_SECONDS) -> None:
        """Until its health listener says 200 to a path."""

        async def well() -> bool:
            try:
                async with aiohttp.ClientSession() as session, session.get(f"{self.health_url}{path}") as answer:
                    return answer.status == 200
            except OSError:
                return False

        await until(well, seconds=seconds, what=f"{path} says 200", told=self.log)


async def until(check: Callable[[], object], *, seconds: float, what: str, told: Callable[[], str] = str) -> float:
    """Wait for a condition (plain or a coroutine function); the seconds that it took.

    Raises:
        AssertionError: it did not come, with what `told` tells.
    """
    began = time.monotonic()
    while True:
        result = check()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {what}\n{told()[-3000:]}"
        await asyncio.sleep(0.02)


@contextmanager
def running(folder: Path, given: GatewayInput, *, certificate: dict[str, str] | None = None) -> Iterator[Gateway]:
    """A gateway that is started; whoever needs it waits."""
    made = Gateway(folder, given, certificate=certificate)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def echo_of_protocol(folder: Path, port: int) -> Iterator[None]:
    """Another Envoy as a component: it answers in any protocol, with the name of the one that it was asked in."""
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    answer = {"status": 200, "body_format": {"text_format_source": {"inline_string": "%PROTOCOL%"}}}
    routes = [{"match": {"prefix": "/"}, "direct_response": answer}]
    filters = [extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")]
    hosts = [{"name": "echo", "domains": ["*"], "routes": routes}]
    echo = extension(
        "manager", manager, stat_prefix="echo", codec_type="AUTO", route_config={"virtual_hosts": hosts}, http_filters=filters
    )  # fmt: skip
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    path = folder / "echo.yaml"
    path.write_text(json.dumps({"static_resources": {"listeners": [{"address": address, "filter_chains": [{"filters": [echo]}]}]}}))
    process = subprocess.Popen([program(), "-c", path, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
