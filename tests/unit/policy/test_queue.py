"""EventQueue: what is decided and said from the first server to the loss of a zone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.desired.queue import names
from baas_operator.desired.queue.build import VOLUME_ANNOTATION
from baas_operator.observe.conditions import COPY_STALLED, READY, RECONCILING, STALLED, WEBHOOKS_DELIVERING, ZONE_TOLERANT
from baas_operator.observe.queue import CopyState, JetStreamState, Replica
from baas_operator.policy.plan import EnsureStream
from tests.unit.objects import ZONES, message, nodes, owner, reason, status
from tests.unit.policy.queue_model import GI, ORDERS, SERVERS, Nats, kinds

# --- the way up -----------------------------------------------------------------------------------------------------


def test_from_nothing_to_serving() -> None:
    mq = Nats(ORDERS)
    mq.passwords, mq.jetstream, mq.ready = False, None, set()
    first = mq.plan()
    assert reason(first, READY) == "NoMajority"
    assert {each.name for each in first.secrets} == {"mq-nats-ca", "mq-nats-tls"}, "users' Secrets hold the authority's certificate"
    assert "StatefulSet" not in kinds(first), "a server without passwords would let everybody in"

    mq.passwords = True
    second = mq.plan()
    assert "StatefulSet" in kinds(second)
    assert {each.name for each in second.secrets} == {"mq-nats-ca", "mq-nats-tls"} | {f"mq-user-{user}" for user in names.USERS}

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
    assert plan.status["readyReplicas"] == 3, "what runs is told as ever"
    assert [(each["name"], each["current"]) for each in plan.status["streams"]] == [("orders", 3), ("paid", 3)]

    mq.ready = {"mq-0"}
    assert status(mq.plan(), READY) is False


def test_what_is_amiss_with_a_queue_whose_spec_is_refused_is_told_as_ever() -> None:
    hook = {"name": "hook", "stream": "orders", "url": "https://hooks.example/in"}
    mq = Nats(ORDERS, {"name": "paid", "subjects": ["*.paid"]}, {"name": "eu", "mirror": {"stream": "orders"}}, webhooks=[hook])
    mq.say("eu", copies=(CopyState("orders", lag=0, active_seconds=900.0),))

    plan = mq.plan()

    assert plan.refused
    assert (status(plan, COPY_STALLED), reason(plan, COPY_STALLED)) == (True, "CopyStalled")
    assert (status(plan, WEBHOOKS_DELIVERING), reason(plan, WEBHOOKS_DELIVERING)) == (False, "NoDispatcher")


def test_a_refused_stream_is_told_in_jetstreams_words() -> None:
    mq = Nats(ORDERS)
    assert mq.jetstream
    mq.jetstream = replace(mq.jetstream, error="insufficient storage")

    assert "insufficient storage" in message(mq.plan(), READY)


def test_more_copies_than_zones_are_told_and_the_stream_is_kept_with_three() -> None:
    """JetStream would refuse it, in words about peers and tags."""
    mq = Nats({**ORDERS, "replicas": 5}, replicas=5)
    assert mq.jetstream
    three = {**mq.kept()[0].config, "num_replicas": 3}
    mq.say("orders", config=three)
    plan = mq.plan()
    assert "Stream orders: 5 copies take a zone each, and there are 3: set its replicas to 3" in message(plan, STALLED)
    assert not [each for each in plan.effects if isinstance(each, EnsureStream)]

    mq.jetstream = replace(mq.jetstream, streams={})
    assert [each.config for each in mq.plan().effects if isinstance(each, EnsureStream)] == [three]


def test_a_zone_that_goes_makes_no_stream_refused() -> None:
    """What a stream has was let in once."""
    zones = tuple(f"zone-{each}" for each in "abcde")
    mq = Nats({**ORDERS, "replicas": 5}, zones=zones, replicas=5)
    mq.nodes = nodes(*zones[:4])
    assert status(mq.plan(), STALLED) is not True


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


def test_streams_are_promised_what_volumes_have_and_not_what_they_were_asked_to_become() -> None:
    def told(mq: Nats) -> tuple[int, int]:
        plan = mq.plan()
        config = next(each for each in plan.manifests if "nats.conf" in (each.get("data") or {}))
        share = next((each.config["max_bytes"] for each in plan.effects if isinstance(each, EnsureStream)), 0)
        return int(config["data"]["nats.conf"].split("max_file_store: ")[1].split()[0]), share

    def claims(mq: Nats, *sizes: str, **more: str) -> None:
        whose = owner(EVENT_QUEUE, "mq")
        mq.others = [
            whose.child("v1", "PersistentVolumeClaim", f"data-mq-{number}", names.COMPONENT,
                        spec={"resources": {"requests": {"storage": "10Gi"}}}, status={"phase": "Bound", "capacity": {"storage": size}})
            for number, size in enumerate(sizes)
        ]  # fmt: skip
        config = whose.child("v1", "ConfigMap", "mq-nats", names.COMPONENT, annotations=more or None, data={})
        config["metadata"]["resourceVersion"] = "1"
        mq.others.append(config)

    mq = Nats({"name": "orders", "subjects": ["orders.>"]}, storage={"size": "100Gi"})
    mq.jetstream = replace(mq.jetstream, streams={})  # type: ignore[type-var]
    assert told(mq) == (int(90 * GI), int(80 * GI)), "volumes that are to be made"
    claims(mq, "10Gi", "100Gi", "10Gi")
    assert told(mq) == (int(9 * GI), int(8 * GI)), "some have not grown, and may never"
    claims(mq, "100Gi", "100Gi", "100Gi")
    assert told(mq) == (int(90 * GI), int(80 * GI))
    claims(mq, "100Gi", "100Gi", "100Gi", "5Gi", **{VOLUME_ANNOTATION: str(100 * GI)})
    assert told(mq) == (int(90 * GI), int(80 * GI)), "a new one is small for a moment, and servers take nothing back"
    claims(mq, "nonsense", "nonsense")
    assert told(mq) == (int(90 * GI), int(80 * GI))


def test_volumes_of_one_server_are_not_taken_up_by_several_nor_the_other_way_round() -> None:
    """A server that was alone deletes its streams when it joins others, so a queue that is made anew with three would lose all."""
    whose = owner(EVENT_QUEUE, "mq")
    claims = [
        whose.child(
            "v1", "PersistentVolumeClaim", f"data-mq-{number}", names.COMPONENT, spec={"resources": {"requests": {"storage": "5Gi"}}}
        )
        for number in range(3)
    ]
    for left, replicas, good in ((1, 3, False), (3, 3, True), (0, 3, True), (3, 1, False), (1, 1, True), (3, 5, True)):
        mq = Nats(ORDERS, replicas=replicas)
        mq.others = claims[:left]
        plan = mq.plan()
        assert plan.refused is not good, (left, replicas)
        assert good is bool(kinds(plan)), (left, replicas)
        if not good:
            assert reason(plan, STALLED) == "VolumesOfAnother"
            assert "data-mq-0" in message(plan, STALLED)

    mq = Nats(ORDERS)
    workload = whose.child("apps/v1", "StatefulSet", "mq", names.COMPONENT, spec={"template": {"spec": {}}, "volumeClaimTemplates": []})
    mq.others = [claims[0], workload]
    assert not mq.plan().refused, "servers are being made, one claim after another"
