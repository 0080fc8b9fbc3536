"""Where copies are and who leads: each stream in as many zones as it can be, and leaders on all servers. One step at a time, at rest alone.

JetStream places copies in distinct zones when it makes a stream (`unique_tag`), and never looks again. A move by its
`STREAM.MOVE` leaves a stream a copy short until the new one is filled (copies.py). After a roll, those who were moved away from the last
server are all led by the others.
"""

from __future__ import annotations

from collections import Counter

from baas_operator.observe.queue import QueueObservation
from baas_operator.policy.plan import Evacuate, StepDown

_CALM_SECONDS = 60.0
"""So long no leader has changed before the next is moved: a move costs those who publish a moment."""
_UNEVEN = 2


def spread(seen: QueueObservation) -> Evacuate | None:
    """The copy to move, so that a stream comes to be in one more zone. Only where a server in a zone that has none is ready for it."""
    for name, stream in sorted(seen.jetstream.streams.items()) if seen.jetstream else ():
        holders = stream.group.servers()
        zones = Counter(zone for each in holders if (zone := seen.zone_of(each)))
        free = [each for each in seen.ready if each.zone and each.zone not in zones and each.name not in holders]
        double = [each.server for each in stream.replicas if zones[seen.zone_of(each.server) or ""] > 1]
        if free and double:
            return Evacuate(name, double[-1])
    return None


def balance(seen: QueueObservation) -> StepDown | None:
    """The stream to be led by the server that leads least, from the one that leads most."""
    streams = seen.jetstream.streams if seen.jetstream else {}
    leads = {each.name: 0 for each in seen.ready}
    for stream in streams.values():
        if stream.leader not in leads or stream.led_seconds is None or stream.led_seconds < _CALM_SECONDS:
            return None
        leads[stream.leader] += 1
    if not leads:
        return None
    most = max(sorted(leads), key=lambda each: leads[each])
    for least in sorted(leads, key=lambda each: (leads[each], each)):
        if leads[most] - leads[least] < _UNEVEN:
            return None
        for name, stream in sorted(streams.items()):
            if stream.leader == most and any(each.server == least and each.level for each in stream.replicas):
                return StepDown(least, name)
    return None
