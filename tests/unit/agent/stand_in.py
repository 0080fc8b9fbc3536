"""A stand-in for what an agent talks to: the API server (over TLS, as it is) and its own member's Patroni. No Kubernetes and no
PostgreSQL behind it: a lock, a slice with versions and a watch, and a role that a story changes."""

from __future__ import annotations

import asyncio
import copy
import json
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_HOST = "127.0.0.1"


def _certificate(folder: Path) -> None:
    """A certificate for loopback that signs itself, as ca.crt, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(_HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "ca.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


def _free_socket() -> socket.socket:
    made = socket.socket()
    made.bind((_HOST, 0))
    return made


class StandIn:
    """The world of one agent. `leader` is whom the lock names; `primary` what this member's Patroni says of itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.leader: str | None = None
        self.primary = False
        self.patroni_hangs = False
        self.hanging = 0
        """Requests to Patroni that got no answer."""
        self.slice: dict[str, Any] = {"metadata": {"name": "db-rw", "resourceVersion": "1"}, "endpoints": []}
        self.patches: list[tuple[int, dict[str, Any]]] = []
        """(answer, body) of every write."""
        self.lock_reads = 0
        self.before_patch: Callable[[], None] = lambda: None
        """What happens in the world after the agent has read the slice, and before its write arrives."""
        self._changed = asyncio.Condition()
        self._runners: list[web.AppRunner] = []

    async def start(self) -> StandIn:
        """Serve; `api_port` and `patroni_port` are known then."""
        _certificate(self.folder)
        (self.folder / "token").write_text("a-token\n")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self.folder / "ca.crt", self.folder / "key.pem")
        base = "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices"
        api, patroni = web.Application(), web.Application()
        api.add_routes([
            web.get("/api/v1/namespaces/prod/configmaps/db-leader", self._get_lock),
            web.get(base, self._watch), web.get(f"{base}/db-rw", self._get_slice), web.patch(f"{base}/db-rw", self._patch),
        ])  # fmt: skip
        patroni.add_routes([web.get("/primary", self._get_primary)])
        self.api_port, self.patroni_port = [await self._serve(app, each) for app, each in ((api, tls), (patroni, None))]
        return self

    async def _serve(self, app: web.Application, tls: ssl.SSLContext | None) -> int:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listening = _free_socket()
        await web.SockSite(runner, listening, ssl_context=tls).start()
        self._runners.append(runner)
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        """Serve no more."""
        for each in self._runners:
            await each.cleanup()

    # --- what stories do and ask -------------------------------------------------------------------------------------

    def leads_to(self) -> list[str]:
        """Addresses that `-rw` leads to."""
        return [each["addresses"][0] for each in self.slice["endpoints"]]

    def edit(self, *addresses: str) -> None:
        """Somebody else writes the slice; the watch is told with the next `tell`."""
        version = str(int(self.slice["metadata"]["resourceVersion"]) + 1)
        self.slice = copy.deepcopy(self.slice)
        self.slice["metadata"]["resourceVersion"] = version
        self.slice["endpoints"] = [{"addresses": [each]} for each in addresses]

    async def tell(self) -> None:
        """The watch, and whoever waits, see what is now."""
        async with self._changed:
            self._changed.notify_all()

    async def until(self, reached: Callable[[], bool], *, seconds: float = 5.0) -> None:
        """Wait for something to come about."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(reached)

    def written(self) -> list[list[str]]:
        """Where each write that counted led to."""
        return [[each["addresses"][0] for each in body["endpoints"]] for status, body in self.patches if status == 200]

    # --- the API server and Patroni ------------------------------------------------------------------------------------

    async def _get_primary(self, _: web.Request) -> web.Response:
        if self.patroni_hangs:
            self.hanging += 1
            await self.tell()
            await asyncio.Event().wait()
        return web.Response(status=200 if self.primary else 503)

    async def _get_lock(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer a-token"
        self.lock_reads += 1
        await self.tell()
        annotations = {"leader": self.leader} if self.leader else {}
        return web.json_response({"metadata": {"name": "db-leader", "annotations": annotations}})

    async def _get_slice(self, _: web.Request) -> web.Response:
        return web.json_response(self.slice)

    async def _patch(self, request: web.Request) -> web.Response:
        body = await request.json()
        happens, self.before_patch = self.before_patch, lambda: None
        happens()
        wanted = body.get("metadata", {}).get("resourceVersion")
        if wanted is not None and wanted != self.slice["metadata"]["resourceVersion"]:
            self.patches.append((409, body))
            await self.tell()
            return web.json_response({"reason": "Conflict"}, status=409)
        self.edit()
        self.slice["endpoints"] = body["endpoints"]
        self.patches.append((200, body))
        await self.tell()
        return web.json_response(self.slice)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        assert request.query["fieldSelector"] == "metadata.name=db-rw"
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            seen = self.slice["metadata"]["resourceVersion"]
            await response.write(json.dumps({"type": "MODIFIED", "object": self.slice}).encode() + b"\n")
            async with self._changed:
                while self.slice["metadata"]["resourceVersion"] == seen:
                    await self._changed.wait()
