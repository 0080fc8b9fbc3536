"""What is declared is there, stays as declared, and goes when it was to: on real servers, with the operator's own steps."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client as Nats
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from baas_operator.desired.queue import names
from baas_operator.engine import jetstream
from baas_operator.jetstream.requests import JetStreamError, Unreachable, call
from baas_operator.observe.moments import read_time
from baas_operator.observe.queue import JetStreamState
from baas_operator.policy.plan import DeleteStream, EnsureStream
from baas_operator.policy.queue import streams as streams_policy
from baas_operator.policy.queue.streams import left_behind
from tests.jetstream.harness.servers import publish
from tests.jetstream.queue_agent.beside import until
from tests.jetstream.streams.driver import compare, settle, spec_of

pytestmark = pytest.mark.asyncio

ORDERS = {
    "name": "orders", "subjects": ["orders.>"], "maxAgeHours": 24, "maxMessages": 1000, "maxMessagesPerSubject": 500, "discard": "new",
    "deadLetter": {"maxDeliveries": 7},
    "consumers": [
        {"name": "billing", "filters": ["orders.paid"], "backoffSeconds": [1, 5], "maxDeliveries": 3},
        {"name": "shipping", "filters": ["orders.paid", "orders.sent"], "ackWaitSeconds": 60, "deliver": "new"},
    ],
}  # fmt: skip
ALL = {
    "streams": [
        ORDERS,
        {"name": "work", "subjects": ["work.>"], "retention": "workqueue", "maxSize": "64Mi", "consumers": [{"name": "workers"}]},
        {"name": "copy", "mirror": {"stream": "orders", "filters": ["orders.paid", "orders.new"]}},
        {"name": "fed", "sources": [{"stream": "orders", "filters": ["orders.new"]}, {"stream": "work"}]},
    ],
    "keyValues": [{"name": "settings", "history": 5, "ttlSeconds": 60}],
    "objectStores": [{"name": "files", "maxSize": "64Mi"}],
    "outboxes": [{"name": "out", "databaseRef": {"name": "db"}, "database": "shop", "stream": "work"}],
}


async def config_of(client: Nats, what: str) -> dict[str, Any]:
    return dict((await call(client, f"$JS.API.{what}"))["config"])


async def test_all_that_can_be_declared_is_made_once_and_then_left_alone(client: Nats) -> None:
    spec = spec_of(**ALL)

    state = await settle(client, spec)

    assert set(state.streams) == {"orders", "work", "copy", "fed", "KV_settings", "OBJ_files", "BAAS_DEAD_orders", "BAAS_ADVISORIES"}
    assert "dead-letters" in state.streams["BAAS_ADVISORIES"].consumers
    assert state.streams["work"].config["allow_atomic"] is True, "an outbox's batches"
    assert not state.streams["orders"].config.get("allow_atomic")
    assert all(len(group.servers()) == 3 for *_, group in state.groups())
    assert set(state.streams["orders"].consumers) == {"billing", "shipping"}
    billing = state.streams["orders"].consumers["billing"].config
    assert (billing["max_deliver"], billing["backoff"], billing["filter_subject"]) == (3, [10**9, 5 * 10**9], "orders.paid")
    assert state.streams["orders"].consumers["shipping"].config["max_deliver"] == 7, "the stream's own, as its consumer says nothing"
    assert compare(spec, state).effects == (), "what the server adds is no drift"

    await publish(client, "orders.paid", b"1", "1")
    await publish(client, "orders.new", b"2", "2")
    await publish(client, "orders.sent", b"3", "3")
    for _ in range(150):
        state = await jetstream.look(client)
        if (state.streams["copy"].messages, state.streams["fed"].messages) == (2, 1):
            break
        await asyncio.sleep(0.1)
    assert (state.streams["copy"].messages, state.streams["fed"].messages) == (2, 1)
    assert state.streams["orders"].messages == 3
    assert {each.name: each.lag for each in state.streams["copy"].copies} == {"orders": 0}
    assert [each.name for each in state.streams["fed"].copies] == ["orders", "work"]


async def test_clients_find_the_stores_that_were_declared(client: Nats) -> None:
    await settle(client, spec_of(**ALL))
    stream = client.jetstream()

    settings = await stream.key_value("settings")
    await settings.put("colour", b"red")
    await settings.put("colour", b"blue")

    async def is_blue() -> bool:  # any copy answers, also one that has not heard of it yet
        return bool((await settings.get("colour")).value == b"blue")

    await until(is_blue, "the last value")
    assert [each.value for each in await settings.history("colour")] == [b"red", b"blue"]
    await settings.delete("colour")
    status = await settings.status()
    assert (status.history, status.ttl) == (5, 60.0)

    files = await stream.object_store("files")
    await files.put("a", b"x" * 300_000)
    assert (await files.get("a")).data == b"x" * 300_000
    await files.delete("a")


async def test_what_was_changed_or_deleted_by_hand_is_put_back_and_what_is_not_ours_stays(client: Nats) -> None:
    spec = spec_of(**ALL)
    await settle(client, spec)
    await publish(client, "orders.paid", b"1", "1")
    orders = await config_of(client, "STREAM.INFO.orders")
    changed = {**orders, "max_msgs": 5, "subjects": ["orders.>", "more.>"], "description": "ours", "metadata": {"team": "shop"}}
    await call(client, "$JS.API.STREAM.UPDATE.orders", changed)
    billing = await config_of(client, "CONSUMER.INFO.orders.billing")
    body = {"stream_name": "orders", "config": {**billing, "max_ack_pending": 3, "filter_subject": "orders.new"}, "action": "update"}
    await call(client, "$JS.API.CONSUMER.DURABLE.CREATE.orders.billing", body)
    await call(client, "$JS.API.CONSUMER.DELETE.orders.shipping")
    await call(client, "$JS.API.STREAM.DELETE.work")

    state = await settle(client, spec)

    now = await config_of(client, "STREAM.INFO.orders")
    assert (now["max_msgs"], now["subjects"], now["description"]) == (1000, ["orders.>"], "ours")
    assert now["metadata"]["team"] == "shop"
    assert now["metadata"]["baas-operator.io/queue"] == "mq"
    assert state.streams["orders"].messages == 1, "a change costs no message"
    assert (await config_of(client, "CONSUMER.INFO.orders.billing"))["max_ack_pending"] == 1000
    assert (await config_of(client, "CONSUMER.INFO.orders.billing"))["filter_subject"] == "orders.paid"
    assert set(state.streams["orders"].consumers) == {"billing", "shipping"}
    assert "workers" in state.streams["work"].consumers


async def test_a_consumer_that_a_forged_request_made_short_lived_is_a_durable_one_again(client: Nats) -> None:
    """A request that names no consumer in its subject, where rights would tell, changes one all the same (NATS 2.14.10)."""
    spec = spec_of(**ALL)
    await settle(client, spec)
    for number in range(3):
        await publish(client, "work.a", b"x", str(number))
    pull = await client.jetstream().pull_subscribe_bind("workers", stream="work")
    for message in await pull.fetch(2, timeout=5):
        await message.ack_sync(timeout=5)
    forged = {"name": "workers", "ack_policy": "explicit", "max_deliver": 1, "inactive_threshold": 60_000_000_000}
    await call(client, "$JS.API.CONSUMER.CREATE.work", {"stream_name": "work", "config": forged})
    assert "durable_name" not in await config_of(client, "CONSUMER.INFO.work.workers")

    await settle(client, spec)

    now = await call(client, "$JS.API.CONSUMER.INFO.work.workers")
    assert now["config"]["durable_name"] == "workers"
    assert (now["config"]["max_deliver"], now["config"].get("inactive_threshold", 0)) == (-1, 0)
    assert (now["ack_floor"]["stream_seq"], now["num_pending"]) == (2, 1), "with its place in the stream"


async def test_a_request_that_jetstream_does_not_understand_is_refused_and_not_half_done(client: Nats) -> None:
    """`jetstream { strict }` is the server's own default (2.14.10, opts.go): a field of ours that it did not know would be told."""
    with pytest.raises(JetStreamError, match="unknown field"):
        await call(client, "$JS.API.STREAM.CREATE.odd", {"name": "odd", "subjects": ["odd"], "max_mesages": 1})
    assert "odd" not in (await jetstream.look(client)).streams


async def test_a_stream_made_by_hand_becomes_the_queues_with_its_messages(client: Nats) -> None:
    await call(client, "$JS.API.STREAM.CREATE.orders", {"name": "orders", "subjects": ["orders.new"], "num_replicas": 3, "storage": "file"})
    await publish(client, "orders.new", b"1", "1")

    state = await settle(client, spec_of(streams=[ORDERS]))

    assert state.streams["orders"].config["subjects"] == ["orders.>"]
    assert state.streams["orders"].messages == 1


async def test_what_can_not_be_changed_is_told_and_holds_up_nothing_else(client: Nats) -> None:
    for name, more in (("orders", {"retention": "workqueue"}), ("paid", {"storage": "memory"}), ("copy", {"mirror": {"name": "paid"}})):
        body = {"name": name, "num_replicas": 3, "storage": "file", **more}
        await call(client, f"$JS.API.STREAM.CREATE.{name}", body if "mirror" in more else {**body, "subjects": [f"{name}.>"]})
    consumer = {"durable_name": "late", "name": "late", "ack_policy": "explicit", "deliver_policy": "new"}
    await call(client, "$JS.API.STREAM.CREATE.well", {"name": "well", "subjects": ["well.>"], "num_replicas": 3, "storage": "file"})
    await call(client, "$JS.API.CONSUMER.DURABLE.CREATE.well.late", {"stream_name": "well", "config": consumer, "action": "create"})
    spec = spec_of(
        streams=[
            {"name": "orders", "subjects": ["orders.>"]},
            {"name": "paid", "subjects": ["paid.>"]},
            {"name": "copy", "mirror": {"stream": "orders"}},
            {"name": "well", "subjects": ["well.>"], "consumers": [{"name": "late"}, {"name": "other"}]},
        ]
    )

    state = await settle(client, spec)

    refused = compare(spec, state).refused
    assert refused is not None
    assert "Stream orders: its retention is workqueue and can not become limits: create a stream of another name" in refused.message
    assert "Stream paid: its storage is memory" in refused.message
    assert "Stream copy: mirror names another stream" in refused.message
    assert refused.message.endswith("And 1 more.")
    assert set(state.streams["well"].consumers) == {"late", "other"}, "what can be had is there"
    for name, change in (("orders", {"retention": "limits"}), ("paid", {"storage": "file"}), ("copy", {"mirror": {"name": "orders"}})):
        with pytest.raises(JetStreamError):  # and JetStream itself says no
            await jetstream.ensure_stream(client, {"name": name, **change}, exists=True)


@pytest.mark.parametrize(("policy", "left"), [("Retain", {"orders", "paid"}), ("Delete", {"orders"})])
async def test_what_is_taken_out_goes_only_if_it_was_to(client: Nats, policy: str, left: set[str]) -> None:
    paid = {"name": "paid", "subjects": ["paid.>"], "deletionPolicy": policy}
    await call(client, "$JS.API.STREAM.CREATE.byhand", {"name": "byhand", "subjects": ["hand.>"], "num_replicas": 3, "storage": "file"})
    orders = {"name": "orders", "subjects": ["orders.>"], "deletionPolicy": policy, "consumers": [{"name": "gone"}, {"name": "kept"}]}
    await settle(client, spec_of(streams=[orders, paid]))

    state = await settle(client, spec_of(streams=[{**orders, "consumers": [{"name": "kept"}]}]))

    assert set(state.streams) == left | {"byhand"}
    assert set(state.streams["orders"].consumers) == ({"kept"} if policy == "Delete" else {"gone", "kept"})


async def test_what_is_no_longer_marked_as_ours_is_not_deleted(client: Nats) -> None:
    """The mark is looked at once more: between the look and the deletion somebody took the stream over."""
    await settle(client, spec_of(streams=[{"name": "paid", "subjects": ["paid.>"], "deletionPolicy": "Delete"}]))

    await jetstream.bring_about(client, DeleteStream("paid", "another"))
    assert "paid" in (await jetstream.look(client)).streams
    await jetstream.bring_about(client, DeleteStream("paid", "mq"))
    await jetstream.bring_about(client, DeleteStream("paid", "mq"))
    assert (await jetstream.look(client)).streams == {}


async def test_a_stream_without_a_leader_is_not_taken_for_missing(client: Nats, servers: Any) -> None:
    """A list leaves out streams whose leader is silent; to make such a one anew would be refused, and to delete it worse."""
    spec = spec_of(streams=[{"name": "one", "subjects": ["one.>"], "replicas": 1, "deletionPolicy": "Delete"}, ORDERS])
    state = await settle(client, spec)
    gone = state.streams["one"].leader
    assert gone
    servers.kill(gone)

    state = await _look(client)

    effects = compare(spec, state).effects
    assert not [each for each in effects if isinstance(each, EnsureStream | DeleteStream)], effects
    assert "one" in state.silent or state.streams["one"].leader is None


async def _look(client: Nats) -> JetStreamState:
    """Once there is a leader again."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type((JetStreamError, *Unreachable)), stop=stop_after_delay(30), wait=wait_fixed(0.2)
    ):
        with attempt:
            return await jetstream.look(client)
    raise AssertionError("unreachable")


async def test_more_streams_than_a_page(client: Nats) -> None:
    """A page of the list has 256."""
    for number in range(260):
        body = {"name": f"s{number:03}", "subjects": [f"s{number}.>"], "num_replicas": 1, "storage": "memory"}
        await call(client, f"$JS.API.STREAM.CREATE.s{number:03}", body, seconds=10)

    assert len((await jetstream.look(client)).streams) == 260


async def test_an_outbox_that_comes_later_and_dead_letters_that_are_no_longer_kept(client: Nats) -> None:
    letters = {"maxDeliveries": 2, "maxSize": "32Mi"}
    orders = {"name": "orders", "subjects": ["orders.>"], "deadLetter": letters}
    dropped = {"name": "dropped", "subjects": ["dropped.>"], "deadLetter": letters, "deletionPolicy": "Delete"}
    state = await settle(client, spec_of(streams=[orders, dropped]))
    assert not state.streams["orders"].config.get("allow_atomic")
    assert state.streams["BAAS_DEAD_orders"].oldest is None
    await publish(client, "_BAAS.dead.orders.billing.1.1700000000000000000", b"x", "1")

    outbox = {"name": "out", "databaseRef": {"name": "db"}, "database": "shop", "stream": "orders"}
    state = await settle(client, spec_of(streams=[orders], outboxes=[outbox]))

    assert set(state.streams) == {"orders", "BAAS_DEAD_orders", "BAAS_ADVISORIES"}
    assert state.streams["orders"].config["allow_atomic"] is True
    held = state.streams["BAAS_DEAD_orders"]
    assert held.messages == 1
    assert abs((read_time(held.oldest) - datetime.now(UTC)).total_seconds()) < 60  # type: ignore[operator]

    del orders["deadLetter"]
    state = await settle(client, spec_of(streams=[orders]))
    assert set(state.streams) == {"orders", "BAAS_DEAD_orders"}, "letters that are kept stay; nobody reads advisories"


async def _ask(client: Nats, consumer: str) -> None:
    """As a dispatcher asks: again and again, because a request that comes before all servers know of the consumer is lost."""
    pulled = await client.jetstream().pull_subscribe_bind(consumer, "orders")
    while True:
        try:
            (message,) = await pulled.fetch(1, timeout=3)
        except nats.errors.TimeoutError:
            continue
        return await message.ack()


async def _while_it_waits(client: Nats, consumer: str) -> JetStreamState:
    async for attempt in AsyncRetrying(stop=stop_after_delay(20), wait=wait_fixed(0.3), retry=retry_if_exception_type(AssertionError)):
        with attempt:
            state = await jetstream.look(client)
            assert state.streams["orders"].consumers[consumer].idle_seconds is None, "a dispatcher waits for messages"
    return state


async def test_a_webhooks_consumer_goes_once_nobody_asks_it_for_messages(client: Nats, monkeypatch: pytest.MonkeyPatch) -> None:
    webhook = {"name": "shop", "stream": "orders", "url": "https://shop.example/hook"}
    streams = [{"name": "orders", "subjects": ["orders.>"], "consumers": [{"name": "billing"}]}]
    await settle(client, spec_of(streams=streams))
    name = names.webhook_consumer("shop")
    body = {"stream_name": "orders", "config": {"durable_name": name, "name": name, "ack_policy": "explicit"}, "action": ""}
    await call(client, f"$JS.API.CONSUMER.CREATE.orders.{name}", body)
    asks = asyncio.create_task(_ask(client, name))
    state = await _while_it_waits(client, name)
    assert left_behind(spec_of(streams=streams), state, queue="mq", dispatchers=1) == []
    await publish(client, "orders.new", b"1", "1")
    await asyncio.wait_for(asks, 20)

    state = await jetstream.look(client)
    assert 0 <= (state.streams["orders"].consumers[name].idle_seconds or 99) < 10
    assert left_behind(spec_of(streams=streams), state, queue="mq", dispatchers=1) == [], "it asks again in a moment"
    assert left_behind(spec_of(streams=streams, webhooks=[webhook]), state, queue="mq", dispatchers=0) == []

    # All dispatchers were begun anew when it was taken out, so that none of them knows of it.
    monkeypatch.setattr(streams_policy, "WEBHOOK_IDLE_SECONDS", 2.0)
    deadline = time.monotonic() + 20
    while not left_behind(spec_of(streams=streams), await jetstream.look(client), queue="mq", dispatchers=2):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.3)
    (gone,) = left_behind(spec_of(streams=streams), state, queue="mq", dispatchers=0)

    await jetstream.bring_about(client, gone)
    await jetstream.bring_about(client, gone)
    assert set((await jetstream.look(client)).streams["orders"].consumers) == {"billing"}
