"""Servers with the configuration that the operator makes, users, TLS and all: only addresses and folders are the test's own."""

from __future__ import annotations

import base64
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client as Nats

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.images import Images
from baas_operator.desired.meta import Owner
from baas_operator.desired.queue import names
from baas_operator.desired.queue.build import QueueFacts, build_queue
from baas_operator.desired.queue.certificates import queue_certificates
from baas_operator.desired.queue.remotes import Credentials, Link
from baas_operator.desired.queue.users import Login
from baas_operator.engine.certificates import draw
from tests.jetstream.harness.servers import Servers, free_ports

OWNER = Owner("EventQueue", "prod", "nats", "uid")
HOST = names.host(OWNER.name, OWNER.namespace)


class Secured(Servers):
    """Three servers, called as their pods would be. `logins` are what counts; after a change of them, of `spec` or `credentials`:
    `write`, and a reload. `leaves`: HOST:PORT as a link has it -> the ports of loopback that it leads to, as a Service would."""

    def __init__(self, folder: Path, spec: EventQueueSpec, owner: Owner = OWNER) -> None:
        super().__init__(folder, count=spec.replicas)
        self.owner = owner
        self.spec = spec
        self.leaf_ports = dict(zip(self.names, free_ports(len(self.names)), strict=True))
        self.leaves: dict[str, list[int]] = {}
        self.credentials: dict[Link, Credentials] = {}
        self.folder = folder
        self.logins = {user: (Login(user, f"{user}-1"),) for user in names.users(spec)}
        authority = queue_certificates(spec, owner)[0]
        assert authority.certificate
        now = int(time.time())
        made, _ = draw(authority.certificate, None, now)
        self.authority = (made["ca.crt"], made["ca.key"])
        self.renew()

    def renew(self) -> None:
        """Draw the servers' certificate anew."""
        leaf = queue_certificates(self.spec, self.owner)[1].certificate
        assert leaf
        made, _ = draw(leaf, self.authority, int(time.time()))
        for name in self.names:
            for key, text in made.items():
                path = self.home(name) / "tls" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                new = path.with_suffix(".new")
                new.write_text(text)
                new.replace(path)

    def home(self, name: str) -> Path:
        """A server's own folder: `config`, `tls`, `run`."""
        return self.folder / f"pod-{name}"

    def write(self, name: str) -> None:
        """Bring the configuration to a server, as the kubelet would."""
        facts = QueueFacts(logins=self.logins, ca=self.authority[0], credentials=self.credentials)
        children = build_queue(self.spec, self.owner, Images(), facts)
        data = next(each["data"] for each in children if "nats.conf" in (each.get("data") or {}))
        auth = next(each["data"] for each in children if each["kind"] == "Secret")
        files = data | {key: base64.b64decode(text).decode() for key, text in auth.items()}
        home = self.home(name)
        for folder in ("config", "run", "data"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        changes = {
            "$POD_NAME": name,
            "../../var/run/nats/tags.conf": "../run/tags.conf",
            f"0.0.0.0:{names.CLIENT_PORT}": f"127.0.0.1:{self.client_ports[name]}",
            f"0.0.0.0:{names.MONITOR_PORT}": f"127.0.0.1:{self.monitor_ports[name]}",
            f"0.0.0.0:{names.ROUTE_PORT}": f"127.0.0.1:{self._route_ports[name]}",
            f"0.0.0.0:{names.LEAF_PORT}": f"127.0.0.1:{self.leaf_ports[name]}",
            f"{names.CONFIG_DIR}/": f"{home / 'config'}/",
            names.TLS_DIR: str(home / "tls"),
            names.RUN_DIR: str(home / "run"),
            '"/data"': f'"{home / "data"}"',
        }
        for each in self.names:
            # Routes are dialled by name in a cluster; here all are loopback, which the certificate also names.
            changes[f"{each}.{names.servers_service(self.owner.name)}.{self.owner.namespace}.svc:{names.ROUTE_PORT}"] = (
                f"localhost:{self._route_ports[each]}"
            )
        (home / "run" / "tags.conf").write_text(f'server_tags: ["az:zone-{name[-1]}"]\n')
        for file in files:
            for here, there in changes.items():
                files[file] = files[file].replace(here, there)
            for address, ports in self.leaves.items():
                there = ", ".join(rf'"\g<1>localhost:{port}"' for port in ports)
                files[file] = re.sub(rf'"([^"]*@){re.escape(address)}"', there, files[file])
            new = home / f"{file}.new"
            new.write_text(files[file])
            new.replace(home / "config" / file)

    def config(self, name: str) -> str:
        self.write(name)
        return f'include "pod-{name}/config/nats.conf"\n'

    def reap(self, name: str) -> None:
        """A server that ends, or has ended, by itself is waited for."""
        process = self._running.pop(name)
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:  # a lame duck with clients takes half a minute
            process.kill()
            process.wait()

    def context(self) -> ssl.SSLContext:
        """What clients verify the servers with."""
        return ssl.create_default_context(cadata=self.authority[0])

    async def connect(self, user: str = names.ADMIN, **options: Any) -> Nats:
        """A client that is this user, by the login that it has now."""
        login = options.pop("login", None) or self.logins[user][0]

        async def quiet(_: Exception) -> None: ...

        return await nats.connect(**{
            "servers": self.urls, "user": login.username, "password": login.password, "tls": self.context(),
            "tls_hostname": names.host(self.owner.name, self.owner.namespace),
            "max_reconnect_attempts": -1, "reconnect_time_wait": 0.1, "error_cb": quiet,
        } | options)  # fmt: skip


@contextmanager
def secured(folder: Path, spec: EventQueueSpec, owner: Owner = OWNER) -> Iterator[Secured]:
    """Servers that run until the block ends."""
    servers = Secured(folder, spec, owner)
    try:
        for name in servers.names:
            servers.start(name)
        yield servers
    finally:
        servers.stop()
