"""Has every copy of a stream know of all the others.

When a stream gets more copies, its new ones read in its log of the old ones alone, and take that for all there are (nats-server 2.14.10;
policy/queue/forgotten.py says why). Two of them that are cut off from the rest would be a majority of three to themselves, and take
messages that are lost when the others are heard again. Whoever begins to lead writes the list as it knows it into the log, so a stream
that has such a copy is handed to one that knows of all.
"""

from __future__ import annotations

from baas_operator.queue_agent.cluster import META, Cluster, Key

LOOKS = 3
"""So many looks in a row a copy has to know of too few: a change takes a moment to be known everywhere."""
AGAIN_SECONDS = 600.0
"""What handing it over did not help is left alone for so long: each time costs those who publish a moment."""


class Sealing:
    """From look to look: what this server leads and hands over."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._looks: dict[Key, int] = {}
        self._tried: dict[Key, float] = {}

    def see(self, cluster: Cluster, now: float) -> dict[Key, str]:
        """Take in a look: group -> who leads it next. `now` in seconds of any clock that only goes forward."""
        open_ = _open(cluster, self._server)
        self._looks = {key: self._looks.get(key, 0) + 1 for key in open_}
        self._tried = {key: at for key, at in self._tried.items() if now - at < AGAIN_SECONDS}
        made = {key: open_[key] for key, looks in self._looks.items() if looks >= LOOKS and key not in self._tried}
        self._tried |= dict.fromkeys(made, now)
        return made


def _open(cluster: Cluster, server: str) -> dict[Key, str]:
    """Groups that it leads, that are level, and of which a copy knows of too few; with a copy that knows of all."""
    if not cluster.complete():
        return {}
    made = {}
    for key in cluster.leads(server):
        copies = cluster.groups[key].copies
        if key == META or not copies or not all(each.level and key in cluster.held.get(each.server, ()) for each in copies):
            continue
        knowing = [each.server for each in copies if cluster.knows_all(each.server, key)]
        if knowing and len(knowing) < len(copies):
            made[key] = knowing[0]
    return made
