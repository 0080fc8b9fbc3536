"""What a queue keeps, put right both ways: what is missing is made, what was changed is put back, what was taken out of the spec goes if it
was to. What JetStream can not change is told, and holds up nothing else.

A stream of a declared name that somebody made by hand becomes the queue's, marks and all, as far as JetStream lets it: its messages are
what counts, and to refuse it would keep them from being watched over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue import names
from baas_operator.desired.queue.dead_letters import ADVISORIES
from baas_operator.desired.queue.differ import differing, incompatible_consumer, incompatible_stream
from baas_operator.desired.queue.streams import DELETION_MARK, QUEUE_MARK, USUAL_COPIES, Kept
from baas_operator.observe.queue import ConsumerState, JetStreamState, StreamState
from baas_operator.policy.plan import DeleteConsumer, DeleteStream, EnsureConsumer, EnsureStream, Finding, QueueEffect
from baas_operator.policy.queue.copies import copies_of

WEBHOOK_IDLE_SECONDS = 180.0
"""So long nobody has asked a webhook's consumer for messages before it is taken for left behind: by then dispatchers know what is declared
(policy/logins.py, `LEARN_SECONDS`). One that does not would make the consumer anew, and deliver the whole stream again."""


@dataclass(frozen=True)
class Keeping:
    """`effects`: what is done now; `refused`: why something can not be; `missing`: titles of what is not there yet; `resizing`: why a
    stream has another number of copies than it should, if one has."""

    effects: tuple[QueueEffect, ...] = ()
    refused: Finding | None = None
    missing: tuple[str, ...] = ()
    resizing: str = ""


def keep(
    wanted: Sequence[Kept], state: JetStreamState, *, queue: str, ready: int, resting: str, zones: int | None = None,
    copies: Mapping[str, int] = MappingProxyType({}), held: Collection[tuple[str, str]] = (),
) -> Keeping:  # fmt: skip
    """Compare. `ready`: servers that are; `resting`: why the number of a stream's copies may not be changed now, empty if it may, which one
    stream's is at a time; `zones`: how many there are, where each copy takes one of its own (`unique_tag`), None where it need not.
    `copies`: stream -> copies that it has for now, in place of what is declared, as servers go. `held`: (stream, consumer) that are not
    declared, and stay."""
    effects: list[QueueEffect] = []
    refused: list[str] = []
    missing: list[str] = []
    resizing = ""
    for each in wanted:
        if each.name in state.silent or each.waits:
            continue
        have = state.streams.get(each.name)
        config = each.config
        if zones is not None and (asked := int(config["num_replicas"])) > zones and (have is None or asked != copies_of(have)):
            refused.append(f"{each.title}: {asked} copies take a zone each, and there are {zones}: set its replicas to {USUAL_COPIES}")
            config = {**config, "num_replicas": copies_of(have) if have else USUAL_COPIES}
        if have is None:
            if int(config["num_replicas"]) <= ready:  # or it would lack a copy, or be refused
                effects.append(EnsureStream(config, exists=False))
            missing.append(each.title)
            continue
        if why := incompatible_stream(config, have.config):
            refused.append(f"{each.title}: {why}")
            continue
        has = copies_of(have)
        if each.name in copies:
            config = {**config, "num_replicas": copies[each.name]}
        if config["num_replicas"] != has:
            wait = resting or (f"{config['num_replicas']} servers are ready" if config["num_replicas"] > ready else "")
            wait = wait or ("the stream before it has its copies" if resizing else "")
            resizing = resizing or f"{each.title} has {has} of {config['num_replicas']} copies{f'; it waits until {wait}' if wait else ''}"
            config = {**config, "num_replicas": has} if wait else config
        if differing(config, have.config):
            effects.append(EnsureStream(config, exists=True))
        more, why_not = _consumers(each, have, heard=_heard(each, state))
        effects += more
        refused += why_not
    # What makes room comes first: JetStream counts what is set aside at each change.
    effects = [*_taken_out(wanted, state, queue, held), *sorted(effects, key=lambda each: _grows(each, state))]
    told = Finding("StreamRefused", f"{'. '.join(refused[:3])}{f'. And {len(refused) - 3} more' if len(refused) > 3 else ''}")
    return Keeping(tuple(effects), told if refused else None, tuple(missing), resizing)


def left_behind(spec: EventQueueSpec, state: JetStreamState, *, queue: str, dispatchers: int) -> list[DeleteConsumer]:
    """Consumers of webhooks that are not declared any more. `dispatchers`: pods of them that there are; none are left once nothing is
    declared that they do."""
    declared = {(each.stream, names.webhook_consumer(each.name)) for each in spec.webhooks}
    return [
        DeleteConsumer(stream, consumer, queue)
        for stream, have in sorted(state.streams.items())
        for consumer, one in sorted(have.consumers.items())
        if consumer.startswith(names.WEBHOOK_CONSUMER) and (stream, consumer) not in declared
        if not dispatchers or (one.idle_seconds or 0.0) >= WEBHOOK_IDLE_SECONDS
    ]


def _grows(effect: QueueEffect, state: JetStreamState) -> bool:
    if not isinstance(effect, EnsureStream):
        return False
    have = state.streams.get(str(effect.config["name"]))
    return have is None or int(effect.config["max_bytes"]) > int(have.config.get("max_bytes", -1))


def _heard(kept: Kept, state: JetStreamState) -> bool:
    """Whether it is kept which messages the stream's consumers give up, where that matters. The server says it once."""
    keeps = state.streams.get(ADVISORIES)
    return not kept.letters or (keeps is not None and keeps.leader is not None)


def _consumers(kept: Kept, have: StreamState, *, heard: bool) -> tuple[list[QueueEffect], list[str]]:
    effects: list[QueueEffect] = []
    refused = []
    for name, declared in kept.consumers.items():
        state = have.consumers.get(name)
        config = declared if heard else _patient(declared, state)
        if state is None:
            effects.append(EnsureConsumer(kept.name, config, exists=False))
        elif not state.config:
            continue  # it says nothing: it has no leader
        elif why := incompatible_consumer(config, state.config):
            refused.append(f"Consumer {name} of stream {kept.name}: {why}")
        elif differing(config, state.config):
            effects.append(EnsureConsumer(kept.name, config, exists=True))
    return effects, refused


def _patient(config: Mapping[str, Any], state: ConsumerState | None) -> Mapping[str, Any]:
    """The consumer, but that it gives up no sooner than it does now; a new one never."""
    now = int(state.config.get("max_deliver", -1)) if state else -1
    return {**config, "max_deliver": now} if now < 0 or now > int(config["max_deliver"]) else config


def _goes(config: Mapping[str, Any], queue: str) -> bool:
    marks = config.get("metadata") or {}
    return marks.get(QUEUE_MARK) == queue and marks.get(DELETION_MARK) == DeletionPolicy.DELETE.value


def _taken_out(wanted: Iterable[Kept], state: JetStreamState, queue: str, held: Collection[tuple[str, str]]) -> list[QueueEffect]:
    kept = {each.name: each for each in wanted}
    effects: list[QueueEffect] = []
    for name, have in sorted(state.streams.items()):
        if name not in kept:
            if _goes(have.config, queue):
                effects.append(DeleteStream(name, queue))
            continue
        effects += [
            DeleteConsumer(name, consumer, queue)
            for consumer, one in sorted(have.consumers.items())
            if consumer not in kept[name].consumers and (name, consumer) not in held and _goes(one.config, queue)
        ]
    return effects
