"""Queues that copy streams of others, with the configuration that the operator makes of both, TLS and users included."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.errors import NoStreamResponseError

from baas_operator.desired.meta import Owner
from baas_operator.desired.queue import names
from baas_operator.desired.queue.remotes import Credentials, Link, links
from baas_operator.desired.queue.room import room
from baas_operator.desired.queue.streams import all_kept
from baas_operator.desired.queue.users import Login
from baas_operator.desired.secrets import Certificate
from baas_operator.engine import jetstream
from baas_operator.engine.certificates import draw
from baas_operator.jetstream.requests import call
from baas_operator.observe.queue import JetStreamState
from baas_operator.observe.view import View
from baas_operator.policy.plan import EnsureStream
from baas_operator.policy.queue.loops import loops
from tests.jetstream.harness.servers import publish
from tests.jetstream.streams.driver import spec_of
from tests.jetstream.users.secured import Secured

pytestmark = pytest.mark.asyncio
EAST, WEST = Owner("EventQueue", "east", "nats", "uid"), Owner("EventQueue", "west", "nats", "uid")
STREAMS = [{"name": each, "subjects": [f"{each}.>"]} for each in ("orders", "secret")]
COPIER = {"name": "copier", "copies": ["orders"]}
OTHER = {"name": "other", "copies": ["secret"]}


def mirror(name: str, of: str) -> dict[str, Any]:
    queue = {"name": "nats", "namespace": "east", "credentials": {"name": "east-copier"}}
    return {"name": name, "mirror": {"stream": of, "queue": queue}}


class Pair:
    """Two queues in namespaces of their own."""

    def __init__(self, folder: Path) -> None:
        for each in ("east", "west"):
            (folder / each).mkdir()
        self.east = Secured(folder / "east", spec_of(streams=STREAMS, users=[COPIER, OTHER]), EAST)
        self.west = Secured(folder / "west", spec_of(), WEST)
        self.west.leaves = {"nats.east.svc:7422": list(self.east.leaf_ports.values())}

    def link(self, user: str = "copier", *, ca: str | None = None, number: int = 0) -> dict[Link, Credentials]:
        """What the operator makes of a Secret with what the user of the east has now."""
        login = self.east.logins[user][number]
        (link,) = links(self.west.spec, "west")
        return {link: Credentials(login.username, login.password, ca or self.east.authority[0])}

    async def load(self, servers: Secured) -> None:
        """Bring the configuration to running servers; each says that it took it."""
        for name in servers.names:
            before = await _loaded(servers, name)
            servers.write(name)
            servers.signal(name, signal.SIGHUP)
            for _ in range(100):
                if await _loaded(servers, name) != before:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError((servers.folder / f"{name}.log").read_text()[-2000:])


async def _loaded(servers: Secured, name: str) -> str:
    url = f"http://127.0.0.1:{servers.monitor_ports[name]}/varz"
    return str(json.load(await asyncio.to_thread(urllib.request.urlopen, url, timeout=5))["config_load_time"])


@contextmanager
def running(folder: Path) -> Iterator[Pair]:
    pair = Pair(folder)
    try:
        for servers in (pair.east, pair.west):
            for name in servers.names:
                servers.start(name)
        yield pair
    finally:
        pair.west.stop()
        pair.east.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with running(tmp_path) as made:
        for servers in (made.east, made.west):
            asyncio.run(servers.wait_whole())
        yield made


@asynccontextmanager
async def client(servers: Secured, user: str = names.ADMIN) -> AsyncIterator[Nats]:
    made = await servers.connect(user)
    try:
        yield made
    finally:
        await made.close()


async def make(connection: Nats, servers: Secured) -> None:
    shares = room(servers.spec, {}).shares
    dials = {link.domain: each.user for link, each in servers.credentials.items()}
    kept = all_kept(servers.spec, queue="nats", namespace=servers.owner.namespace, shares=shares, dials=dials)
    have = set((await jetstream.look(connection)).streams)
    for each in kept:
        if each.name not in have:
            await jetstream.bring_about(connection, EnsureStream(each.config, exists=False))


async def copied(connection: Nats, stream: str, messages: int, seconds: float = 60.0) -> JetStreamState:
    state = JetStreamState()
    for _ in range(int(seconds / 0.5)):
        state = await jetstream.look(connection)
        if stream in state.streams and state.streams[stream].messages == messages:
            return state
        await asyncio.sleep(0.5)
    raise AssertionError(f"{messages} were not copied: {state.streams}")


async def test_a_link_is_taken_in_while_the_servers_run_and_outlives_a_rotation_and_a_server(pair: Pair) -> None:
    async with client(pair.east) as in_east, client(pair.west) as in_west, client(pair.west, "app") as user:
        await make(in_east, pair.east)
        for number in range(10):
            await publish(in_east, "orders.new", b"x", str(number))

        fed = {"name": "fed", "subjects": ["own.>"], "sources": [{**mirror("", "orders")["mirror"], "filters": ["orders.new"]}]}
        pair.west.spec = spec_of(streams=[mirror("copy", "orders"), fed])
        pair.west.credentials = pair.link()
        await pair.load(pair.west)
        await make(in_west, pair.west)
        await copied(in_west, "fed", 10)
        state = await copied(in_west, "copy", 10)
        assert [(each.name, each.lag, each.error) for each in state.streams["copy"].copies] == [("orders", 0, None)]
        assert set(state.streams) == {"copy", "fed"}, "nothing of the other queue is taken for our own"
        for connection, subject in ((in_west, "orders.new"), (in_east, "own.new")):
            with pytest.raises(NoStreamResponseError):
                await connection.jetstream().publish(subject, b"must not cross", timeout=2)

        # The password there changes as policy/logins.py has it: both count for a while.
        pair.east.logins["copier"] = (Login("copier-alt", "p/ 2"), *pair.east.logins["copier"])
        await pair.load(pair.east)
        pair.west.credentials = pair.link()
        await pair.load(pair.west)
        pair.east.logins["copier"] = pair.east.logins["copier"][:1]
        await pair.load(pair.east)
        for number in range(10, 20):
            await publish(in_east, "orders.new", b"x", str(number))
        await copied(in_west, "copy", 20)

        leader = (await jetstream.look(in_east)).streams["orders"].leader
        assert leader
        pair.east.kill(leader)
        for number in range(20, 30):
            await publish(in_east, "orders.new", b"x", str(number))
        await copied(in_west, "copy", 30)
        assert user.stats["reconnects"] == 0, "clients noticed nothing of it"

        pair.west.spec, pair.west.credentials = spec_of(), {}
        await pair.load(pair.west)
        assert (await call(in_west, "$JS.API.STREAM.INFO.copy"))["state"]["messages"] == 30, "what was copied stays"


async def test_a_copier_reads_what_it_was_given_and_clients_ask_nothing_over_its_link(pair: Pair) -> None:
    pair.west.spec = spec_of(streams=[mirror("copy", "orders"), mirror("stolen", "secret")])
    pair.west.credentials = pair.link()
    await pair.load(pair.west)
    async with client(pair.east) as in_east, client(pair.west) as in_west, client(pair.west, "app") as user:
        await make(in_east, pair.east)
        for subject in ("orders.new", "secret.new"):
            await publish(in_east, subject, b"x", subject)
        await make(in_west, pair.west)
        await copied(in_west, "copy", 1)
        await asyncio.sleep(2)
        assert (await jetstream.look(in_west)).streams["stolen"].messages == 0

        config = {"stream_name": "orders", "config": {"durable_name": "spy", "ack_policy": "explicit"}}
        request = "$JS.east_nats.API.CONSUMER.CREATE.orders.spy"
        with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await user.request(request, json.dumps(config).encode(), timeout=2)
        assert "spy" not in (await jetstream.look(in_east)).streams["orders"].consumers


async def test_a_queue_beside_this_one_is_copied_as_its_app(pair: Pair) -> None:
    """The Secret of `app` there has all that is needed."""
    pair.west.spec = spec_of(streams=[mirror("copy", "secret")])
    pair.west.credentials = pair.link("app")
    await pair.load(pair.west)
    async with client(pair.east) as in_east, client(pair.west) as in_west:
        await make(in_east, pair.east)
        await publish(in_east, "secret.new", b"x", "1")
        await make(in_west, pair.west)
        await copied(in_west, "copy", 1)

        # Nobody but the operator of the copying queue may ask over the link, and not even it more than `app` may there.
        with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await in_west.request("$JS.east_nats.API.STREAM.DELETE.orders", b"", timeout=2)
        assert "orders" in (await jetstream.look(in_east)).streams


async def test_a_copier_does_not_hear_what_others_copy(pair: Pair) -> None:
    pair.west.spec = spec_of(streams=[mirror("copy", "secret")])
    pair.west.credentials = pair.link("other")
    await pair.load(pair.west)
    async with client(pair.east) as in_east, client(pair.west) as in_west, client(pair.east, "copier") as spy:
        heard: list[bytes] = []

        async def note(message: Msg) -> None:
            heard.append(message.data)

        for each in ("$JS.COPY.>", "$JS.COPY.*.>", "$JS.COPY.other.>", "$JS.COPY.copier.>", "$JS.COPY.west_nats.>"):
            await spy.subscribe(each, cb=note)
        await spy.flush()
        await make(in_east, pair.east)
        await make(in_west, pair.west)
        for number in range(3):
            await publish(in_east, "secret.new", b"hidden", str(number))
        await copied(in_west, "copy", 3)
        await asyncio.sleep(0.5)
        assert heard == []


@pytest.mark.parametrize("why", ["another authority", "a user that may not copy"])
async def test_who_is_not_let_in_copies_nothing(pair: Pair, why: str) -> None:
    pair.west.spec = spec_of(streams=[mirror("copy", "orders")])
    pair.west.credentials = pair.link("copier", ca=pair.west.authority[0]) if why == "another authority" else pair.link("dispatcher")
    await pair.load(pair.west)
    async with client(pair.east) as in_east, client(pair.west) as in_west:
        await make(in_east, pair.east)
        await publish(in_east, "orders.new", b"x", "1")
        await make(in_west, pair.west)
        await asyncio.sleep(5)
        state = (await jetstream.look(in_west)).streams["copy"]
        assert state.messages == 0
        assert [each.active_seconds for each in state.copies] == [None]


async def grows(connection: Nats, stream: str, most: int) -> bool:
    """Whether a stream comes to have more messages than it could have if nothing went round."""
    for _ in range(60):
        if (await call(connection, f"$JS.API.STREAM.INFO.{stream}"))["state"]["messages"] > most:
            return True
        await asyncio.sleep(0.5)
    return False


def resource(servers: Secured) -> dict[str, Any]:
    """As the API server has it."""
    return {
        "kind": "EventQueue", "spec": servers.spec.model_dump(by_alias=True, exclude_none=True, mode="json"),
        "metadata": {"name": servers.owner.name, "namespace": servers.owner.namespace, "uid": "uid"},
    }  # fmt: skip


def told(servers: Secured, *others: Secured) -> set[str]:
    """Streams that the operator would not let copy so."""
    queues = {(each.owner.namespace, each.owner.name): resource(each) for each in others}
    view = View(resource(servers), {}, {}, datetime.now(UTC), queues=queues)
    return set(loops(servers.spec, view, JetStreamState("nats-0")))


async def test_queues_that_are_sources_of_each_other_copy_for_ever_which_is_told(pair: Pair) -> None:
    for one, other in ((pair.east, pair.west), (pair.west, pair.east)):
        here, there = one.owner.namespace, other.owner.namespace
        queue = {"name": "nats", "namespace": there, "credentials": {"name": "copier"}}
        orders = {"name": "orders", "subjects": [f"{here}.>"], "sources": [{"stream": "orders", "queue": queue}]}
        one.spec = spec_of(streams=[orders], users=[COPIER])
        one.logins = {user: one.logins.get(user, (Login(user, f"{user}-1"),)) for user in names.users(one.spec)}
        one.leaves = {f"nats.{there}.svc:7422": list(other.leaf_ports.values())}
    for each in (pair.east, pair.west):  # users before links: who is turned away comes back much later
        await pair.load(each)
    for one, other in ((pair.east, pair.west), (pair.west, pair.east)):
        (link,) = links(one.spec, one.owner.namespace)
        one.credentials = {link: Credentials("copier", "copier-1", other.authority[0])}
        await pair.load(one)
    async with client(pair.east) as in_east, client(pair.west) as in_west:
        await make(in_east, pair.east)
        await make(in_west, pair.west)
        await in_east.jetstream().publish("east.new", b"x")  # one with an id would be refused as a duplicate, within the window
        assert await grows(in_west, "orders", 50), "NATS has become wiser"
        await call(in_east, "$JS.API.STREAM.DELETE.orders")
    assert told(pair.east, pair.west) == told(pair.west, pair.east) == {"orders"}


async def test_a_ring_that_nats_overlooks_is_told(tmp_path: Path) -> None:
    """It looks for circles within a queue, but for filters in the subjects of the streams alone, not in what those copy."""
    streams = [
        {"name": "fed", "subjects": ["x.>"]},
        {"name": "one", "subjects": ["one.>"], "sources": [{"stream": "fed"}, {"stream": "other", "filters": ["x.>"]}]},
        {"name": "other", "subjects": ["other.>"], "sources": [{"stream": "one", "filters": ["x.>"]}]},
    ]
    queue = Secured(tmp_path, spec_of(replicas=1, streams=streams), EAST)
    queue.start("nats-0")
    try:
        await queue.wait_whole()
        async with client(queue) as connection:
            await make(connection, queue)
            await connection.jetstream().publish("x.1", b"x")
            assert await grows(connection, "one", 50), "NATS has become wiser"
    finally:
        queue.stop()
    assert told(queue) == {"one", "other"}


class Impostor:
    """Takes connections in the place of another queue's servers, and keeps what it is told. With a certificate it speaks TLS."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self.dialled = 0
        self.heard = b""
        self.port = 0

    async def __aenter__(self) -> Impostor:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        tls = self._context is not None
        said = {
            "server_id": "N" * 56, "client_id": 1, "server_name": "x", "version": "2.14.10", "proto": 1, "max_payload": 1 << 20,
            "headers": True, "jetstream": True, "cluster": "x", "leafnode_urls": ["127.0.0.1:1"], "tls_required": tls, "tls_available": tls,
        }  # fmt: skip
        with suppress(OSError):
            writer.write(b"INFO " + json.dumps(said).encode() + b" \r\n")
            await writer.drain()
            if self._context:
                await writer.start_tls(self._context)
            while data := await reader.read(65536):
                self.heard += data
        writer.close()


@pytest.mark.parametrize("shows", ["no certificate", "one of another authority"])
async def test_nobody_is_told_the_password_but_who_shows_a_certificate_of_the_authority(tmp_path: Path, shows: str) -> None:
    """Whoever may write an EventQueue names the server that its password is sent to."""
    context = None
    spec = spec_of(replicas=1, streams=[mirror("copy", "orders")])
    west = Secured(tmp_path, spec, WEST)
    if shows == "one of another authority":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(west.home("nats-0") / "tls" / "tls.crt", west.home("nats-0") / "tls" / "tls.key")
    theirs, _ = draw(Certificate("ca", "their CA", 10), None, int(time.time()))
    (link,) = links(spec, "west")
    async with Impostor(context) as impostor:
        west.leaves = {"nats.east.svc:7422": [impostor.port]}
        for ca, told in ((theirs["ca.crt"], False), *(((west.authority[0], True),) if context else ())):
            west.credentials = {link: Credentials("copier", "hunter2", ca)}
            impostor.heard, impostor.dialled = b"", 0
            west.start("nats-0")
            try:
                for _ in range(100):
                    if (b"hunter2" in impostor.heard) is told and impostor.dialled >= 2 - told:
                        break
                    await asyncio.sleep(0.1)
                assert impostor.dialled >= 2 - told, "it was not even asked"
                assert (b"hunter2" in impostor.heard) is told, (west.folder / "nats-0.log").read_text()[-2000:]
            finally:
                west.kill("nats-0")


@pytest.mark.parametrize("form", ["$JS.API", "$JS.east_nats.API"])
async def test_what_clients_may_not_ask_they_may_not_ask_under_the_name_of_the_domain(pair: Pair, form: str) -> None:
    async with client(pair.east) as admin, client(pair.east, "app") as user:
        await make(admin, pair.east)
        await user.request(f"{form}.STREAM.INFO.orders", b"", timeout=5)
        with pytest.raises((nats.errors.TimeoutError, nats.errors.NoRespondersError)):
            await user.request(f"{form}.STREAM.DELETE.orders", b"", timeout=2)
        assert "orders" in (await jetstream.look(admin)).streams
