"""docs/queue.md is true: its programs and statements run as they stand, against servers with the configuration that the operator makes of
examples/queue.yaml, and dispatchers with no more than their own rights."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from nats.aio.client import Client as Nats
from nats.js.api import KeyValueConfig

from baas_operator.api.queue import EventQueueSpec
from baas_operator.dead_letters.command import Place, write
from baas_operator.desired.queue import names
from baas_operator.desired.queue.users import Login
from baas_operator.jetstream.requests import call
from baas_operator.outbox.tables import Tables
from bench.webhooks.processes import own_address
from tests.jetstream.dispatcher.endpoints import Delivery, HttpEndpoint
from tests.jetstream.dispatcher.rig import SECRET
from tests.jetstream.dispatcher.whole import Pod, Whole, eventually, whole
from tests.jetstream.harness.postgres import Postgres
from tests.jetstream.outbox.conftest import binaries, postgres
from tests.jetstream.users.secured import secured

__all__ = ["binaries", "postgres"]

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "queue.md").read_text()
COLUMNS = """
SELECT attname, format_type(atttypid, NULL), attnotnull, attidentity::text, pg_get_expr(adbin, adrelid)
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid = 'outbox'::regclass AND attnum > 0 ORDER BY attnum
"""
KEYS = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'outbox'::regclass ORDER BY 1"


def blocks(language: str, having: str = "") -> list[str]:
    """The page's blocks of a language, those that have a text in them."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.S | re.M)
    return [each for each in found if having in each]


def example(endpoint: HttpEndpoint) -> EventQueueSpec:
    """The example and, of the page, an outbox: with one server, and an endpoint of the test's own."""
    (manifest,) = yaml.safe_load_all((REPOSITORY / "examples" / "queue.yaml").read_text())
    (outboxes,) = (yaml.safe_load(each)["spec"]["outboxes"] for each in blocks("yaml", "outboxes:"))
    spec = manifest["spec"] | {"replicas": 1, "outboxes": outboxes}
    spec["webhooks"][0] |= {"url": endpoint.url, "allowNetworks": [f"{own_address()}/32"]}
    return EventQueueSpec.model_validate(spec)


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[HttpEndpoint]:
    made = HttpEndpoint(own_address())
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def queue(tmp_path: Path, endpoint: HttpEndpoint) -> Iterator[Whole]:
    with secured(tmp_path, example(endpoint)) as servers, whole(servers, tmp_path / "dispatchers") as made:
        yield made


@pytest_asyncio.fixture
async def admin(queue: Whole) -> AsyncIterator[Nats]:
    await queue.servers.wait_whole()
    made = await queue.servers.connect()
    await queue.streams(made)
    yield made
    await made.close()


def mounted(queue: Whole, folder: Path, user: str) -> Path:
    """The user's Secret as a pod has it."""
    folder.mkdir(exist_ok=True)
    (login, *_) = queue.servers.logins[user]
    for key, text in (("username", login.username), ("password", login.password), ("ca.crt", queue.servers.authority[0])):
        (folder / key).write_text(text)
    return folder


@contextmanager
def worker(queue: Whole, secret: Path) -> Iterator[None]:
    """The page's worker, which has to be there until the block ends."""
    (program,) = blocks("python", "async def main")
    (port,) = queue.servers.client_ports.values()
    for there, here in (("/etc/queue", str(secret)), ("events.shop.svc:4222", f"localhost:{port}")):
        assert program.count(there) == 1
        program = program.replace(there, here)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield
            assert process.poll() is None, process.communicate()[0]
        finally:
            process.kill()


def receiver(monkeypatch: pytest.MonkeyPatch, handle: Callable[[Any], None]) -> Callable[[Mapping[str, str], bytes], int]:
    """The page's receiver."""
    (program,) = blocks("python", "def receive")
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    made: dict[str, Any] = {}
    exec(program, made)  # noqa: S102 - it is a page of this repository
    return lambda headers, body: int(made["receive"](headers, body, handle))


async def stored(admin: Nats, subject: str) -> list[tuple[bytes, dict[str, str]]]:
    """Payloads and headers of what the stream has of a subject."""
    last = (await call(admin, "$JS.API.STREAM.INFO.orders"))["state"]["last_seq"]
    found = [await admin.jetstream().get_msg("orders", sequence) for sequence in range(1, last + 1)]
    return [(each.data or b"", dict(each.headers or {})) for each in found if each.subject == subject]


async def test_a_transaction_reaches_the_worker_and_the_partner(
    queue: Whole, admin: Nats, endpoint: HttpEndpoint, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[Any] = []
    receive = receiver(monkeypatch, handled.append)
    endpoint.answer = lambda each: web.Response(status=receive(each.headers, each.payload))
    connection = await postgres.connect()
    ddl, transaction = blocks("sql", "CREATE TABLE")[0], blocks("sql", "BEGIN;")[0]
    await connection.execute("CREATE TABLE stock (item int PRIMARY KEY, left_over int); INSERT INTO stock VALUES (7, 1)")
    await connection.execute(ddl)
    queue.outboxes["shop"] = {"host": "127.0.0.1", "port": postgres.port, "database": "postgres", "user": "postgres", "tls": False}
    queue.tell()
    queue.start()

    with worker(queue, mounted(queue, tmp_path / "secret", "billing")):
        await connection.execute(transaction)
        await admin.jetstream().publish("orders.placed", b'{"no": "id"}')

        async def billed() -> bool:
            return bool(await stored(admin, "orders.billed")) and len(handled) == 2

        await eventually(billed, "the order is billed, and told to the partner")
        lines: list[str] = []

        async def buried() -> bool:
            lines.clear()
            return bool(await write(Place(queue.config, queue.secrets / names.NATS_FOLDER), "orders", lines.append))

        await eventually(buried, "what has no id is a dead letter")
    ((_, headers),) = await stored(admin, "orders.billed")
    assert headers["Nats-Msg-Id"] == "billed-7"
    assert await connection.fetchval("SELECT left_over FROM stock") == 0
    await eventually(lambda: _empty(connection), "the row is deleted")
    assert [json.loads(line)["reason"] for line in lines] == ["Terminated"]
    assert {"id": 7} in handled
    (told,) = (each for each in endpoint.came if json.loads(each.payload) == {"id": 7})
    assert told.headers["content-type"] == "application/json"
    assert told.headers["ce-subject"] == "orders.placed"
    (row,) = (found for payload, found in await stored(admin, "orders.placed") if json.loads(payload) == {"id": 7})
    assert told.id == row["Nats-Msg-Id"]
    assert queue.violations() == []
    await connection.close()


async def _empty(connection: Any) -> bool:
    return bool(await connection.fetchval("SELECT NOT EXISTS (SELECT FROM outbox)"))


async def test_the_table_on_the_page_is_the_one_that_the_relay_makes(postgres: Postgres) -> None:
    connection = await postgres.connect()
    found = []
    for make in (lambda: connection.execute(blocks("sql", "CREATE TABLE")[0]), lambda: Tables("public", "outbox").make(connection)):
        await make()
        found.append((await connection.fetch(COLUMNS), await connection.fetch(KEYS)))
        await connection.execute("DROP TABLE outbox")
    assert len(found[0][0]) == 6
    assert found[0] == found[1]
    await connection.close()


async def test_the_receiver_takes_what_is_signed_once_and_nothing_else(
    queue: Whole, admin: Nats, endpoint: HttpEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[Any] = []
    receive = receiver(monkeypatch, handled.append)
    queue.start()
    await admin.jetstream().publish("orders.placed", b'{"id": 1}', headers={"Nats-Msg-Id": "a.b"})
    await eventually(lambda: endpoint.came, "it is delivered")
    came: Delivery = endpoint.came[0]
    assert came.id == "a%2Eb"
    assert receive(came.headers, b'{"id": 2}') == 401
    assert receive(came.headers | {"webhook-id": "other"}, came.payload) == 401
    assert receive(came.headers | {"webhook-timestamp": str(int(came.headers["webhook-timestamp"]) - 600)}, came.payload) == 401
    assert handled == []
    assert [receive(came.headers, came.payload) for _ in range(2)] == [204, 204]
    assert handled == [{"id": 1}]


async def test_a_disabled_endpoint_is_enabled_again_by_the_application(queue: Whole, admin: Nats, endpoint: HttpEndpoint) -> None:
    endpoint.answer = lambda _: web.Response(status=410)
    pod = queue.start()
    await admin.jetstream().publish("orders.placed", b"1")
    await eventually(lambda: _state(pod, "Disabled"), "it is disabled")
    endpoint.answer = lambda _: web.Response(status=204)
    await admin.jetstream().publish("orders.placed", b"2")
    app = await queue.servers.connect("app")
    await (await app.jetstream().key_value(names.WEBHOOKS_BUCKET)).delete("endpoint.partner")
    await eventually(lambda: endpoint.taken, "what waited is delivered")
    assert [each.payload for each in endpoint.taken] == [b"2"]
    await app.close()


async def _state(pod: Pod, state: str) -> bool:
    return [each.state.value for each in (await pod.report()).webhooks] == [state]


async def test_a_worker_that_reads_its_files_does_not_notice_a_rotation(queue: Whole, admin: Nats, tmp_path: Path) -> None:
    secret = mounted(queue, tmp_path / "secret", "billing")
    (server,) = queue.servers.names
    with worker(queue, secret):
        queue.servers.logins["billing"] = (Login("billing-alt", "another"),)
        mounted(queue, secret, "billing")
        queue.servers.kill(server, signal.SIGTERM)
        queue.servers.start(server)
        await eventually(lambda: admin.jetstream().publish("orders.placed", b'{"id": 1}', headers={"Nats-Msg-Id": "1"}), "it is back")

        async def billed() -> bool:
            return bool(await stored(admin, "orders.billed"))

        await eventually(billed, "it came in with the other name and password")


@pytest.mark.parametrize(("discard", "left"), [("old", 1), ("new", 3)])
async def test_a_lower_limit_throws_away_what_is_above_it(queue: Whole, admin: Nats, discard: str, left: int) -> None:
    for number in range(3):
        await admin.jetstream().publish("orders.placed", b"%d" % number)
    config = (await call(admin, "$JS.API.STREAM.INFO.orders"))["config"]
    changed = await call(admin, "$JS.API.STREAM.UPDATE.orders", config | {"max_msgs": 1, "discard": discard})
    assert changed["config"]["max_msgs"] == 1
    await asyncio.sleep(1)
    assert (await call(admin, "$JS.API.STREAM.INFO.orders"))["state"]["messages"] == left


async def test_users_have_the_rights_that_the_page_tells_of(queue: Whole, admin: Nats) -> None:
    said: list[str] = []

    async def heard(error: Exception) -> None:
        said.append(str(error).lower())

    await admin.jetstream().create_key_value(KeyValueConfig(bucket="other"))
    billing = await queue.servers.connect("billing", error_cb=heard)
    prices = await billing.jetstream().key_value("prices")
    await prices.put("apple", b"1")
    assert (await prices.get("apple")).value == b"1"
    assert said == []
    for subject in ("orders.placed", "$KV.other.a", "$JS.API.CONSUMER.CREATE.orders.mine", "$JS.API.STREAM.MSG.GET.orders"):
        await billing.publish(subject, b"")
    app = await queue.servers.connect("app", error_cb=heard)
    for verb in ("CREATE.mine", "UPDATE.orders", "PURGE.orders", "DELETE.orders"):
        await app.publish(f"$JS.API.STREAM.{verb}", b"")
    for each in (billing, app):
        await each.flush()
    await asyncio.sleep(0.3)
    assert len(said) == 8, said
    reader = await app.jetstream().subscribe("orders.>", ordered_consumer=True)
    await app.jetstream().publish("orders.placed", b"1")
    assert (await reader.next_msg(timeout=5)).data == b"1"
    for each in (billing, app):
        await each.close()
