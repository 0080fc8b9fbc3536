"""Who may fill what of a queue's volumes, and what differs from what was declared."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue.differ import differing, incompatible_stream, merged
from baas_operator.desired.queue.room import LEAST_BYTES, Held, room
from baas_operator.desired.queue.streams import consumer_config

GI = 2**30


def spec(*sizes: str | None, storage: str = "10Gi") -> EventQueueSpec:
    streams = [{"name": f"s{index}", "subjects": [f"s{index}.>"], "maxSize": size} for index, size in enumerate(sizes)]
    return EventQueueSpec.model_validate({"storage": {"size": storage}, "streams": streams})


def test_streams_that_name_no_size_share_what_the_others_leave() -> None:
    found = room(spec("2Gi", None, None), {})

    assert found.shares == {"s1": 3 * GI, "s2": 3 * GI}
    assert found.whole == 8 * GI
    assert not found.too_small


def test_what_nobody_declares_counts_as_well() -> None:
    assert room(spec(None), {"retained": Held(2 * GI, 5)}).shares == {"s0": 6 * GI}


def test_another_stream_throws_no_message_away() -> None:
    """A share shrinks when a stream is declared beside it, but never below what is in the stream."""
    found = room(spec(None, None), {"s0": Held(8 * GI, 5 * GI)})

    assert found.shares == {"s0": 8 * GI, "s1": 4 * GI}


def test_too_much_is_told() -> None:
    assert room(spec("6Gi", "6Gi"), {}).too_small
    assert room(spec("8Gi", None), {}).too_small
    assert not room(spec("8Gi"), {}).too_small
    assert room(spec("8Gi", None), {}).shares == {"s1": LEAST_BYTES}


@given(st.lists(st.one_of(st.none(), st.integers(1, 4)), min_size=1, max_size=8), st.integers(1, 20))
def test_limits_never_add_up_to_more_than_there_is(sizes: list[int | None], storage: int) -> None:
    found = room(spec(*(f"{each}Gi" if each else None for each in sizes), storage=f"{storage}Gi"), {})

    if not found.too_small:
        assert found.promised + sum(found.shares.values()) <= found.whole


def test_what_the_server_adds_is_no_drift_and_what_others_set_stays() -> None:
    wanted = {"name": "s", "subjects": ["a", "b"], "max_age": 0, "metadata": {"ours": "1"}, "sources": [{"name": "x"}]}
    have = {
        "name": "s", "subjects": ["b", "a"], "description": "theirs", "metadata": {"ours": "1", "_nats.ver": "2.14.10", "team": "shop"},
        "sources": [{"name": "x", "external": None}],
    }  # fmt: skip

    assert differing(wanted, have) == []
    assert differing(wanted | {"max_age": 5}, have) == ["max_age"]
    assert differing(wanted, have | {"subjects": ["a"]}) == ["subjects"]
    made = merged(wanted, have)
    assert made["description"] == "theirs"
    assert made["metadata"] == {"ours": "1", "team": "shop"}, "marks of the server are its own to make"


def test_a_change_of_retention_is_refused_only_to_and_from_workqueue() -> None:
    def change(before: str, after: str) -> str | None:
        return incompatible_stream({"name": "s", "retention": after}, {"name": "s", "retention": before})

    assert change("limits", "interest") is None
    assert "can not become workqueue" in (change("limits", "workqueue") or "")
    assert "is workqueue" in (change("workqueue", "limits") or "")


def test_the_number_of_deliveries_is_the_consumers_own_or_else_its_streams() -> None:
    declared = spec(None).streams[0].model_dump(by_alias=True, mode="json")
    declared |= {"deadLetter": {"maxDeliveries": 4}, "consumers": [{"name": "a"}, {"name": "b", "maxDeliveries": 9}]}
    stream = EventQueueSpec.model_validate({"streams": [declared]}).streams[0]

    assert [consumer_config(stream, each)["max_deliver"] for each in stream.consumers] == [4, 9]
