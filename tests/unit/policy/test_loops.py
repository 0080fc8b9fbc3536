"""Which copies would bring a message back to where it came from. That NATS does go round is in tests/jetstream/streams/test_links.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.streams import stream_config
from baas_operator.engine.config import Config
from baas_operator.engine.gather import view_of
from baas_operator.engine.store import Store
from baas_operator.observe.queue import JetStreamState, StreamState
from baas_operator.observe.view import View
from baas_operator.policy.queue.loops import loops
from tests.unit.objects import NAMESPACE, NOW, own

QUEUE = "mq"


def stream(name: str, *sources: Any) -> Manifest:
    told = [{"stream": each} if isinstance(each, str) else each for each in sources]
    return {"name": name, "subjects": [f"{name}.>"], "sources": told}


def of(stream: str, *filters: str, **queue: Any) -> Manifest:
    return {"stream": stream, "filters": list(filters)} | ({"queue": queue} if queue else {})


def view(*streams: Manifest, others: dict[tuple[str, str], list[Manifest]] | None = None) -> View:
    queues = {key: {"spec": {"streams": each}} for key, each in (others or {}).items()}
    return View(own(EVENT_QUEUE, QUEUE, {"streams": list(streams)}), {}, {}, NOW, queues=queues)


def found(seen: View, state: JetStreamState | None = None) -> dict[str, str]:
    return loops(EventQueueSpec.model_validate(seen.spec), seen, state or JetStreamState("mq-0"))


def test_a_ring_within_a_queue_is_told_with_its_way() -> None:
    told = found(view(stream("a", "b"), stream("b", "c"), stream("c", "a"), stream("d", "a")))
    assert set(told) == {"a", "b", "c"}, "what only hears of it is no part of it"
    assert "it would copy from b, which copies from c, which copies from a: a message would go round for ever" in told["a"]


def test_a_stream_is_no_source_of_itself() -> None:
    assert "copy from a:" in found(view(stream("a", "a")))["a"]


@pytest.mark.parametrize(
    ("one", "other", "round_"),
    [
        ([], [], True),
        (["a.>"], ["b.>"], False),  # each has what the other one's applications publish
        (["b.>"], [], True),
        (["x.*"], ["x.y", "b.>"], True),
        (["x.*"], ["x.y.z", "*.y.z"], False),
        (["x.>", "b.>"], ["a.>", "*.y"], True),
    ],
)
def test_filters_that_let_nothing_all_the_way_round_make_no_ring(one: list[str], other: list[str], round_: bool) -> None:
    assert bool(found(view(stream("a", of("b", *one)), stream("b", of("a", *other))))) is round_


def test_three_filters_that_meet_two_by_two_alone() -> None:
    assert not found(view(stream("a", of("b", "x.>")), stream("b", of("c", "*.y")), stream("c", of("a", "x.z", "w.y"))))


def test_a_mirror_in_between_is_as_good_as_a_source() -> None:
    assert set(found(view(stream("a", "copy"), {"name": "copy", "mirror": {"stream": "a"}}))) == {"a", "copy"}


FAR = {"credentials": {"name": "s"}}


@pytest.mark.parametrize(
    "back",
    [
        {"name": QUEUE, "namespace": NAMESPACE, **FAR},
        {"url": f"tls://{QUEUE}.{NAMESPACE}.svc:7422", "domain": f"{NAMESPACE}_{QUEUE}", **FAR},
    ],
)
def test_queues_that_are_sources_of_each_other(back: dict[str, Any]) -> None:
    mine = stream("orders", of("orders", name="mq", namespace="east", **FAR))
    others = {("east", "mq"): [stream("orders", of("orders", **back))]}
    told = found(view(mine, others=others))
    assert "orders of mq in east, which copies from orders" in told["orders"]
    others = {("east", "mq"): [stream("orders", of("else", **back))]}
    assert not found(view(mine, stream("else"), others=others)), "streams copy, and not queues"


def test_a_queue_elsewhere_that_has_the_name_of_one_here_is_another_one() -> None:
    mine = stream("orders", of("orders", name="mq", namespace="east", **FAR))
    away = {"url": "tls://queue.eu.example:7422", "domain": f"{NAMESPACE}_{QUEUE}", **FAR}
    assert not found(view(mine, others={("east", "mq"): [stream("orders", of("orders", **away))]}))


def test_what_is_copied_already_goes_on_whatever_another_queue_is_told_to_copy() -> None:
    copy = of("orders", "a.>", "b.>", name="mq", namespace="east", **FAR)
    mine = stream("orders", copy)
    seen = view(mine, others={("east", "mq"): [stream("orders", of("orders", name=QUEUE, namespace=NAMESPACE, **FAR))]})
    spec = EventQueueSpec.model_validate(seen.spec)

    def state(**more: Any) -> JetStreamState:
        config = stream_config(spec, spec.streams[0], queue=QUEUE, namespace=NAMESPACE)
        return JetStreamState("mq-0", {"orders": StreamState(config | more, "mq-0")})

    assert found(seen)
    assert not found(seen, state())
    assert found(seen, state(sources=[])), "one that is added"
    wider = replace(seen, resource=view(stream("orders", copy | {"filters": ["a.>", "c.>"]})).resource)
    assert found(wider, state()), "and one that lets more pass"


def test_more_ways_than_anybody_follows_are_no_trouble() -> None:
    number = 60
    every = [stream(f"s{each}", *(of(f"s{one}") for one in range(each + 1, min(each + 10, number)))) for each in range(number)]
    assert not found(view(*every))


def test_an_object_of_an_older_version_holds_up_nothing() -> None:
    seen = view(stream("a", of("a", name="old", namespace="east", **FAR)), others={("east", "old"): [{"name": "?"}]})
    assert found(seen) == {}


def test_the_queues_that_are_copied_from_are_gathered_and_those_that_they_copy_from() -> None:
    def queue(namespace: str, *from_: tuple[str, str]) -> Manifest:
        copied = [stream(f"s{number}", of("a", name=q, namespace=ns, **FAR)) for number, (ns, q) in enumerate(from_)]
        made = own(EVENT_QUEUE, QUEUE, {"streams": copied})
        made["metadata"] |= {"namespace": namespace, "uid": namespace}
        return made

    store = Store()
    for namespace, *from_ in (("one", "two", "none"), ("two", "three"), ("three", "one"), ("four",)):
        store.put(queue(namespace, *((each, QUEUE) for each in from_)))
    one = store.get(EVENT_QUEUE.name, "one", QUEUE)
    assert one
    assert set(view_of(store, one, Config()).queues) == {("one", QUEUE), ("two", QUEUE), ("three", QUEUE)}
