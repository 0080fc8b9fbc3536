"""The sweeper: finds messages that were delivered for the last time, and of which no advisory told.

An advisory is sent once, by a server that may die with it. What stays behind can be told from what consumers say of themselves
(nats-server 2.14.10, server/consumer.go): of the messages up to `delivered` that are still in a `workqueue` stream, each is either waited
for (`num_ack_pending` of them) or was delivered for the last time. Nothing up to `ack_floor` is waited for, and nothing at all where
`num_ack_pending` is 0. An acknowledgement that is on its way through the replicas looks the same for a moment, so a message is buried only
if two looks, a sweep apart, find it so.

In an `interest` stream a message also stays while another consumer wants it, so there it has to be behind all that may want it, and only
one of them may have given it up. In a `limits` stream messages stay in any case: nothing tells there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError

from baas_operator.dead_letters import metrics
from baas_operator.dead_letters.bury import NO_MESSAGE, Buried, bury
from baas_operator.dead_letters.letter import Reason, Source, stored_message
from baas_operator.desired.queue.streams import overlaps
from baas_operator.jetstream.requests import JetStreamError, call

_MOST = 1000
"""Messages of a consumer that one sweep looks at; the next goes on."""
_log = logging.getLogger("dead_letters.sweep")


@dataclass(frozen=True)
class _Reader:
    """What a consumer says of itself. `passed`: nothing up to this sequence is delivered any more."""

    name: str
    created: str
    filters: tuple[str, ...]
    gives_up: bool
    passed: int
    redelivered: int | None
    """Messages that were delivered more than once and not acknowledged, those that were given up included; None where that is not told."""


@dataclass(frozen=True)
class _Suspect:
    consumer: str
    created: str
    sequence: int
    nanoseconds: int


class Sweeper:
    """Remembers what the last sweep found."""

    def __init__(self, connection: Nats) -> None:
        self._connection = connection
        self._suspected: dict[str, frozenset[_Suspect]] = {}

    async def sweep(self, stream: str, retention: str) -> int:
        """Bury what this sweep and the one before found left behind; how many.

        Raises:
            Unburied, JetStreamError, or one of Unreachable: the rest is left to the next sweep.
        """
        if retention not in ("workqueue", "interest"):
            return 0
        info = await call(self._connection, f"$JS.API.STREAM.INFO.{stream}")
        state = info["state"]
        found: set[_Suspect] = set()
        if state["messages"]:
            readers = [_reader(each) async for each in self._consumers(stream)]
            for reader, until in _left_behind(readers, retention):
                if until >= state["first_seq"]:
                    found |= await self._suspects(stream, reader, int(state["first_seq"]), until)
        confirmed = found & self._suspected.get(stream, frozenset())
        self._suspected[stream] = frozenset(found - confirmed)  # what is buried now goes in a moment; what can not be is looked at anew
        for each in sorted(confirmed, key=lambda one: one.sequence):
            _log.warning(
                "a message was delivered for the last time and nobody was told of it",
                extra={"stream": stream, "consumer": each.consumer, "sequence": each.sequence},
            )
            came_of_it = await bury(
                self._connection, stream=stream, consumer=each.consumer, sequence=each.sequence, deliveries=0, reason=Reason.SWEPT,
                detail="No advisory of it was received.", retention=retention,
            )  # fmt: skip
            metrics.BURIED.labels(stream, Reason.SWEPT).inc(came_of_it is Buried.BURIED)
        return len(confirmed)

    async def _consumers(self, stream: str) -> Any:
        offset = 0
        while True:
            page = await call(self._connection, f"$JS.API.CONSUMER.LIST.{stream}", {"offset": offset})
            for each in page["consumers"] or []:
                yield each
            offset += len(page["consumers"] or [])
            if not page["consumers"] or offset >= page["total"]:
                return

    async def _suspects(self, stream: str, reader: _Reader, first: int, until: int) -> set[_Suspect]:
        found: set[_Suspect] = set()
        for subject in reader.filters:
            sequence = first
            while len(found) < _MOST and (message := await self._next(stream, subject, sequence)) and message.sequence <= until:
                found.add(_Suspect(reader.name, reader.created, message.sequence, message.nanoseconds))
                sequence = message.sequence + 1
        if reader.redelivered is not None and len(found) > reader.redelivered:
            # Some were never delivered: its filters were widened over messages that it had passed. They are not for us to judge.
            _log.info("messages that a consumer passed by are left alone", extra={"stream": stream, "consumer": reader.name})
            return set()
        return found

    async def _next(self, stream: str, subject: str, sequence: int) -> Source | None:
        try:
            answer = await call(self._connection, f"$JS.API.STREAM.MSG.GET.{stream}", {"seq": sequence, "next_by_subj": subject})
            return stored_message(answer["message"])
        except JetStreamError as error:
            if error.code == NO_MESSAGE:
                return None
            raise
        except (KeyError, TypeError, ValueError) as garbage:
            raise NatsError(f"{stream} was told of by something that is no JetStream") from garbage


def _reader(info: Mapping[str, Any]) -> _Reader:
    config = info["config"]
    filters = config.get("filter_subjects") or [config.get("filter_subject") or ">"]
    most = int(config.get("max_deliver", -1))
    return _Reader(
        name=info["name"],
        created=info["created"],
        filters=tuple(filters),
        gives_up=most > 0 and config.get("ack_policy") == "explicit",
        passed=int(info["ack_floor"]["stream_seq"] if info["num_ack_pending"] else info["delivered"]["stream_seq"]),
        redelivered=None if most == 1 else int(info["num_redelivered"]),  # with one delivery the server tells 0 in any case
    )


def _left_behind(readers: list[_Reader], retention: str) -> Iterator[tuple[_Reader, int]]:
    """The consumers that may have left something behind, and up to which sequence that could be."""
    for each in readers:
        if not each.gives_up or each.redelivered == 0:
            continue
        until = each.passed
        if retention == "interest":
            others = [other for other in readers if other.name != each.name and _meet(each, other)]
            if any(other.gives_up and other.redelivered != 0 for other in others):
                continue  # either may have given it up
            until = min(until, *(other.passed for other in others)) if others else until
        yield each, until


def _meet(one: _Reader, other: _Reader) -> bool:
    return any(overlaps(left, right) for left in one.filters for right in other.filters)
