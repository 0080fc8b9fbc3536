"""A queue's servers roll, go and are made anew: one at a time, and only while all that is kept is level."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.api.queue import Server
from baas_operator.desired.queue import names
from baas_operator.desired.queue.build import LOSS_ANNOTATION
from baas_operator.desired.secrets import PREPARED_ANNOTATION
from baas_operator.observe.conditions import RECONCILING, STALLED, ZONE_TOLERANT
from baas_operator.observe.moments import to_text
from baas_operator.observe.queue import QueueObservation, Replica
from baas_operator.policy.plan import DeletePod, Evacuate, ReplaceVolume, StepDown
from baas_operator.policy.queue.repair import PATIENCE_SECONDS
from baas_operator.policy.queue.spread import spread
from tests.unit.objects import NOW, message, owner, reason, secret
from tests.unit.policy.queue_at_rest import Queue, silent


def test_at_rest_nothing_is_moved() -> None:
    assert Queue().plan().effects == ()


# --- a rolling update -----------------------------------------------------------------------------------------------------------


def test_who_leads_least_goes_first_and_jetstreams_leader_last() -> None:
    queue = Queue()
    queue.revisions = dict.fromkeys(queue.names, "old")
    queue.put("orders", "mq-2", "mq-0", "mq-1")
    went = []
    for _ in range(3):
        (effect,) = queue.moved()
        assert isinstance(effect, DeletePod)
        assert effect.uid == f"uid-{effect.name}", "this very pod"
        went.append(effect.name)
        queue.revisions[effect.name] = "new"
    assert went == ["mq-1", "mq-2", "mq-0"]
    assert queue.plan().effects == ()


def test_no_password_takes_anothers_place_before_every_server_could_load_it() -> None:
    """A server that waits to be made anew may refuse all of its new files. Were the password that it did not load the one that counts, the
    operator itself would not be let in any more, and the roll never end."""
    queue = Queue()
    admin = {"username": "admin", "password": "1", "next": "2"}
    made = secret(owner(EVENT_QUEUE, "mq"), "mq-user-admin", names.COMPONENT, **admin)
    made["metadata"] |= {"annotations": {PREPARED_ANNOTATION: "2026-05-01T09:00:00Z"}, "resourceVersion": "7"}
    authority = secret(owner(EVENT_QUEUE, "mq"), "mq-nats-ca", names.COMPONENT, **{"ca.crt": "PEM"})

    def due() -> list[str]:
        return [each.name for each in queue.plan(made, authority).secrets if each.replaces]

    assert due() == ["mq-user-admin"]
    queue.revisions["mq-1"] = "old"
    assert due() == []
    queue.revisions["mq-1"] = "new"
    queue.generation = 3
    assert due() == [], "the StatefulSet has not looked at its template yet"


def test_the_loss_window_is_that_of_the_servers_that_run() -> None:
    queue = Queue()
    queue.pods["mq-2"] = {"annotations": {LOSS_ANNOTATION: "1"}}
    assert queue.plan().status["lossWindowSeconds"] == 1, "it was started as `balanced`, and was not made anew yet"
    queue.pods["mq-2"] = {"annotations": {LOSS_ANNOTATION: "0"}}
    assert queue.plan().status["lossWindowSeconds"] == 0


def _late_copy(queue: Queue) -> None:
    queue.put("orders", "mq-0", "mq-1", "mq-2", late=("mq-2",))


def _late_consumer(queue: Queue) -> None:
    state = queue.state.streams["orders"]
    billing = replace(state.consumers["billing"], replicas=(Replica("mq-1", current=True, lag=3), Replica("mq-2", current=True)))
    queue.state = replace(queue.state, streams={"orders": replace(state, consumers={"billing": billing})})


def _late_meta(queue: Queue) -> None:
    queue.state = replace(queue.state, meta=queue.group("mq-0", "mq-1", "mq-2", late=("mq-1",)))


HINDRANCES = [
    (_late_copy, "stream orders is level on mq-2"),
    (_late_consumer, "consumer billing of stream orders is level on mq-1"),
    (silent, "Stream orders has no leader"),
    (_late_meta, "mq-1 knows of all streams"),
    (lambda queue: queue.put("orders", None, "mq-0", "mq-1", "mq-2"), "Stream orders has no leader"),
    (lambda queue: queue.put("orders", "mq-0", "mq-1"), "stream orders has all of its 3 copies"),
    (lambda queue: queue.put("orders", "mq-0", "mq-1", "mq-2", moving=True), "stream orders has moved"),
    (lambda queue: queue.pods["mq-1"].update(goes=True), "mq-1 is gone and back"),
    (lambda queue: queue.pods["mq-1"].update(ready=False), "mq-1 is ready"),
    (lambda queue: queue.pods["mq-1"].update(since="2026-05-01T11:59:55Z"), "mq-1 has been ready for 10 s"),
    (lambda queue: queue.pods.pop("mq-1"), "there are 3 servers"),
]  # fmt: skip


@pytest.mark.parametrize(("hinder", "told"), HINDRANCES)
def test_nothing_goes_until_all_is_level(hinder: Any, told: str) -> None:
    queue = Queue()
    queue.revisions = {"mq-0": "old", "mq-1": "new", "mq-2": "old"}
    hinder(queue)

    plan = queue.plan()

    assert queue.moved() == []
    assert told in str(plan.conditions)


def test_what_can_not_run_goes_first_however_the_others_are() -> None:
    queue = Queue()
    queue.revisions = dict.fromkeys(queue.names, "old")
    queue.pods["mq-0"] = {"ready": False, "waiting": ("ImagePullBackOff", "no such image")}
    queue.pods["mq-1"] = {"ready": False}

    (effect,) = queue.moved()

    assert effect.name == "mq-0"


def test_a_server_that_runs_is_not_taken_for_broken_because_its_agent_can_not_be_started() -> None:
    """An image of the agent that is not to be had any more takes all agents; their servers are the majority."""
    queue = Queue()
    queue.revisions = dict.fromkeys(queue.names, "old")
    for each in ("mq-0", "mq-1"):
        queue.pods[each] = {"ready": False, "agent": ("ErrImagePull", "no such image")}
    assert queue.moved() == []


def test_one_that_is_down_is_made_anew_if_it_is_the_only_one() -> None:
    queue = Queue()
    queue.revisions = dict.fromkeys(queue.names, "old")
    queue.pods["mq-1"] = {"ready": False}
    assert [each.name for each in queue.moved()] == ["mq-1"]

    queue.pods["mq-2"] = {"ready": False}
    assert queue.moved() == [], "either may be on its way back, and one of them makes a majority"


# --- fewer servers ---------------------------------------------------------------------------------------------------------------


def lost() -> Queue:
    queue = Queue()
    queue.gone = {"node-zone-c"}
    queue.pods["mq-2"] = {"on": None, "ready": False}
    queue.put("orders", "mq-0", "mq-1", "mq-2", late=("mq-2",))
    queue.state = replace(queue.state, meta=queue.group("mq-0", "mq-1", "mq-2", late=("mq-2",)))
    return queue


def test_a_lost_volume_is_replaced_while_all_others_are_level() -> None:
    queue = lost()

    assert queue.moved() == [ReplaceVolume("mq-2", "uid-mq-2", "data-mq-2", "uid-of-data-mq-2", "node-zone-c")]
    assert reason(queue.plan(), RECONCILING) == "Repairing"


def test_a_node_that_comes_back_under_its_old_name_is_waited_for() -> None:
    """Nobody has to act: it passes by itself."""
    queue = lost()
    queue.pods["mq-2"]["no_place_since"] = to_text(NOW - timedelta(seconds=PATIENCE_SECONDS - 1))
    plan = queue.plan()
    assert queue.moved() == []
    assert (reason(plan, RECONCILING), reason(plan, STALLED)) == ("Repairing", None)
    assert "when its pod has had no place for 300 s" in message(plan, RECONCILING)

    queue.pods["mq-2"]["no_place_since"] = to_text(NOW - timedelta(seconds=PATIENCE_SECONDS))
    assert len(queue.moved()) == 1


@pytest.mark.parametrize(
    ("hinder", "told"),
    [
        (lambda queue: queue.put("orders", "mq-0", "mq-1", "mq-2", late=("mq-1", "mq-2")), "once stream orders is level on mq-1"),
        (lambda queue: queue.put("orders", None, "mq-0", "mq-1", "mq-2"), None),
        (lambda queue: queue.pods["mq-1"].update(ready=False), None),
        (lambda queue: queue.put("orders", "mq-0", "mq-1", "mq-2", late=("mq-2",), moving=True), "once stream orders has moved"),
    ],
)
def test_a_lost_volume_stays_while_it_may_have_what_no_other_has(hinder: Any, told: str | None) -> None:
    queue = lost()
    hinder(queue)

    assert queue.moved() == []
    if told is None:  # there is worse to tell, and it may pass by itself
        assert reason(queue.plan(), RECONCILING) in ("StreamWithoutLeader", "NoMajority")
        return
    assert told in message(queue.plan(), STALLED)
    assert "delete the volume claim data-mq-2 and the pod" in message(queue.plan(), STALLED)


def test_a_node_that_does_not_answer_is_not_gone() -> None:
    queue = lost()
    queue.gone = set()

    assert queue.moved() == []


def test_a_replacement_that_went_half_way_is_finished() -> None:
    queue = lost()
    queue.claims["mq-2"] = ""

    assert queue.moved() == [DeletePod("mq-2", "uid-mq-2")]


# --- places and leaders -------------------------------------------------------------------------------------------------------------


def test_a_copy_is_moved_to_a_zone_that_has_none() -> None:
    state = Queue().state
    zones = {"mq-0": "zone-a", "mq-1": "zone-a", "mq-2": "zone-b", "mq-3": "zone-c"}
    servers = tuple(Server(name=name, zone=zone, ready=True) for name, zone in zones.items())
    assert spread(QueueObservation(servers, state)) == Evacuate("orders", "mq-1"), "not the leader's own"

    down = tuple(each.model_copy(update={"ready": each.name != "mq-3"}) for each in servers)
    assert spread(QueueObservation(down, state)) is None, "there is nowhere better"
    assert spread(QueueObservation((servers[0], servers[2], servers[3]), state)) is None


def test_leaders_move_one_at_a_time_once_none_has_changed_for_a_minute() -> None:
    queue = Queue(streams=tuple({"name": f"s{number}", "subjects": [f"s{number}.>"]} for number in range(3)))
    calm = {name: replace(each, led_seconds=61.0) for name, each in queue.state.streams.items()}
    queue.state = replace(queue.state, streams=calm)
    assert queue.moved() == [StepDown("mq-1", "s0")]

    queue.state = replace(queue.state, streams={**calm, "s2": replace(calm["s2"], led_seconds=5.0)})
    assert queue.moved() == []


def test_a_consumer_that_is_late_is_no_promise_for_a_zone() -> None:
    queue = Queue()
    _late_consumer(queue)

    assert reason(queue.plan(), ZONE_TOLERANT) == "StreamNotSpread"
    assert "Consumer billing of stream orders" in message(queue.plan(), ZONE_TOLERANT)
