"""A queue's servers go one at a time, and no stream is ever a copy short where that can be helped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.kinds import EVENT_QUEUE, STATEFUL_SET
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue import names
from baas_operator.desired.queue.streams import COPIES_MARK
from baas_operator.observe.conditions import RECONCILING, STALLED
from baas_operator.observe.queue import ConsumerState, StreamState
from baas_operator.policy.plan import EnsureConsumer, EnsureStream, Evacuate, RemoveServer, Scale, StepDown
from baas_operator.policy.queue import plan_queue
from tests.unit.objects import message, owner, reason, secret
from tests.unit.policy.queue_at_rest import ORDERS, Queue, silent


def shrinking() -> Queue:
    queue = Queue(servers=5, asked=3)
    queue.put("orders", "mq-0", "mq-1", "mq-2")
    return queue


def replicas(queue: Queue) -> int:
    """Servers that there are to be now."""
    scaled = [each for each in queue.plan().effects if isinstance(each, Scale) and each.kind == STATEFUL_SET.name]
    return scaled[0].replicas if scaled else applied(queue)


def applied(queue: Queue) -> int:
    """Servers by the manifest."""
    (manifest,) = (each for each in queue.plan(*secrets()).manifests if each["kind"] == STATEFUL_SET.name)
    return int(manifest["spec"]["replicas"])


def secrets() -> list[Manifest]:
    """Without them there is no StatefulSet."""
    whose = owner(EVENT_QUEUE, "mq")
    logins = [secret(whose, names.user_secret("mq", each), names.COMPONENT, username=each, password=f"p-{each}") for each in names.USERS]
    return [*logins, secret(whose, names.ca("mq"), names.COMPONENT, **{"ca.crt": "PEM"})]


def resized(stream: str, copies: int) -> EnsureStream:
    return EnsureStream({"name": stream, "num_replicas": copies}, exists=True)


def changed(queue: Queue) -> list[Any]:
    """All that the plan does to streams and servers."""
    return [each for each in queue.plan().effects if isinstance(each, EnsureStream | EnsureConsumer) or each in queue.moved()]


ALL = ("mq-0", "mq-1", "mq-2", "mq-3", "mq-4")


def test_a_server_goes_once_the_others_have_and_lead_all_that_it_has() -> None:
    """Each look finds the next step by what is there: the operator may die before any, and after."""
    queue = shrinking()
    queue.nats.passwords = True
    queue.put("orders", "mq-4", "mq-1", "mq-2")
    assert changed(queue) == [StepDown("mq-1", "orders", None)], "before there are new copies, which may not know of the others"
    queue.put("orders", "mq-1", "mq-4", "mq-2")
    assert changed(queue) == [resized("orders", 5)]
    assert "Stream orders has a copy on mq-4, and gets 5 copies" in message(queue.plan(), RECONCILING)

    queue.put("orders", "mq-1", "mq-4", "mq-2", "mq-0", "mq-3", copies=5, late=("mq-0", "mq-3"))
    assert changed(queue) == [], "nothing goes while the new ones are filled"
    assert "It goes on once stream orders is level on mq-0." in message(queue.plan(), RECONCILING)
    assert replicas(queue) == 5

    queue.put("orders", "mq-4", "mq-1", "mq-2", "mq-0", "mq-3", copies=5)
    assert changed(queue) == [StepDown("mq-1", "orders", None)], "it came to lead again"

    queue.put("orders", "mq-1", "mq-4", "mq-2", "mq-0", "mq-3", copies=5)
    queue.state = replace(queue.state, meta_leader="mq-4", meta=queue.group("mq-4", "mq-0", "mq-1", "mq-2", "mq-3"))
    assert changed(queue) == [StepDown("mq-0")]

    queue.state = replace(queue.state, meta_leader="mq-0", meta=queue.group(*ALL))
    assert changed(queue) == []
    assert "The others have all that mq-4 has, and it goes now." in message(queue.plan(), RECONCILING)
    assert replicas(queue) == 4


def test_copies_that_the_leader_does_not_know_of_are_asked_for_anew() -> None:
    """What a new copy that comes to lead forgets (policy/queue/forgotten.py)."""
    queue = Queue(servers=5, asked=5, streams=({**ORDERS, "replicas": 5},))

    def led(seconds: float, *servers: str, late: tuple[str, ...] = ()) -> None:
        queue.put("orders", *servers, copies=5, late=late)
        queue.state = replace(queue.state, streams={"orders": replace(queue.state.streams["orders"], led_seconds=seconds)})

    led(60, "mq-0", "mq-1", "mq-3", "mq-4")
    assert changed(queue) == [resized("orders", 5)]
    led(1, "mq-0", "mq-1", "mq-3", "mq-4")
    assert changed(queue) == [], "it may only not have heard of the change yet"
    led(60, "mq-0", "mq-1", "mq-3", "mq-4", late=("mq-3",))
    assert changed(queue) == [], "one thing at a time"
    led(60, "mq-0", "mq-1", "mq-2", "mq-3", "mq-4")
    assert changed(queue) == []
    led(60, "mq-0", "mq-1", "mq-3", "mq-4")
    queue.pods["mq-2"] = {"ready": False}
    assert changed(queue) == [], "it is known, and away"


def test_what_is_applied_is_the_same_whatever_jetstream_says() -> None:
    """Manifests are applied before it is asked (engine/reconcile.py): what follows from its answer has to be an effect."""
    queue = shrinking()
    assert (replicas(queue), applied(queue)) == (4, 5)
    view = queue.view(*secrets())
    for external in (None, replace(queue.state, meta_leader="mq-4")):
        assert plan_queue(replace(view, external=external)).manifests == plan_queue(view).manifests


def gone() -> Queue:
    """mq-4 went, and had a copy of what had become five."""
    queue = shrinking()
    queue.servers = 4
    del queue.pods["mq-4"]
    queue.put("orders", "mq-1", "mq-4", "mq-2", "mq-0", "mq-3", copies=5, late=("mq-4",))
    queue.state = replace(queue.state, meta=queue.group(*ALL, off=("mq-4",)))
    return queue


def test_a_server_that_went_is_let_go_of_and_struck_off_before_the_next_one_goes() -> None:
    queue = gone()
    assert changed(queue) == [resized("orders", 4)]
    queue.put("orders", "mq-1", "mq-4", "mq-2", "mq-0", "mq-3", copies=5, late=("mq-4", "mq-2"))
    assert changed(queue) == [resized("orders", 4)], "what lags lags less without it: it is not waited for"

    queue.put("orders", "mq-1", "mq-2", "mq-0", "mq-3", copies=4, late=("mq-2",))
    assert changed(queue) == []
    queue.put("orders", "mq-1", "mq-2", "mq-0", "mq-3", copies=4)
    assert changed(queue) == [RemoveServer("mq-4")]

    queue.state = replace(queue.state, meta=queue.group("mq-0", "mq-1", "mq-2", "mq-3"))
    assert changed(queue) == [], "three stay, as many as declared"
    assert "The others have all that mq-3 has" in message(queue.plan(), RECONCILING)
    assert replicas(queue) == 3

    queue.servers = 3
    del queue.pods["mq-3"]
    queue.state = replace(queue.state, meta=queue.group("mq-0", "mq-1", "mq-2", "mq-3", off=("mq-3",)))
    queue.put("orders", "mq-1", "mq-2", "mq-0", "mq-3", copies=4, late=("mq-3",))
    assert changed(queue) == [resized("orders", 3)]
    queue.put("orders", "mq-1", "mq-2", "mq-0")
    queue.state = replace(queue.state, streams={"orders": replace(queue.state.streams["orders"], config={
        **queue.state.streams["orders"].config, "num_replicas": 3,
    })})  # fmt: skip
    assert changed(queue) == [RemoveServer("mq-3")]


def test_a_server_that_jetstream_holds_for_online_is_not_let_go_of() -> None:
    """The copy of another would be given up in its place."""
    queue = gone()
    queue.state = replace(queue.state, meta=queue.group(*ALL, late=("mq-4",)))
    assert changed(queue) == []
    assert "once the leader of JetStream knows that mq-4 is gone" in message(queue.plan(), RECONCILING)


def test_a_copy_that_was_given_up_in_place_of_one_that_is_gone_is_made_up_for() -> None:
    queue = gone()
    queue.put("orders", "mq-1", "mq-4", "mq-2", copies=3, late=("mq-4",))
    assert changed(queue) == [RemoveServer("mq-4")], "JetStream fills another"


def test_a_queue_that_is_to_be_larger_again_in_the_midst_goes_back() -> None:
    queue = Queue(servers=5, asked=5)
    queue.put("orders", "mq-0", "mq-1", "mq-2", "mq-3", "mq-4", copies=5)
    (back,) = changed(queue)
    assert back.config["num_replicas"] == 3, "none had gone: what is declared"

    queue = gone()
    queue.nats = Queue(servers=5, asked=5).nats
    assert changed(queue) == []
    assert replicas(queue) == 5, "it comes back, and is level again before anything is changed"


def test_what_an_application_made_has_as_many_copies_as_it_was_made_with_in_the_end() -> None:
    queue = shrinking()
    theirs = StreamState({"name": "theirs", "num_replicas": 1}, "mq-4")
    queue.state = replace(queue.state, streams={**queue.state.streams, "theirs": theirs})
    assert changed(queue) == [EnsureStream({"name": "theirs", "num_replicas": 5, "metadata": {COPIES_MARK: "1"}}, exists=True)]

    marked = {"name": "theirs", "num_replicas": 3, "metadata": {COPIES_MARK: "1", "theirs": "too"}}
    there = StreamState(marked, "mq-0", queue.group(*ALL[:3]).replicas)
    smaller = Queue()
    smaller.state = replace(smaller.state, streams={**smaller.state.streams, "theirs": there})
    back = [EnsureStream({"name": "theirs", "num_replicas": 1, "metadata": {COPIES_MARK: ""}}, exists=True)]
    assert changed(smaller) == back
    marked["num_replicas"] = 1
    smaller.state = replace(smaller.state, streams={**smaller.state.streams, "theirs": replace(there, replicas=())})
    assert changed(smaller) == back, "no mark is left for a number that is somebody's own later"
    marked["metadata"] = {COPIES_MARK: "", "theirs": "too"}
    assert changed(smaller) == []


def test_a_consumer_with_fewer_copies_than_its_stream_gets_as_many_before_the_server_goes() -> None:
    queue = shrinking()
    queue.put("orders", "mq-1", "mq-4", "mq-2", "mq-0", "mq-3", copies=5)
    alone = ConsumerState("mq-4", (), config={"name": "alone", "num_replicas": 1})
    orders = queue.state.streams["orders"]
    queue.state = replace(queue.state, streams={"orders": replace(orders, consumers={**orders.consumers, "alone": alone})})
    assert changed(queue) == [EnsureConsumer("orders", {"name": "alone", "num_replicas": 0}, exists=True)]


def test_what_no_zone_has_room_for_is_moved_and_it_is_told_that_a_copy_is_short() -> None:
    queue = shrinking()
    queue.zoned = True
    queue.put("orders", "mq-1", "mq-4", "mq-2")
    assert changed(queue) == [resized("orders", 5)], "five zones"

    queue.zone_of = {"mq-3": "zone-a", "mq-4": "zone-a"}
    assert changed(queue) == [Evacuate("orders", "mq-4")]
    assert "It has one less until the new one is filled" in message(queue.plan(), RECONCILING)


def test_streams_that_do_not_fit_on_each_server_keep_servers_from_going() -> None:
    queue = Queue(servers=5, asked=3, streams=({**ORDERS, "maxSize": "18Gi"},), storage={"size": "20Gi"})
    queue.put("orders", "mq-1", "mq-4", "mq-2")
    assert changed(queue) == []
    assert reason(queue.plan(), STALLED) == "StorageOverpromised"


@pytest.mark.parametrize(
    ("hinder", "told"),
    [
        (silent, "Stream orders has no leader"),
        (lambda queue: queue.put("orders", None, "mq-3", "mq-4", "mq-0"), "Stream orders has no leader"),
        (lambda queue: queue.put("orders", "mq-0", "mq-1", "mq-4", late=("mq-1", "mq-4")), "once stream orders is level on mq-1"),
    ],
)
def test_a_server_that_may_have_what_no_other_has_is_not_struck_off(hinder: Any, told: str) -> None:
    """Somebody took it away with `kubectl scale`; or a queue of five was deleted, and one of three takes its volumes up."""
    queue = shrinking()
    queue.servers = 3
    for each in ("mq-3", "mq-4"):
        del queue.pods[each]
    queue.state = replace(queue.state, meta=queue.group("mq-0", "mq-1", "mq-2", "mq-3", "mq-4", late=("mq-3", "mq-4")))
    assert queue.moved() == [RemoveServer("mq-4")]
    hinder(queue)
    assert queue.moved() == []
    assert told in message(queue.plan(), RECONCILING)


def test_a_server_that_stays_and_is_not_well_holds_it_up_and_the_one_that_goes_does_not() -> None:
    queue = shrinking()
    queue.put("orders", "mq-1", "mq-4", "mq-2", late=("mq-4",))
    queue.pods["mq-4"] = {"ready": False}
    assert queue.moved() == [Evacuate("orders", "mq-4")]

    queue.pods["mq-2"] = {"ready": False}
    assert queue.moved() == []


# --- a volume that went with its node -----------------------------------------------------------------------------------------------
