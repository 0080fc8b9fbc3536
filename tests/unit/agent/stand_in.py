"""Stand-ins for what an agent talks to: the API server (over TLS, as it is), its own member's Patroni, and the primary's.

No Kubernetes and no PostgreSQL behind them: objects with versions, merge patches that a version may guard, and watches that bring every
version in order, until a story holds them back.
"""

from __future__ import annotations

import asyncio
import copy
import json
import socket
import ssl
import time
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

from baas_operator.agent.dcs import FENCE, read_lock
from baas_operator.desired.database import names
from baas_operator.desired.meta import NAME_LABEL, Owner

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.005
CONFIG_MAPS = "/api/v1/namespaces/prod/configmaps"
PODS = "/api/v1/namespaces/prod/pods"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices"
LABELS = Owner("DatabaseReplica", "prod", "db").labels(names.COMPONENT)
_SELECTOR = ",".join(f"{name}={value}" for name, value in LABELS.items())
LOCK, SYNC, SLICE = f"{CONFIG_MAPS}/db-leader", f"{CONFIG_MAPS}/db-sync", f"{SLICES}/db-rw"


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


async def serve(app: web.Application, host: str = _HOST, port: int = 0, tls: ssl.SSLContext | None = None) -> tuple[web.AppRunner, int]:
    """Listen; the port is told."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    await web.SockSite(runner, listening, ssl_context=tls).start()
    return runner, int(listening.getsockname()[1])


async def until(reached: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Wait for something to come about, whoever brings it."""
    give_up = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < give_up, "it did not come about"
        await asyncio.sleep(_POLL_SECONDS)


async def stop(*running: asyncio.Task[None]) -> None:
    """End an agent's parts, which never end by themselves. What they died of is told here, not whenever it is collected."""
    died = [each.exception() for each in running if each.done()]
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert not died, f"an agent never ends by itself: {died}"


class Patroni:
    """The Patroni of one member. `status`: what it says of its health.

    Who asks gets no answer while it `hangs`, and a closed connection while it `breaks`.
    """

    def __init__(self, host: str = _HOST) -> None:
        self.host = host
        self.port = 0
        self.status = 200
        self.hangs = False
        self.breaks = False
        self.asked = 0
        self._over = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen."""
        app = web.Application()
        app.add_routes([web.get("/liveness", self._answer)])
        self._runner, self.port = await serve(app, self.host, port)

    async def stop(self) -> None:
        """Listen no more: who connects is refused."""
        if self._runner is not None:
            self._over.set()
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.hangs:
            await self._over.wait()
        if self.breaks and request.transport is not None:
            request.transport.abort()
        return web.Response(status=self.status)


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = _merged(made.get(key), value)
    return made


class StandIn:
    """The API server with what the agents of the database `db` read and write there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        """(method, path) of all but watches."""
        self.writes: list[tuple[int, str, dict[str, Any]]] = []
        """(answer, path, body) of each patch."""
        self.away: str | None = None
        """How the API server fails: `cut` connections or `refuse`."""
        self.watches = 0
        """How many were begun."""
        self._before: dict[tuple[str, str], Callable[[], None]] = {}
        self._after: dict[str, Callable[[], None]] = {}
        self._version = 100
        self._log: list[dict[str, Any]] = []
        self._held: set[str] = set()
        self._silent: set[str] = set()
        self._ended = 0
        self._news = asyncio.Event()
        self._transitions = -1
        self._runner: web.AppRunner | None = None
        self.put(f"{CONFIG_MAPS}/db-config", annotations={"config": "{}"})
        self.put(SLICE, endpoints=[])

    async def start(self) -> StandIn:
        """Serve; `port` is known then."""
        _certificate(self.folder)
        (self.folder / "token").write_text("a-token\n")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self.folder / "ca.crt", self.folder / "key.pem")
        api = web.Application(middlewares=[self._guard])
        for collection in (CONFIG_MAPS, PODS, SLICES):
            one = collection + "/{name}"
            api.add_routes([web.get(collection, self._collection), web.get(one, self._get), web.patch(one, self._patch)])
        self._runner, self.port = await serve(api, _HOST, tls=tls)
        return self

    async def stop(self) -> None:
        """Serve no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    # --- what happens in the world --------------------------------------------------------------------------------------

    def put(self, path: str, *, annotations: dict[str, str | None] | None = None, **content: Any) -> None:
        """Somebody writes an object; annotations that are not named stay, None takes one off."""
        found = self.objects.get(path) or {"metadata": {"name": path.rpartition("/")[2], "labels": LABELS}}
        self._store(path, _merged(found, {"metadata": {"annotations": annotations or {}}, **content}))

    def delete(self, path: str) -> None:
        """Somebody deletes an object that nobody watches."""
        del self.objects[path]

    def lead(self, leader: str | None, *, position: int = 1000) -> None:
        """Somebody takes the lock (or, None, lets go of it): a new term."""
        self._transitions += 1
        told = {"leader": leader, "transitions": str(self._transitions), "acquireTime": f"t{self._transitions}", "optime": str(position)}
        self.put(LOCK, annotations=told)

    def renew(self, *, position: int = 1000) -> None:
        """The leader writes its lock again."""
        self.put(LOCK, annotations={"optime": str(position), "renewTime": str(self._version)})

    def synchronous(self, leader: str | None, *voters: str, quorum: int = 1) -> None:
        """Patroni writes the synchronous state."""
        self.put(SYNC, annotations={"leader": leader, "sync_standby": ",".join(voters), "quorum": str(quorum)})

    def history(self, timeline: int, leader: str) -> None:
        """A new primary's Patroni notes that it began a timeline."""
        self.put(f"{CONFIG_MAPS}/db-config", annotations={"history": json.dumps([[timeline - 1, 900, "", "2026-01-01T00:00:00", leader]])})

    def fence(self, member: str, *, timeline: int = 1, position: int = 1000, term: str | None = None, against: str = "db-0") -> None:
        """Another member's agent publishes its fence, of the term that is unless another is named."""
        told = {"term": term or self.term(), "timeline": timeline, "position": position, "against": against, "at": self._version}
        self.put(SYNC, annotations={FENCE + member: json.dumps(told)})

    def forget(self, path: str) -> None:
        """Watches that begin are not told of an object that was deleted."""
        self._log[:] = [
            each if each["path"] != path else {**each, "object": {"metadata": each["object"]["metadata"]}} for each in self._log
        ]

    def route(self, *addresses: str, to: str | None = None) -> None:
        """Somebody else writes the slice."""
        named = {"targetRef": {"kind": "Pod", "name": to, "namespace": "prod"}} if to else {}
        self.put(SLICE, endpoints=[{"addresses": [each], **named} for each in addresses])

    def before(self, method: str, path: str, happens: Callable[[], None]) -> None:
        """What happens in the world once, when such a request has been sent and before the API server looks at it."""
        self._before[method, path] = happens

    def after(self, path: str, happens: Callable[[], None]) -> None:
        """What happens once, when such an object has been written and before the answer comes: watches tell of it earlier."""
        self._after[path] = happens

    def hold(self, collection: str, *, new: bool = False) -> None:
        """Its watches bring nothing until `let_go`; with `new` not even what a watch that begins is told first."""
        self._held.add(collection)
        if new:
            self._silent.add(collection)

    def let_go(self, collection: str) -> None:
        """They bring all that they held back."""
        self._held.discard(collection)
        self._silent.discard(collection)
        self._wake()

    def end_watches(self) -> None:
        """The API server ends them, as it does every few minutes. What was held back is not brought."""
        self._ended += 1
        self._wake()

    def fail(self, how: str | None) -> None:
        """The API server fails in this way, watches included; None: it is back."""
        self.away = how
        if how:
            self.end_watches()

    # --- what stories ask --------------------------------------------------------------------------------------------------

    def annotations(self, path: str) -> dict[str, str]:
        """Those of an object."""
        return dict(self.objects[path]["metadata"].get("annotations") or {})

    def version(self, path: str) -> int:
        """That of an object."""
        return int(self.objects[path]["metadata"]["resourceVersion"])

    def leader(self) -> str | None:
        """Whom the lock names."""
        return self.annotations(LOCK).get("leader")

    def term(self) -> str:
        """The leader's term."""
        return read_lock(self.objects[LOCK]).term

    def fence_of(self, member: str) -> dict[str, Any] | None:
        """What a member's agent published."""
        text = self.annotations(SYNC).get(FENCE + member)
        return json.loads(text) if text else None

    def leads_to(self) -> list[str]:
        """Addresses that `-rw` leads to."""
        return [each["addresses"][0] for each in self.objects[SLICE]["endpoints"]]

    def answers(self, path: str) -> list[int]:
        """What was answered to each patch of an object."""
        return [status for status, where, _ in self.writes if where == path]

    def asked(self, method: str, path: str) -> int:
        """How often something was asked for."""
        return self.requests.count((method, path))

    # --- the API server ------------------------------------------------------------------------------------------------------

    def _store(self, path: str, made: dict[str, Any]) -> None:
        self._version += 1
        made = copy.deepcopy(made)
        made["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = made
        self._log.append({"type": "MODIFIED", "path": path, "object": made})
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer a-token"
        if self.away == "cut" and request.transport is not None:
            request.transport.abort()
        if self.away == "forbid":
            return web.json_response({"reason": "Forbidden"}, status=403)
        if self.away:
            return web.json_response({"reason": "ServiceUnavailable"}, status=503)
        made: web.StreamResponse = await handler(request)
        return made

    def _begin(self, request: web.Request) -> dict[str, Any] | None:
        self.requests.append((request.method, request.path))
        self._before.pop((request.method, request.path), lambda: None)()
        return self.objects.get(request.path)

    async def _get(self, request: web.Request) -> web.Response:
        found = self._begin(request)
        return web.json_response({"reason": "NotFound"}, status=404) if found is None else web.json_response(found)

    async def _patch(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        body = await request.json()
        found = self._begin(request)
        status = 200
        if found is None:
            status = 404
        elif body.get("metadata", {}).get("resourceVersion", found["metadata"]["resourceVersion"]) != found["metadata"]["resourceVersion"]:
            status = 409
        self.writes.append((status, request.path, body))
        if found is None or status != 200:
            return web.json_response({"reason": "refused"}, status=status)
        made = _merged(found, body)
        if made != found:
            self._store(request.path, made)
        answer = web.json_response(self.objects[request.path])
        if happens := self._after.pop(request.path, None):
            happens()
            await asyncio.sleep(0.1)
        return answer

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        assert request.query["labelSelector"] == (_SELECTOR if request.path == CONFIG_MAPS else f"{NAME_LABEL}=db")
        found = [each for path, each in self.objects.items() if path.rpartition("/")[0] == request.path]
        return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": found})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        collection, field, label = request.path, request.query["fieldSelector"], request.query["labelSelector"]
        assert (field, label) == (("metadata.name=db-rw", "") if collection == SLICES else ("", _SELECTOR))
        response = web.StreamResponse()
        await response.prepare(request)
        ended, seen = self._ended, len(self._log)
        events = [{"type": "ADDED", "path": path, "object": found} for path, found in self.objects.items()]
        if after := request.query.get("resourceVersion"):
            events = [each for each in self._log if int(each["object"]["metadata"]["resourceVersion"]) > int(after)]
        self.watches += 1
        while collection in self._silent:
            await self._news.wait()
        while True:
            for event in events:
                if event["path"].rpartition("/")[0] == collection:
                    await response.write(json.dumps(event).encode() + b"\n")
            if self._ended != ended:
                return response
            if collection in self._held or seen == len(self._log):
                await self._news.wait()
                events = []
            elif self._ended == ended:
                events, seen = self._log[seen:], len(self._log)
