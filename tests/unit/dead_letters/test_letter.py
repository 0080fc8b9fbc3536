"""A letter's headers: nothing of the message is lost, and nothing of it is acted upon."""

from __future__ import annotations

import pytest

from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.streams import DeadLetter, Stream
from baas_operator.dead_letters.advisory import read_advisory
from baas_operator.dead_letters.letter import Headers, Source, letter_headers, parse_headers, read_letter, to_moment, to_nanoseconds
from baas_operator.dead_letters.match import subject_fits
from baas_operator.desired.queue.dead_letters import advisories_config, dead_letter_stream_config


def buried(*headers: tuple[str, str]) -> list[tuple[str, str]]:
    source = Source(3, "orders.new", 1_700_000_000_123_456_789, headers, b"x")
    return letter_headers(source, stream="orders", consumer="c", sequence=3, deliveries=2, reason="Swept", detail="")


def test_what_nats_would_act_upon_has_another_name() -> None:
    kept = buried(("Nats-Rollup", "all"), ("nats-ttl", "1s"), ("Trace", "a"), ("Trace", "b"))
    assert kept[:4] == [("Baas-Original-Nats-Rollup", "all"), ("Baas-Original-nats-ttl", "1s"), ("Trace", "a"), ("Trace", "b")]
    assert not [name for name, _ in kept if name.lower().startswith("nats-")]


def test_one_that_was_replayed_and_failed_again_keeps_its_first_id() -> None:
    kept = buried(("Baas-Original-Nats-Msg-Id", "mine"), ("Nats-Msg-Id", "replay:op:1"), ("Nats-Expected-Stream", "orders"))
    assert [pair for pair in kept if not pair[0].startswith("Baas-Dead-")] == [("Baas-Original-Nats-Msg-Id", "mine")]


def test_what_a_message_says_of_its_own_death_is_not_believed() -> None:
    kept = buried(("Baas-Dead-Reason", "None"), ("baas-dead-stream", "other"))
    letter = read_letter(Source(1, "_BAAS.dead.orders.c.3.1", 5, tuple(kept), b"x"))
    assert letter is not None
    assert (letter.reason, letter.stream, letter.headers) == ("Swept", "orders", ())


def test_what_is_no_letter_is_none() -> None:
    assert read_letter(Source(1, "_BAAS.dead.orders.c", 5, (("Trace", "a"),), b"x")) is None


def test_moments_keep_their_nanoseconds() -> None:
    assert to_nanoseconds("2026-05-01T12:00:00.000000001Z") - to_nanoseconds("2026-05-01T12:00:00Z") == 1
    assert to_nanoseconds("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert to_moment(1_500_000_000) == "1970-01-01T00:00:01.500Z"


def test_headers_are_read_and_measured_as_they_are_sent() -> None:
    raw = b"NATS/1.0\r\nTrace: a\r\nTrace: b\r\nEmpty:\r\n\r\n"
    assert list(parse_headers(raw)) == [("Trace", "a"), ("Trace", "b"), ("Empty", "")]
    assert Headers([("Trace", "a"), ("Trace", "b")]).size == len(b"NATS/1.0\r\nTrace: a\r\nTrace: b\r\n\r\n")


@pytest.mark.parametrize(
    "said",
    [
        b"", b"[]", b"null", b'{"type": "io.nats.jetstream.advisory.v1.max_deliver"}', b"[" * 100_000,
        b'{"type":"io.nats.jetstream.advisory.v1.terminated","timestamp":"2026-05-01T12:00:00Z","stream":"s","consumer":"c",'
        b'"stream_seq":1,"deliveries":1,"reason":"Message deleted by stream limits"}',
    ],
)  # fmt: skip
def test_what_is_no_advisory_for_us_is_none(said: bytes) -> None:
    assert read_advisory(said) is None


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("a.b", True),
        ("a.*", True),
        ("*.b", True),
        ("a.>", True),
        (">", True),
        ("a", False),
        ("a.b.>", False),
        ("a.b.*", False),
        ("a.c", False),
    ],
)
def test_subjects_fit_as_nats_has_it(pattern: str, fits: bool) -> None:
    assert subject_fits("a.b", pattern) == fits


def test_a_stream_of_dead_letters_refuses_when_it_is_full_and_takes_each_once() -> None:
    stream = Stream(name="orders", subjects=["orders.>"])
    made = dead_letter_stream_config(EventQueueSpec(replicas=5), stream, DeadLetter(max_age_hours=1, max_size="1Mi"))
    assert (made["name"], made["subjects"], made["num_replicas"]) == ("BAAS_DEAD_orders", ["_BAAS.dead.orders.>"], 3)
    assert (made["discard"], made["discard_new_per_subject"], made["max_msgs_per_subject"]) == ("new", True, 1)
    assert made["duplicate_window"] <= made["max_age"], "JetStream takes no longer window"
    assert made["max_bytes"] == 2**20
    assert advisories_config(EventQueueSpec(replicas=1))["num_replicas"] == 1
