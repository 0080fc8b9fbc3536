"""What each user of a queue may do, asked of real servers with the configuration that the operator makes: clients' own libraries work for
what a user is for, and everything else is refused. What the dispatchers' user may is in tests/jetstream/dispatcher/test_whole.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import nats.errors
import nats.js.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.js.api import ConsumerConfig, KeyValueConfig, StreamConfig

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue.names import inbox, webhook_consumer
from baas_operator.desired.queue.users import Login
from baas_operator.engine import jetstream
from baas_operator.jetstream.requests import JetStreamError, call
from tests.jetstream.users.secured import HOST, Secured

SPEC = EventQueueSpec.model_validate({
    "replicas": 1,
    "streams": [
        {"name": "orders", "subjects": ["orders.>"], "consumers": [{"name": "billing"}, {"name": "other"}], "deadLetter": {}},
        {"name": "secrets", "subjects": ["secrets.>"], "consumers": [{"name": "audit"}]},
        {"name": "events", "subjects": ["events.>"], "consumers": [{"name": "declared"}]},
    ],
    "webhooks": [{"name": "partner", "stream": "events", "url": "https://partner.example/hooks"}],
    "keyValues": [{"name": "settings"}, {"name": "hidden"}],
    "objectStores": [{"name": "files"}],
    "users": [
        {"name": "billing", "publish": ["invoices.*"], "consume": ["orders"], "privateInbox": True},
        {"name": "shop", "publish": ["orders.*"]},
        {"name": "echo", "subscribe": ["echo.>"]},
        {"name": "asker", "publish": ["echo.>"]},
        {"name": "shy", "publish": ["echo.>"], "privateInbox": True},
        {"name": "chat", "publish": ["chat.>"], "subscribe": ["chat.>"]},
        {"name": "store", "keyValues": ["settings"], "objectStores": ["files"]},
    ],
})  # fmt: skip

HOOK = webhook_consumer("partner")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("nats")
    made = Secured(folder, SPEC)
    made.logins["admin"] += (Login("admin-alt", "admin-2"),)
    try:
        made.start("nats-0")
        yield made
    finally:
        made.stop()


class Users:
    """Connections, one a user, and what their servers said last of each: refused subjects come as errors of the connection."""

    def __init__(self, queue: Secured) -> None:
        self.queue = queue
        self.made: dict[str, Nats] = {}
        self.errors: dict[str, list[str]] = {}

    async def get(self, user: str) -> Nats:
        if user not in self.made:
            said = self.errors.setdefault(user, [])

            async def heard(error: Exception) -> None:
                said.append(str(error))

            private = user in ("admin", "agent", "dispatcher", "system-for-agents") or any(
                u.name == user and u.private_inbox for u in SPEC.users
            )
            options: dict[str, Any] = {"inbox_prefix": inbox(user).encode()} if private else {}
            self.made[user] = await self.queue.connect(user, error_cb=heard, **options)
        return self.made[user]

    async def may_publish(self, user: str, subject: str) -> bool:
        """Whether the server takes a message: it says so after a ping if it does not. The request has no reply and an empty body."""
        connection = await self.get(user)
        said = self.errors[user]
        before = len(said)
        await connection.publish(subject, b"\x00")
        await connection.flush()
        await asyncio.sleep(0.02)
        return not any("permissions violation" in each.lower() for each in said[before:])

    async def may_subscribe(self, user: str, subject: str) -> bool:
        connection = await self.get(user)
        said = self.errors[user]
        before = len(said)
        subscription = await connection.subscribe(subject)
        await connection.flush()
        await asyncio.sleep(0.02)
        refused = any("permissions violation" in each.lower() for each in said[before:])
        if not refused:
            await subscription.unsubscribe()
        return not refused


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def users(queue: Secured) -> AsyncIterator[Users]:
    await queue.wait_whole()
    made = Users(queue)
    admin = (await made.get("admin")).jetstream()
    for stream in SPEC.streams:
        await admin.add_stream(StreamConfig(name=stream.name, subjects=stream.subjects, allow_direct=True))
        for consumer in stream.consumers:
            await admin.add_consumer(stream.name, ConsumerConfig(durable_name=consumer.name, ack_policy="explicit", ack_wait=2))  # type: ignore[arg-type]
    for bucket in SPEC.key_values:
        await admin.create_key_value(KeyValueConfig(bucket=bucket.name, history=5, direct=True))
    await admin.create_object_store("files")
    await admin.add_consumer("events", ConsumerConfig(durable_name=HOOK, ack_policy="explicit"))  # type: ignore[arg-type]
    await (await made.get("admin")).jetstream().publish("secrets.a", b"hidden")
    yield made
    for each in made.made.values():
        await each.close()


# --- what works -----------------------------------------------------------------------------------------------------------


async def test_a_publisher_publishes_and_a_consumer_with_a_private_inbox_reads_and_acknowledges(users: Users) -> None:
    shop, billing = await users.get("shop"), await users.get("billing")
    await shop.jetstream().publish("orders.new", b"1")
    pull = await billing.jetstream().pull_subscribe_bind("billing", stream="orders")
    (message,) = await pull.fetch(1, timeout=3)
    await message.ack_sync(timeout=3)
    assert (await pull.consumer_info()).num_ack_pending == 0
    assert not users.errors["billing"]


async def test_application_reads_everything_and_uses_object_stores(users: Users) -> None:
    app = (await users.get("app")).jetstream()
    await app.publish("orders.app", b"x")
    subscription = await app.subscribe("orders.app", stream="orders", deliver_policy="last")  # type: ignore[call-arg,unused-ignore]
    assert (await subscription.next_msg(timeout=3)).data == b"x"
    await subscription.unsubscribe()
    store = await app.object_store("files")
    await store.put("a", b"1" * 10_000)
    await store.put("a", b"2" * 10_000)
    assert (await store.get("a")).data == b"2" * 10_000
    await store.delete("a")


async def test_application_reads_a_declared_consumer_in_all_ways_and_makes_consumers_of_its_own(users: Users) -> None:
    app = (await users.get("app")).jetstream()
    await app.publish("events.a", b"1")
    for pull in (
        await app.pull_subscribe_bind("declared", stream="events"),
        await app.pull_subscribe("events.>", "declared", stream="events"),
        await app.pull_subscribe("events.>", "declared"),
    ):
        (message,) = await pull.fetch(1, timeout=3)
        await message.nak()
    (message,) = await pull.fetch(1, timeout=3)
    await message.ack_sync(timeout=3)

    mine = await app.pull_subscribe("events.>", "mine", stream="events")
    (message,) = await mine.fetch(1, timeout=3)
    await message.ack_sync(timeout=3)
    await app.add_consumer("events", ConsumerConfig(durable_name="mine", ack_policy="explicit", filter_subject="events.>", max_deliver=3))  # type: ignore[arg-type]
    await app.pause_consumer("events", "mine", "2020-01-01T00:00:00Z")
    await app.delete_consumer("events", "mine")
    ordered = await app.subscribe("events.>", ordered_consumer=True)
    assert (await ordered.next_msg(timeout=3)).data == b"1"
    await ordered.unsubscribe()
    assert (await app.consumer_info("events", HOOK)).num_pending, "it may see how a webhook is doing"
    assert not [each for each in users.errors["app"] if "violation" in each.lower()]


async def test_a_user_of_stores_reads_writes_watches_and_deletes(users: Users) -> None:
    store = (await users.get("store")).jetstream()
    settings = await store.key_value("settings")
    await settings.put("colour", b"red")
    await settings.update("colour", b"blue", last=(await settings.get("colour")).revision)
    assert (await settings.get("colour")).value == b"blue"
    watcher = await settings.watchall()
    first = await watcher.updates(timeout=3)
    assert first is not None
    assert first.key == "colour"
    await watcher.stop()
    assert len(await settings.history("colour")) == 2
    assert await settings.keys() == ["colour"]
    await settings.purge("colour")
    await settings.put("size", b"1")
    await settings.delete("size")
    with pytest.raises(nats.js.errors.KeyNotFoundError):
        await settings.get("size")

    files = await store.object_store("files")
    await files.put("b", b"1" * 300_000)
    assert (await files.get("b")).data == b"1" * 300_000
    await files.put("b", b"2")
    assert [each.name for each in await files.list(ignore_deletes=True)] == ["b"]
    await files.delete("b")
    assert not [each for each in users.errors["store"] if "violation" in each.lower()]


async def test_who_listens_may_answer_and_who_asks_hears_it(users: Users) -> None:
    echo = await users.get("echo")

    async def answer(message: Any) -> None:
        await message.respond(message.data)

    await echo.subscribe("echo.a", cb=answer)
    await echo.flush()
    for asker in (await users.get("asker"), await users.get("shy")):
        assert (await asker.request("echo.a", b"hello", timeout=3)).data == b"hello"


async def test_who_asks_itself_may_not_answer_wherever_it_likes(users: Users) -> None:
    """The server lets who is asked answer to what the question names, if it is told to (`allow_responses`), be it JetStream's API."""
    chat = await users.get("chat")
    heard = await chat.subscribe("chat.a")
    came = 0
    for target in ("$JS.API.STREAM.DELETE.orders", "$JS.API.STREAM.PURGE.orders", "secrets.forged", "$KV.hidden.a", "_INBOX_billing.x"):
        await chat.publish("chat.a", b"", reply=target)
        with suppress(nats.errors.TimeoutError):  # where the server does not let such a question through, all the better
            assert (await heard.next_msg(timeout=1)).reply == target
            came += 1
        assert not await users.may_publish("chat", target), target
    assert came, "some questions are let through, and their answers are not"


async def test_an_acknowledgement_that_comes_to_jetstream_is_no_request(users: Users) -> None:
    """Who publishes says where the acknowledgement goes. NATS asks nobody whether it may; its API takes no such body."""
    shop, admin = await users.get("shop"), (await users.get("admin")).jetstream()
    for target in ("$JS.API.STREAM.PURGE.secrets", "$JS.API.STREAM.DELETE.secrets"):
        await shop.publish("orders.new", b"", reply=target)
        await shop.flush()
    await asyncio.sleep(0.3)
    assert (await admin.stream_info("secrets")).state.messages == 1


async def test_the_agents_users_do_what_agents_do(users: Users) -> None:
    system = await users.get("system-for-agents")
    answer = json.loads((await system.request("$SYS.REQ.SERVER.PING.JSZ", b"{}", timeout=3)).data)
    assert answer["server"]["name"] == "nats-0"
    answer = json.loads((await system.request(f"$SYS.REQ.SERVER.{answer['server']['id']}.VARZ", b"", timeout=3)).data)
    assert "config_load_time" in answer["data"]


# --- what does not --------------------------------------------------------------------------------------------------------

EVERYBODY = ("app", "billing", "shop", "echo", "store", "agent", "dispatcher")
NOBODY_BUT_ADMIN = (
    "$JS.API.STREAM.CREATE.new", "$JS.API.STREAM.UPDATE.orders", "$JS.API.STREAM.DELETE.orders", "$JS.API.STREAM.PURGE.orders",
    "$JS.API.STREAM.RESTORE.orders", "$JS.API.STREAM.PEER.REMOVE.orders", "$JS.API.ACCOUNT.STREAM.MOVE.APP.orders",
    "$JS.API.ACCOUNT.STREAM.CANCEL_MOVE.APP.orders", "$JS.API.ACCOUNT.PURGE.APP",
    "$JS.API.STREAM.PURGE.KV_settings", "$JS.API.STREAM.PURGE.BAAS_DEAD_orders", "$JS.API.STREAM.PURGE.BAAS_DEAD_events",
    "$JS.API.STREAM.PURGE.BAAS_ADVISORIES", "$JS.API.STREAM.DELETE.KV_settings", "$JS.API.CONSUMER.PEER.REMOVE.orders.billing",
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.orders.billing",
)  # fmt: skip
DECLARED = ("billing", "shop", "echo", "store", "chat")
NO_DECLARED_USER = (
    "$JS.API.STREAM.LEADER.STEPDOWN.orders", "$JS.API.CONSUMER.LEADER.STEPDOWN.orders.billing", "$JS.API.STREAM.SNAPSHOT.orders",
    "$JS.API.STREAM.MSG.DELETE.orders", "$JS.API.STREAM.MSG.GET.secrets", "$JS.API.DIRECT.GET.secrets", "$JS.API.STREAM.LIST",
    "$JS.API.CONSUMER.DELETE.orders.other", "$JS.API.CONSUMER.CREATE.secrets",
    "$JS.API.CONSUMER.CREATE.secrets.mine.secrets.a", "$JS.API.CONSUMER.DURABLE.CREATE.secrets.mine",
    "$JS.API.CONSUMER.MSG.NEXT.secrets.audit",
    "$JS.API.CONSUMER.PAUSE.orders.other", "$JS.ACK.secrets.audit.1.1.1.1.0", "$KV.hidden.a", "$JS.API.STREAM.INFO.secrets", "secrets.a",
    "_BAAS.dead.orders", "_INBOX_admin.1", "$SYS.REQ.SERVER.PING.JSZ", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE",
    "$JS.API.ACCOUNT.PURGE.APP",
)  # fmt: skip


@pytest.mark.parametrize("user", EVERYBODY)
async def test_requests_that_are_the_operators_alone(users: Users, user: str) -> None:
    assert [each for each in NOBODY_BUT_ADMIN if await users.may_publish(user, each)] == []


@pytest.mark.parametrize("user", DECLARED)
async def test_requests_that_no_declared_user_may_make(users: Users, user: str) -> None:
    assert [each for each in NO_DECLARED_USER if await users.may_publish(user, each)] == []


@pytest.mark.parametrize(
    ("user", "subject"),
    [("shop", "_INBOX.someone.1"), ("store", "_INBOX.someone.1"), ("echo", "_INBOX_billing.1"), ("chat", "_INBOX_shy.1"),
     ("shop", "$JS.API.STREAM.NAMES"), ("billing", "$JS.API.STREAM.NAMES"), ("shop", "$JS.API.CONSUMER.MSG.NEXT.orders.billing"),
     ("billing", "$JS.API.CONSUMER.MSG.NEXT.orders.mine"), ("billing", "orders.new"),
     ("billing", "$JS.API.CONSUMER.CREATE.orders"), ("store", "$JS.API.STREAM.MSG.GET.KV_hidden"), ("echo", "echo.a"),
     ("agent", "orders.new"), ("agent", "$JS.API.STREAM.INFO.orders"), ("system-for-agents", "$SYS.REQ.SERVER.PING.SUBSZ"),
     ("system-for-agents", "$JS.API.SERVER.REMOVE"), ("app", "_BAAS.dead.orders"), ("app", "_INBOX_agent.x"), ("app", "_INBOX_admin.x"),
     ("dispatcher", "$JS.API.STREAM.LEADER.STEPDOWN.orders")],
)  # fmt: skip
async def test_requests_that_one_user_may_not_make(users: Users, user: str, subject: str) -> None:
    assert not await users.may_publish(user, subject)


CHANGES = (
    "CONSUMER.CREATE.{}", "CONSUMER.CREATE.{}.events.a", "CONSUMER.DURABLE.CREATE.{}", "CONSUMER.DELETE.{}", "CONSUMER.PAUSE.{}",
    "CONSUMER.UNPIN.{}", "CONSUMER.RESET.{}",
)  # fmt: skip


@pytest.mark.parametrize("form", ["$JS.API", "$JS.prod_nats.API"])
async def test_application_changes_no_consumer_that_is_declared_or_a_webhooks(users: Users, form: str) -> None:
    kept = ("events.declared", f"events.{HOOK}", "BAAS_ADVISORIES.dead-letters")
    asked = [f"{form}.{each.format(of)}" for of in kept for each in CHANGES]
    asked += [f"{form}.CONSUMER.MSG.NEXT.{of}" for of in kept[1:]]
    assert [each for each in asked if await users.may_publish("app", each)] == []
    assert await users.may_publish("app", f"{form}.CONSUMER.MSG.NEXT.events.declared")
    names = [each.name for each in await (await users.get("admin")).jetstream().consumers_info("events")]
    assert {"declared", HOOK} <= set(names)


@pytest.mark.parametrize("form", ["$JS.ACK.{}.1.1.1.1.0", "$JS.ACK._.hAsh.{}.1.1.1.1.0"])
async def test_application_acknowledges_nothing_of_a_webhook(users: Users, form: str) -> None:
    assert not await users.may_publish("app", form.format(f"events.{HOOK}"))
    assert await users.may_publish("app", form.format("events.declared"))


@pytest.mark.parametrize("user", [*DECLARED, "agent"])
async def test_nobody_hears_what_is_not_theirs(users: Users, user: str) -> None:
    asked = (">", "*.>", "$SYS.>", "_INBOX_billing.>", "_INBOX_agent.>", "_INBOX_admin.>", "$JS.>", "$KV.>", "orders.>", "_BAAS.>")
    mine = [f"{inbox(user)}.>"] if user in ("billing", "agent") else []
    assert [each for each in asked if await users.may_subscribe(user, each)] == mine


async def test_the_application_that_hears_everything_does_not_hear_a_private_inbox(users: Users) -> None:
    app, billing = await users.get("app"), await users.get("billing")
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(message.subject)

    subscription = await app.subscribe(">", cb=note)
    await app.flush()
    await billing.jetstream().consumer_info("orders", "billing")
    await app.jetstream().publish("orders.loud", b"")
    await asyncio.sleep(0.2)
    await subscription.unsubscribe()
    assert "orders.loud" in heard
    assert not [each for each in heard if each.startswith("_INBOX_billing")]


@pytest.mark.parametrize("name", ["admin", "admin-alt"])
async def test_nobody_hears_what_the_operator_is_answered(queue: Secured, users: Users, name: str) -> None:
    heard: list[str] = []

    async def note(message: Any) -> None:
        heard.append(message.subject)

    app = await users.get("app")
    subscription = await app.subscribe(">", cb=note)
    await app.flush()
    login = next(each for each in queue.logins["admin"] if each.username == name)
    host, port = "127.0.0.1", queue.client_ports["nats-0"]
    async with jetstream.connect(host, port, login.username, login.password, ca=queue.authority[0], name=HOST) as connection:
        assert set((await jetstream.look(connection)).streams) >= {"orders", "secrets"}
    await app.publish("orders.loud", b"")
    await asyncio.sleep(0.2)
    await subscription.unsubscribe()
    assert "orders.loud" in heard
    assert not [each for each in heard if each.startswith("_INBOX")]


async def test_a_request_for_one_stream_that_names_another_inside_is_refused(users: Users) -> None:
    store = await users.get("store")
    config = {"name": "x", "ack_policy": "explicit"}
    with pytest.raises(JetStreamError, match="match"):
        await call(store, "$JS.API.CONSUMER.CREATE.KV_settings.x", {"stream_name": "secrets", "config": config})


async def test_a_consumer_of_ones_own_store_asks_jetstream_for_nothing(users: Users) -> None:
    """NATS lets a consumer deliver anywhere. What is delivered to JetStream's own subjects must not be taken for a request."""
    store, admin = await users.get("store"), (await users.get("admin")).jetstream()
    before = (await admin.stream_info("orders")).state.messages
    assert before
    await (await store.jetstream().key_value("settings")).put("evil", b"{}")
    for number, target in enumerate(("$JS.API.STREAM.PURGE.orders", "$JS.API.STREAM.DELETE.orders")):
        config = {"deliver_subject": target, "name": f"evil{number}", "ack_policy": "none", "deliver_policy": "last", "mem_storage": True}
        with suppress(JetStreamError):  # that it is refused is as good
            await call(store, f"$JS.API.CONSUMER.CREATE.KV_settings.evil{number}", {"stream_name": "KV_settings", "config": config})
    await asyncio.sleep(0.5)
    assert (await admin.stream_info("orders")).state.messages == before
    assert (await admin.stream_info("secrets")).state.messages == 1
