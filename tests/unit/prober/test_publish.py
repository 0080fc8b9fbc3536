"""A queue that misbehaves, and deliveries that are none. That all is well with real ones is in tests/backend/prober."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from standardwebhooks.webhooks import Webhook

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Owner
from baas_operator.desired.queue.certificates import queue_certificates
from baas_operator.engine.certificates import draw
from baas_operator.prober.config import Secrets
from baas_operator.prober.http import Http
from baas_operator.prober.prober import Prober
from baas_operator.prober.transactions.publish import Note, Publish
from tests.unit.prober.doors import tell

SECRET, OTHER = ("whsec_" + base64.b64encode(each * 32).decode() for each in (b"s", b"o"))


def keys(folder: Path, secret: str | None = SECRET) -> Path:
    place = folder / "secrets" / "queue"
    place.mkdir(parents=True, exist_ok=True)
    files = {"queue-username": "shop.prober", "queue-password": "x", "queue-ca.crt": "", "webhook-secret": secret}
    for name, text in files.items():
        if text is not None:
            (place / name).write_text(text)
    return folder / "secrets"


def delivery(body: bytes, secret: str = SECRET, *, ago: int = 0) -> dict[str, str]:
    at = datetime.fromtimestamp(int(time.time()) - ago, UTC)
    return {
        "webhook-id": "baas-probe:1", "webhook-timestamp": str(int(at.timestamp())), "content-length": str(len(body)),
        "webhook-signature": Webhook(secret).sign("baas-probe:1", at, body.decode()),
    }  # fmt: skip


def authority() -> str:
    """A certificate of one, as the operator makes it."""
    wanted = queue_certificates(EventQueueSpec(), Owner("EventQueue", "prod", "shop-events", "uid"))[0].certificate
    assert wanted
    return draw(wanted, None, int(time.time()))[0]["ca.crt"]


def note(host: str, port: int, *, ago: int = 0) -> Note:
    return Note("of another", host, port, int(time.time()) - ago)


@asynccontextmanager
async def listening(publish: Publish) -> AsyncIterator[Http]:
    server = Http(ready=lambda: True, report=dict, hook=publish.hear)
    running = await server.start("127.0.0.1", 0)
    publish.port = server.port
    try:
        yield server
    finally:
        running.close()


class Trap:
    """Notes what comes."""

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], bytes]] = []

    async def hear(self, headers: Any, body: bytes) -> int:
        self.came.append((dict(headers), body))
        return 200


@asynccontextmanager
async def trap() -> AsyncIterator[tuple[Trap, int]]:
    made = Trap()
    server = Http(ready=lambda: True, report=dict, hook=made.hear)
    running = await server.start("127.0.0.1", 0)
    try:
        yield made, server.port
    finally:
        running.close()


async def test_what_is_anothers_is_handed_on_once_as_it_came(tmp_path: Path) -> None:
    publish = Publish(Secrets(keys(tmp_path)))
    async with trap() as (there, port):
        body = note("127.0.0.1", port).written(SECRET)
        headers = delivery(body)
        assert await publish.hear(headers, body) == 200
        ((handed, said),) = there.came
        assert said == body
        Webhook(SECRET).verify(said, handed)
        assert await publish.hear(handed, said) == 200
        assert len(there.came) == 1, "what was handed on goes no further"


@pytest.mark.parametrize("late", [301, 86400, -301])
async def test_what_is_late_is_taken_and_forgotten(tmp_path: Path, late: int) -> None:
    publish = Publish(Secrets(keys(tmp_path)))
    async with trap() as (there, port):
        body = note("127.0.0.1", port, ago=late).written(SECRET)
        assert await publish.hear(delivery(body), body) == 200
        assert there.came == []


async def test_a_prober_that_is_gone_costs_nothing(tmp_path: Path) -> None:
    publish = Publish(Secrets(keys(tmp_path)))
    async with trap() as (_, port):
        pass
    body = note("127.0.0.1", port).written(SECRET)
    assert await publish.hear(delivery(body), body) == 200


async def test_nobody_makes_it_call_elsewhere(tmp_path: Path) -> None:
    """Whoever may publish to the stream has the dispatcher sign whatever he likes; but not where a message came from."""
    publish = Publish(Secrets(keys(tmp_path)))
    async with trap() as (there, port):
        forged = json.loads(note("127.0.0.1", 1).written(SECRET)) | {"port": port}
        for said in (
            json.dumps(forged).encode(), note("127.0.0.1", port).written(OTHER), b"[]", b"null", b"17", b"", b"{", b"[" * 3000,
            json.dumps(forged | {"host": "elsewhere.example"}).encode(), json.dumps(forged | {"mac": "\u00e9"}).encode(),
            json.dumps(forged | {"port": "x"}).encode(), json.dumps(forged | {"mac": None}).encode(),
            json.dumps(forged | {"port": float("inf")}).encode(), json.dumps(forged | {"sent": 1}).replace("1,", "1e999,").encode(),
            json.dumps(forged | {"nonce": "\ud800"}).encode(), json.dumps(forged | {"host": "fe80::1%\ud800"}).encode(),
            json.dumps(forged | {"mac": "\ud800"}).encode(),
        ):  # fmt: skip
            assert await publish.hear(delivery(said), said) == 200, said
        assert there.came == []


async def test_what_nobody_signed_is_not_taken(tmp_path: Path) -> None:
    publish = Publish(Secrets(keys(tmp_path)))
    async with trap() as (there, port):
        body = note("127.0.0.1", port).written(SECRET)
        right = delivery(body)
        for headers in (
            {}, delivery(body, OTHER), delivery(body, ago=3600), right | {"webhook-id": "another"}, right | {"webhook-timestamp": "x"},
            right | {"webhook-signature": "v1"}, right | {"webhook-signature": "v1,\u00e9"},
        ):  # fmt: skip
            assert await publish.hear(headers, body) == 401, headers
        assert there.came == []
    assert await Publish(Secrets(keys(tmp_path / "new", secret=None))).hear(right, body) == 503


async def test_one_of_two_secrets_is_enough_while_they_are_rotated(tmp_path: Path) -> None:
    publish = Publish(Secrets(keys(tmp_path, f"{OTHER} {SECRET}")))
    async with trap() as (there, port):
        body = note("127.0.0.1", port).written(SECRET)
        assert await publish.hear(delivery(body), body) == 200
        assert len(there.came) == 1


async def test_the_page_takes_short_posts_alone(tmp_path: Path) -> None:
    async with listening(Publish(Secrets(keys(tmp_path)))) as server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        for method, path, body, status in (
            ("POST", "/hook", b"x", 401), ("POST", "/hook", b"x" * 4097, 413), ("POST", "/report", b"x", 405), ("GET", "/hook", b"", 404),
        ):  # fmt: skip
            async with session.request(method, path, data=body) as answer:
                assert answer.status == status, (method, path)


# --- the queue -----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def queue(first: bytes, *, hold: bool = False) -> AsyncIterator[dict[str, Any]]:
    """What stands in for a NATS server that says just this: real ones do well (tests/backend/prober)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await writer.drain()
        if hold:
            await asyncio.sleep(3600)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1], "subject": "baas-probe", "inbox": "_INBOX_shop.prober"}
    finally:
        server.close()


def prober_of(folder: Path, **more: Any) -> Prober:
    config, secrets = tell(folder, 1, "publish", deadline=0.5, **more)
    keys(folder)
    made = Prober(config, secrets, 7, first_seconds=0.0)
    made._load(first=True)
    return made


def said(prober: Prober) -> dict[str, Any]:
    (found,) = prober.report()["transactions"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("first", "hold", "sentence"),
    [
        (b"", True, "publish to baas-probe: no answer within 0.5 s"),
        (b"", False, "connection to 127.0.0.1: the connection ended, or what came was not NATS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "connection to 127.0.0.1: the connection ended, or what came was not NATS"),
        (b'INFO {"tls_required": false}\r\n', True, "connection to 127.0.0.1: the connection ended, or what came was not NATS"),
        (b"INFO [\r\n", True, "connection to 127.0.0.1: the connection ended, or what came was not NATS"),
        (b"x" * 100_000, True, "connection to 127.0.0.1: the connection ended, or what came was not NATS"),
    ],
)
async def test_a_server_that_is_none_is_told_of(tmp_path: Path, first: bytes, hold: bool, sentence: str) -> None:
    async with queue(first, hold=hold) as place:
        prober = prober_of(tmp_path, queue=place)
        (tmp_path / "secrets" / "queue" / "queue-ca.crt").write_text(authority())
        await prober.round()
        assert said(prober)["failure"] == sentence


async def test_without_a_queue_or_a_key_it_can_not_be_tried(tmp_path: Path) -> None:
    prober = prober_of(tmp_path)
    await prober.round()
    assert said(prober)["trouble"] == "this prober was not told of a queue"
    (tmp_path / "secrets" / "queue" / "queue-password").unlink()
    async with queue(b"") as place:
        prober = prober_of(tmp_path, queue=place)
        (tmp_path / "secrets" / "queue" / "queue-password").unlink()
        await prober.round()
    assert said(prober)["trouble"] == "no mounted Secret has the key queue-password yet"
    assert said(prober)["failures"] == 0


async def test_it_begins_a_round_later_than_others(tmp_path: Path) -> None:
    """Before the first round is over no prober is ready, and their Service leads nowhere."""
    config, secrets = tell(tmp_path, 1, transactions=[{"name": "publish", "every": 3, "after": 1}])
    prober = Prober(config, secrets, 7)
    prober._load(first=True)
    due = []
    for number in range(9):
        prober.rounds = number
        due.append(prober._is_due(prober._told.transactions[0]))
    assert due == [False, True, False, False, True, False, False, True, False]
