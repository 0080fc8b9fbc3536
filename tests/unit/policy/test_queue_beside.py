"""What an EventQueue has beside its streams: dead letters, webhooks, outboxes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.dispatcher.consumers import consumer_name
from baas_operator.observe.conditions import DEAD_LETTERS_EXPIRING, READY, STALLED, find
from baas_operator.observe.moments import to_text
from baas_operator.observe.queue import ConsumerState
from baas_operator.policy.plan import DeleteConsumer, EnsureConsumer, EnsureStream
from tests.unit.objects import NOW, message, owner, pod, reason, status
from tests.unit.policy.queue_model import META, ORDERS, Nats

DEAD = {**ORDERS, "deadLetter": {"maxAgeHours": 100, "alarmHours": 24}}


def test_dead_letters_have_a_stream_of_their_own_and_one_that_keeps_what_servers_tell() -> None:
    mq = Nats(DEAD)
    assert mq.plan().effects == ()
    assert mq.jetstream
    mq.jetstream = replace(mq.jetstream, streams={"orders": mq.stream(ORDERS)})

    plan = mq.plan()

    made = [each for each in plan.effects if isinstance(each, EnsureStream)]
    assert {each.config["name"] for each in made} == {"BAAS_DEAD_orders", "BAAS_ADVISORIES"}
    shares = {each.config["max_bytes"] for each in made if each.config["name"] == "BAAS_DEAD_orders"}
    assert shares == {mq.stream(ORDERS).config["max_bytes"]}, "dead letters have no more of the store than the stream"
    assert reason(plan, READY) == "CreatingStreams"
    assert "Dead-letter stream of orders" in message(plan, READY)


@pytest.mark.parametrize("there", ["nothing", "no leader", "all"])
@pytest.mark.parametrize(("now", "declared", "until_then"), [(-1, 5, -1), (9, 5, 9), (3, 5, 5), (None, 5, -1)])
def test_no_consumer_gives_up_sooner_before_it_is_kept_what_it_gives_up(
    there: str, now: int | None, declared: int, until_then: int
) -> None:
    """`deadLetter` is declared on a stream that is in use. The server tells of a message once that it was delivered for the last time, to
    whoever listens then; in a `limits` stream nothing else does."""
    mq = Nats({**DEAD, "deadLetter": {"maxDeliveries": declared}, "consumers": [{"name": "billing"}]})
    assert mq.jetstream
    billing = mq.jetstream.streams["orders"].consumers["billing"]
    was = {} if now is None else {"billing": replace(billing, config={**billing.config, "max_deliver": now})}
    mq.say("orders", consumers=was)
    if there == "nothing":
        mq.jetstream = replace(mq.jetstream, streams={"orders": mq.jetstream.streams["orders"]})
    elif there == "no leader":
        mq.say("BAAS_ADVISORIES", leader=None)

    after = next((each.config["max_deliver"] for each in mq.plan().effects if isinstance(each, EnsureConsumer)
                  and each.config["name"] == "billing"), now)  # fmt: skip

    assert after == (declared if there == "all" else until_then)


def _letters(mq: Nats, count: int, hours_old: int) -> None:
    oldest = to_text(NOW - timedelta(hours=hours_old))
    mq.say("BAAS_DEAD_orders", messages=count, oldest=oldest if count else None)


def test_dead_letters_are_counted_and_told_of_before_they_expire() -> None:
    mq = Nats(DEAD)
    _letters(mq, 3, 75)
    plan = mq.plan()
    assert plan.status["streams"][0]["deadLetters"] == 3
    assert find({"status": {"conditions": [{"type": each.type} for each in plan.conditions]}}, DEAD_LETTERS_EXPIRING) is None

    _letters(mq, 3, 77)
    plan = mq.plan()
    assert reason(plan, DEAD_LETTERS_EXPIRING) == "DeadLettersExpiring"
    assert "3 dead letters of orders" in message(plan, DEAD_LETTERS_EXPIRING)
    assert "in 23 hours" in message(plan, DEAD_LETTERS_EXPIRING)
    assert status(plan, READY), "it serves all the same"


def test_how_many_dispatchers_are_ready_is_told_where_there_is_something_for_them_to_do() -> None:
    assert "readyDispatchers" not in Nats(ORDERS).plan().status

    mq = Nats(DEAD)
    assert mq.plan().status["readyDispatchers"] == 0
    whose = owner(EVENT_QUEUE, "mq")
    mq.others = [
        pod(whose, f"mq-dispatcher-{each}", names.DISPATCHER, on="node-zone-a", ready=each != "b", ip="10.0.0.9") for each in "abc"
    ]
    assert mq.plan().status["readyDispatchers"] == 2


def test_an_alarm_stays_while_jetstream_tells_nothing() -> None:
    mq = Nats(DEAD)
    _letters(mq, 3, 77)
    told = next(each for each in mq.plan().conditions if each.type == DEAD_LETTERS_EXPIRING)
    mq.resource["status"] = {"conditions": [{"type": told.type, "status": "True", "reason": told.reason, "message": told.message}]}
    mq.jetstream = None
    assert message(mq.plan(), DEAD_LETTERS_EXPIRING) == told.message

    mq.jetstream = Nats(DEAD).jetstream
    assert DEAD_LETTERS_EXPIRING not in {each.type for each in mq.plan().conditions}


HOOK = {"name": "shop", "stream": "orders", "url": "https://shop.example/hook"}


@pytest.mark.parametrize(
    ("declared", "dispatchers", "idle", "goes"),
    [
        ([HOOK], 2, 9999.0, False),
        ([HOOK], 0, 9999.0, False),
        ([], 0, None, True),  # the last webhook went, and the dispatchers with it
        ([], 2, None, False),  # one of them still asks
        ([], 2, 179.0, False),
        ([], 2, 180.0, True),
        ([{**HOOK, "name": "other"}], 2, 180.0, True),
    ],
)
def test_a_webhooks_consumer_goes_when_no_dispatcher_can_make_it_anew(
    declared: list[Manifest], dispatchers: int, idle: float | None, goes: bool
) -> None:
    mq = Nats({**ORDERS, "deletionPolicy": "Retain"}, webhooks=declared)
    left = ConsumerState("mq-0", META.replicas, idle_seconds=idle)
    mq.say("orders", consumers={names.webhook_consumer("shop"): left, "BAAS_webhook": left, "mine": left})
    whose = owner(EVENT_QUEUE, "mq")
    mq.others = [pod(whose, f"mq-dispatcher-{number}", names.DISPATCHER, on="node-zone-a") for number in range(dispatchers)]

    assert list(mq.plan().effects) == ([DeleteConsumer("orders", "BAAS_webhook_shop", "mq")] if goes else [])


def test_operator_and_dispatchers_call_a_webhooks_consumer_the_same() -> None:
    assert names.webhook_consumer("shop") == consumer_name("shop")


def test_a_stream_that_an_outbox_publishes_to_takes_batches() -> None:
    outbox = {"name": "out", "databaseRef": {"name": "db"}, "database": "shop", "stream": "orders"}
    mq = Nats(ORDERS, {"name": "other", "subjects": ["other.>"]}, outboxes=[outbox])
    assert mq.stream(ORDERS).config["allow_atomic"] is True
    assert "allow_atomic" not in mq.stream({"name": "other"}).config


@pytest.mark.parametrize(
    "differs", [{}, {"stream": "other"}, {"table": "b"}, {"schema": "s"}, {"database": "d"}, {"databaseRef": {"name": "x"}}]
)
def test_a_table_has_one_outbox(differs: dict[str, object]) -> None:
    """Both relays would take its rows for theirs, and each puts aside what its own stream has no subject for."""
    one = {"name": "one", "databaseRef": {"name": "db"}, "database": "shop", "stream": "orders"}
    plan = Nats(ORDERS, {"name": "other", "subjects": ["other.>"]}, outboxes=[one, one | {"name": "two"} | differs]).plan()
    shared = differs.keys() <= {"stream"}
    assert plan.refused == shared
    if shared:
        assert reason(plan, STALLED) == "OutboxesShareTable"
        assert message(plan, STALLED).startswith("Outboxes one and two both relay table public.outbox of shop in db")
