"""EventQueue: what is decided and said from the first server to the loss of a zone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.desired.queue.streams import stream_config
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, ZONE_TOLERANT
from baas_operator.observe.queue import JetStreamState, Replica, StreamState
from baas_operator.observe.view import View
from baas_operator.policy.plan import EnsureStream, Plan
from baas_operator.policy.queue import plan_queue
from tests.unit.objects import NOW, ZONES, keyed, message, nodes, own, owner, pod, reason, secret, status

ORDERS = {"name": "orders", "subjects": ["orders.>"]}
SERVERS = ("mq-0", "mq-1", "mq-2")


class Nats:
    """An EventQueue with its servers and what JetStream says; as it should be, unless a story changes it."""

    def __init__(self, *streams: Manifest, zones: tuple[str | None, ...] = ZONES, **spec: Any) -> None:
        self.resource = own(EVENT_QUEUE, "mq", {"streams": list(streams), **spec})
        self.zones = dict(zip(SERVERS, zones, strict=False))
        self.ready = set(self.zones)
        self.nodes = nodes(*zones)
        self.jetstream: JetStreamState | None = JetStreamState("mq-0", {each["name"]: self.stream(each) for each in streams})
        self.passwords = True

    def stream(self, declared: Manifest, *, leader: str | None = "mq-0", behind: tuple[str, ...] = ()) -> StreamState:
        """A stream as JetStream tells it: the leader, and the others as it sees them."""
        view = View(resource=self.resource, children={}, nodes={}, now=NOW)
        spec = EVENT_QUEUE.spec.model_validate(view.spec)
        (wanted,) = (each for each in spec.streams if each.name == declared["name"])  # type: ignore[attr-defined]
        config = stream_config(spec, wanted) | {"allow_direct": True}  # type: ignore[arg-type]
        others = tuple(Replica(each, current=each not in behind) for each in self.zones if each != leader)
        return StreamState(config, leader, others)

    def say(self, name: str, **change: Any) -> None:
        """JetStream says something else of a stream."""
        assert self.jetstream
        self.jetstream = replace(self.jetstream, streams={**self.jetstream.streams, name: replace(self.jetstream.streams[name], **change)})

    def plan(self) -> Plan:
        whose = owner(EVENT_QUEUE, "mq")
        made = [
            pod(whose, name, names.COMPONENT, on=f"node-{zone}" if zone else None, ready=name in self.ready, ip="10.0.0.1")
            for name, zone in self.zones.items()
        ]
        if self.passwords:
            made += [secret(whose, names.user_secret("mq", user), names.COMPONENT, password=f"p-{user}") for user in names.USERS]
        return plan_queue(View(resource=self.resource, children=keyed(*made), nodes=self.nodes, now=NOW, external=self.jetstream))


def kinds(plan: Plan) -> set[str]:
    return {each["kind"] for each in plan.manifests}


# --- the way up -----------------------------------------------------------------------------------------------------


def test_from_nothing_to_serving() -> None:
    mq = Nats(ORDERS)
    mq.passwords, mq.jetstream, mq.ready = False, None, set()
    first = mq.plan()
    assert reason(first, READY) == "NoMajority"
    assert {each.name for each in first.secrets} == {f"mq-user-{user}" for user in names.USERS}
    assert "StatefulSet" not in kinds(first), "a server without passwords would let everybody in"

    mq.passwords = True
    assert "StatefulSet" in kinds(mq.plan())

    mq.ready = {"mq-0", "mq-1"}
    assert reason(mq.plan(), READY) == "JetStreamNotReady"

    mq.jetstream = JetStreamState("mq-1", {})
    two = mq.plan()
    assert reason(two, READY) == "CreatingStreams"
    assert two.effects == (), "a stream that is made now would lack a copy"

    mq.ready = set(SERVERS)
    (effect,) = mq.plan().effects
    assert isinstance(effect, EnsureStream)
    assert effect.exists is False
    assert (effect.config["name"], effect.config["num_replicas"]) == ("orders", 3)

    mq.jetstream = JetStreamState("mq-1", {"orders": mq.stream(ORDERS)})
    done = mq.plan()
    assert [(each.type, each.status) for each in done.conditions] == [(READY, True), (ZONE_TOLERANT, True)]
    assert done.effects == ()


@pytest.mark.parametrize("missing", [JetStreamState(None, {}), None])
def test_without_a_leader_no_stream_is_touched(missing: JetStreamState | None) -> None:
    mq = Nats(ORDERS)
    mq.jetstream = missing

    assert mq.plan().effects == ()
    assert reason(mq.plan(), READY) == "JetStreamNotReady"


def test_one_server_is_enough_where_one_was_asked_for() -> None:
    mq = Nats(ORDERS, replicas=1, zones=("zone-a",))
    mq.jetstream = JetStreamState("mq-0", {})
    assert len(mq.plan().effects) == 1

    mq.jetstream = JetStreamState("mq-0", {"orders": mq.stream(ORDERS)})
    plan = mq.plan()
    assert status(plan, READY)
    assert not status(plan, ZONE_TOLERANT)


# --- streams --------------------------------------------------------------------------------------------------------


def test_a_stream_that_drifted_is_put_right_and_what_the_server_adds_is_no_drift() -> None:
    mq = Nats(ORDERS)
    assert mq.plan().effects == ()

    mq.say("orders", config={**mq.stream(ORDERS).config, "max_age": 5})

    (effect,) = mq.plan().effects
    assert isinstance(effect, EnsureStream)
    assert effect.exists is True
    assert "allow_direct" not in effect.config, "what the operator does not decide, it does not say"


def test_the_order_of_subjects_is_no_drift() -> None:
    mq = Nats({"name": "orders", "subjects": ["b.>", "a.>"]})
    mq.say("orders", config={**mq.stream(ORDERS).config, "subjects": ["b.>", "a.>"]})

    assert mq.plan().effects == ()


def test_streams_that_want_the_same_subject_are_refused_and_what_serves_goes_on() -> None:
    mq = Nats(ORDERS, {"name": "paid", "subjects": ["*.paid"]})

    plan = mq.plan()

    assert plan.refused
    assert reason(plan, STALLED) == "SubjectsOverlap"
    assert "'orders.>' and '*.paid'" in message(plan, STALLED)
    assert status(plan, READY) is True

    mq.ready = {"mq-0"}
    assert status(mq.plan(), READY) is False


def test_a_refused_stream_is_told_in_jetstreams_words() -> None:
    mq = Nats(ORDERS)
    assert mq.jetstream
    mq.jetstream = replace(mq.jetstream, error="insufficient storage")

    assert "insufficient storage" in message(mq.plan(), READY)


def test_an_age_limit_bounds_the_duplicate_window() -> None:
    """JetStream takes no window longer than the stream's age limit."""
    mq = Nats({**ORDERS, "maxAgeHours": 1, "duplicateWindowSeconds": 86400})

    config = mq.stream(ORDERS).config

    assert config["duplicate_window"] == config["max_age"] == 3600 * 10**9


# --- what may be lost -----------------------------------------------------------------------------------------------


def test_a_server_lost_still_serves_and_says_that_no_zone_may_go_now() -> None:
    mq = Nats(ORDERS)
    mq.ready = {"mq-0", "mq-2"}
    mq.say("orders", replicas=mq.stream(ORDERS, behind=("mq-1",)).replicas)

    plan = mq.plan()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, RECONCILING) == "ServersNotReady"
    assert reason(plan, ZONE_TOLERANT) == "ServersTooClose"


def test_two_servers_lost_is_no_majority() -> None:
    mq = Nats(ORDERS)
    mq.ready = {"mq-2"}

    assert reason(mq.plan(), READY) == "NoMajority"
    assert not status(mq.plan(), ZONE_TOLERANT)


def test_a_stream_without_a_leader_is_not_ready() -> None:
    mq = Nats(ORDERS)
    mq.say("orders", leader=None)

    assert reason(mq.plan(), READY) == "StreamWithoutLeader"


@pytest.mark.parametrize(
    "replicas",
    [
        (Replica("mq-1", current=False), Replica("mq-2", current=True)),
        (Replica("mq-1", current=True, lag=7), Replica("mq-2", current=True)),
        (Replica("mq-1", current=True),),
        (),
    ],
)
def test_a_stream_with_a_copy_that_lags_is_not_spread(replicas: tuple[Replica, ...]) -> None:
    mq = Nats(ORDERS)
    mq.say("orders", replicas=replicas)

    plan = mq.plan()

    assert status(plan, READY)
    assert reason(plan, ZONE_TOLERANT) == "StreamNotSpread"
    assert "Stream orders has" in message(plan, ZONE_TOLERANT)


def test_three_copies_in_two_zones_are_not_spread() -> None:
    assert reason(Nats(ORDERS, zones=("zone-a", "zone-b", "zone-b")).plan(), ZONE_TOLERANT) in ("ServersTooClose", "StreamNotSpread")


def test_servers_whose_zone_is_unknown_are_not_called_tolerant() -> None:
    assert reason(Nats(zones=("zone-a", "zone-b", None)).plan(), ZONE_TOLERANT) == "ZoneUnknown"


def test_the_loss_window_is_told() -> None:
    assert Nats().plan().status["lossWindowSeconds"] == 0
    assert Nats(durability="balanced").plan().status["lossWindowSeconds"] == 1


def test_it_is_asked_more_often_while_something_is_missing() -> None:
    """JetStream's own state makes no Kubernetes event."""
    well, ill = Nats(ORDERS), Nats(ORDERS)
    ill.say("orders", leader=None)

    assert (ill.plan().requeue_after or 0) < (well.plan().requeue_after or 0)


@pytest.mark.parametrize(
    ("ready", "zones", "why", "says"),
    [
        (set(), ZONES, "NoMajority", "0 of 3 servers are ready and 2 must be, for a majority."),
        ({"mq-0"}, ZONES, "NoMajority", "1 of 3 servers is ready and 2 must be, for a majority."),
        (set(SERVERS), ("zone-a", "zone-b", "zone-b"), "ServersTooClose",
         "3 servers are ready, 2 of them in zone-b: without that zone there would be no majority."),
    ],
)  # fmt: skip
def test_why_a_zone_may_not_be_lost_is_told_in_good_english(ready: set[str], zones: tuple[str, ...], why: str, says: str) -> None:
    mq = Nats(ORDERS, zones=zones)
    mq.ready = ready

    plan = mq.plan()

    assert (reason(plan, ZONE_TOLERANT), message(plan, ZONE_TOLERANT)) == (why, says)


def test_one_server_is_told_as_that() -> None:
    mq = Nats(zones=("zone-a",), replicas=1)

    plan = mq.plan()

    assert message(plan, READY) == "1 server takes messages; 0 streams are kept."
    assert reason(plan, ZONE_TOLERANT) == "OneServer"
