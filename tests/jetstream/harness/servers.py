"""Three real NATS servers on loopback, as one JetStream cluster: no Kubernetes, a second to start, and they can be killed.

They are the program that the lab's image holds, with durability as under `strict`, and each with the zone of its number.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TextIO

import nats
import nats.errors
from nats.aio.client import Client as Nats
from nats.js.api import StorageType
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from baas_lab.cache import Cache
from baas_lab.operands import IMAGES

_START_SECONDS = 30.0
_ROUTES = 4
"""From each server to each other: three for accounts (`pool_size`) and one for the system account."""


@cache
def program() -> Path:
    """The server; built into the lab's cache when it is not there (a minute, once)."""
    return IMAGES["nats"].programs["nats-server"].get(Cache())


_PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections (`ip_local_port_range`): a server that was killed finds its own free again."""
_PORTS_OF_ONE = 1_500


@cache
def _own_ports() -> tuple[Iterator[int], TextIO]:
    """Ports of this process, round and round, and the file that is locked for as long as it lives: test runs may be side by side.

    Raises:
        RuntimeError: there are too many of them.
    """
    for first in _PORTS[::_PORTS_OF_ONE]:
        file = (Path(tempfile.gettempdir()) / f"baas-ports-{first}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        return cycle(range(first, first + _PORTS_OF_ONE)), file
    raise RuntimeError(f"Ports for {len(_PORTS) // _PORTS_OF_ONE} test runs at a time are all taken: wait for one to end.")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, and that nobody else was given lately: whoever was may not listen yet."""
    ports, _ = _own_ports()
    return list(islice(filter(_is_free, ports), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended take no port from a server
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Servers:
    """`count` servers. `more` is added to each one's configuration, such as accounts and users; `tags` are more of a server's, by name, and
    `zones` theirs, where it is not one of its own."""

    def __init__(
        self, folder: Path, *, count: int = 3, more: str = "", tags: Mapping[str, list[str]] | None = None, zones: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self._more = more
        self._tags = tags or {}
        self._zones = zones
        ports = free_ports(3 * count)
        self.names = [f"nats-{index}" for index in range(count)]
        self.client_ports = dict(zip(self.names, ports[:count], strict=True))
        self._route_ports = dict(zip(self.names, ports[count : 2 * count], strict=True))
        self.monitor_ports = dict(zip(self.names, ports[2 * count :], strict=True))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def urls(self) -> list[str]:
        """Where clients connect to, of all servers."""
        return [f"nats://127.0.0.1:{port}" for port in self.client_ports.values()]

    def zone(self, name: str) -> str:
        """A server's zone."""
        return self._zones[int(name[-1])] if self._zones else f"zone-{name[-1]}"

    def config(self, name: str) -> str:
        """A server's configuration."""
        routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in self._route_ports.values())
        cluster = (
            f"cluster {{ name: test, listen: 127.0.0.1:{self._route_ports[name]}, routes: [{routes}] }}" if len(self.names) > 1 else ""
        )
        return f"""
server_name: {name}
listen: 127.0.0.1:{self.client_ports[name]}
http: 127.0.0.1:{self.monitor_ports[name]}
pid_file: "{self._folder / name}.pid"
server_tags: {json.dumps([f"az:{self.zone(name)}", *self._tags.get(name, [])])}
jetstream {{ store_dir: "{self._folder / name}", max_file_store: 1GB, max_memory_store: 64MB, sync_interval: always, unique_tag: "az:" }}
{cluster}
{self._more}
"""

    def start(self, name: str) -> None:
        """Start a server, if it does not run."""
        if name in self._running:
            return
        path = self._folder / f"{name}.conf"
        path.write_text(self.config(name))
        log = (self._folder / f"{name}.log").open("ab")
        with log:
            self._running[name] = subprocess.Popen([program(), "-c", path], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, name: str, with_signal: int = signal.SIGKILL) -> None:
        """End a server; what it has on disk stays."""
        process = self._running.pop(name)
        process.send_signal(with_signal)
        process.wait()

    def signal(self, name: str, number: int) -> None:
        """Send a running server a signal, such as SIGHUP, SIGSTOP or SIGUSR2 (lame duck)."""
        self._running[name].send_signal(number)

    def reload(self, more: str) -> None:
        """Have all servers read their configuration with something else added to it."""
        self._more = more
        for name in self._running:
            (self._folder / f"{name}.conf").write_text(self.config(name))
            self.signal(name, signal.SIGHUP)

    async def wait_whole(self, seconds: float = _START_SECONDS) -> None:
        """Until every server says that it and all that it holds is caught up, and has all of its ways to each other."""
        for port in self.monitor_ports.values():
            await _until(f"http://127.0.0.1:{port}/healthz", lambda said: said.get("status") == "ok", seconds)
        if len(self.names) > 1:
            # A server by itself is well before anybody leads, and what is asked of nobody is not answered.
            for port in self.monitor_ports.values():
                await _until(f"http://127.0.0.1:{port}/jsz", lambda said: bool(said.get("meta_cluster", {}).get("leader")), seconds)
            # Servers that call each other at once hang up on each other too, and call again a second later. An account's messages have one
            # of these routes to themselves, and until then there are "no responders" for them.
            routes = _ROUTES * (len(self.names) - 1)
            for port in self.monitor_ports.values():
                await _until(f"http://127.0.0.1:{port}/routez", lambda said: said.get("num_routes", 0) >= routes, seconds)
            if not self._more:  # which may have users of its own
                await self._wait_placeable(seconds)

    async def _wait_placeable(self, seconds: float) -> None:
        """Until the leader of all has heard of every server's room. One whose first words met no route says them again within 10 s, and is
        taken for offline until then ("no suitable peers for placement, peer offline")."""
        connection = await self.connect()
        stream = connection.jetstream()
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(nats.errors.Error), stop=stop_after_delay(seconds), wait=wait_fixed(0.1)
        ):
            with attempt:
                await stream.add_stream(name="harness", subjects=["harness"], num_replicas=len(self.names), storage=StorageType.MEMORY)
                await stream.delete_stream("harness")
        await connection.close()

    async def connect(self, **options: Any) -> Nats:
        """A client that survives the death of any one server."""

        async def quiet(_: Exception) -> None: ...

        return await nats.connect(
            options.pop("servers", self.urls), max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=quiet, **options
        )

    def stop(self) -> None:
        """End all servers."""
        for name in list(self._running):
            self.kill(name)


async def _until(url: str, well: Callable[[dict[str, Any]], bool], seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    said: Any = "nothing"
    while True:
        try:
            answer = await asyncio.to_thread(urllib.request.urlopen, url, timeout=2)
            said = json.load(answer)
            if well(said):
                return
        except urllib.error.HTTPError as error:
            said = error.read().decode()
        except OSError:
            pass
        assert asyncio.get_running_loop().time() < deadline, f"{url} was not well within {seconds:.0f} s: {said}"
        await asyncio.sleep(0.1)


@contextmanager
def running(
    folder: Path, *, count: int = 3, more: str = "", tags: Mapping[str, list[str]] | None = None, zones: Sequence[str] = ()
) -> Iterator[Servers]:
    """Servers that run until the block ends."""
    servers = Servers(folder, count=count, more=more, tags=tags, zones=zones)
    try:
        for name in servers.names:
            servers.start(name)
        yield servers
    finally:
        servers.stop()


async def publish(client: Nats, subject: str, payload: bytes, message_id: str) -> None:
    """Publish until it is acknowledged, as a careful client does: with an id, so that what came twice is kept once."""
    headers = {"Nats-Msg-Id": message_id}
    async for attempt in AsyncRetrying(retry=retry_if_exception_type(nats.errors.Error), stop=stop_after_delay(30), wait=wait_fixed(0.1)):
        with attempt:
            await client.jetstream().publish(subject, payload, timeout=1, headers=headers)
