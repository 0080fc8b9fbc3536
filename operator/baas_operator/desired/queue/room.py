"""How much of the volume each stream may fill, so that none takes what another has set aside.

JetStream guards its storage as a whole alone: a stream without a limit fills it, and then nothing is taken for any stream, and none has a
leader any more (measured on 2.15.2: 42 MB into a store of 40 MB, and the stream beside it, which had set 30 MB aside, took nothing). Nor
does it add up what was set aside in time: it made streams of 30 and 20 MB at once in that store. So the operator adds up, and gives every
stream a limit: those that name none share what the others leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.quantity import parse_bytes
from baas_operator.desired.queue.dead_letters import ADVISORIES, ADVISORIES_BYTES, dead_letter_stream, dead_letters_of

_SHARE_OF_VOLUME = 0.8
"""Part of the volume that all limits may add up to. JetStream stops at 0.9 of it; its indexes, and what Raft keeps until all have it, are
in neither count."""
LEAST_BYTES = 16 * 1024 * 1024
"""With less, a stream is of no use: it holds two blocks of 8 MiB."""


@dataclass(frozen=True)
class Held:
    """What a stream has now: its limit and its messages, in bytes."""

    limit: int
    bytes: int


@dataclass(frozen=True)
class Room:
    """Bytes on each server. `promised`: what is set aside by name; `shares`: stream -> its limit, of those that name none."""

    whole: int
    promised: int
    shares: Mapping[str, int]
    fair: int

    @property
    def too_small(self) -> bool:
        """Whether more is promised than there is, or too little left for those that name no size."""
        return self.promised > self.whole or (bool(self.shares) and self.fair < LEAST_BYTES)


def _sizes(spec: EventQueueSpec) -> Iterable[tuple[str, str | None]]:
    letters = dead_letters_of(spec)
    for stream in spec.streams:
        yield stream.name, stream.max_size
        if stream.name in letters:
            yield dead_letter_stream(stream.name), letters[stream.name].max_size
    for key_value in spec.key_values:
        yield f"KV_{key_value.name}", key_value.max_size
    for objects in spec.object_stores:
        yield f"OBJ_{objects.name}", objects.max_size


def room(spec: EventQueueSpec, held: Mapping[str, Held], volume_bytes: int | None = None) -> Room:
    """Who may fill what, of volumes that have `volume_bytes`; what the spec says when left out. A stream that holds more than its share by
    now keeps the limit that it has: a lower one would throw messages away because somebody declared another stream."""
    whole = int((parse_bytes(spec.storage.size) if volume_bytes is None else volume_bytes) * _SHARE_OF_VOLUME)
    sizes = list(_sizes(spec))
    promised = sum(parse_bytes(size) for _, size in sizes if size)
    # What nobody declares any more, and what others made, is set aside as well.
    names = {name for name, _ in sizes}
    promised += sum(max(each.limit, 0) for name, each in held.items() if name not in names)
    if any(each.dead_letter for each in spec.streams) and ADVISORIES not in held:
        promised += ADVISORIES_BYTES
    sharing = [name for name, size in sizes if not size]
    fair = max(whole - promised, 0) // len(sharing) if sharing else 0
    return Room(whole, promised, {name: _limit(max(fair, LEAST_BYTES), held.get(name)) for name in sharing}, fair)


def _limit(fair: int, have: Held | None) -> int:
    if have is None or have.bytes <= fair:
        return fair
    return max(fair, have.limit, have.bytes)
