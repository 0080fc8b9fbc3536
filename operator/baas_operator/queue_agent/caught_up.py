"""Whether this pod counts as ready: only while all that its server has a copy of is level, as the leaders say.

The disruption budget lets one pod be missing. So while one catches up, after a restart or when its network was cut, nobody may evict
another one, and a majority of every stream stays level, whatever drains nodes. A server that can not know is not level: it may be the one
that was cut off.

What is written to all the time lags a little at any moment, so a copy counts as behind only when it was so at several looks in a row. And
none of this holds for ever: a copy that has come no nearer for a quarter of an hour is a matter for people, and no reason to keep a node
from being drained.
"""

from __future__ import annotations

from baas_operator.queue_agent.cluster import META, Cluster, Key

LOOKS = 3
"""So many looks in a row make a copy level, or behind."""
HOLD_SECONDS = 900.0


class CaughtUp:
    """What is answered to the kubelet, from look to look."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._misses: dict[Key, int] = {}
        """Looks in a row at which a group was not level, LOOKS at the most. One that is new here has all of them, so it has to show itself;
        a consumer that nobody had before has none: who makes some all the time would keep all servers from being ready."""
        self._known: set[Key] = set()
        """What anybody held, and holds as far as is known."""
        self._good = 0
        self._best: tuple[int, int] | None = None
        self._moved_at = 0.0
        self.sentence = "not looked yet"
        self.level = False
        """Whether all is level."""
        self.ready = False
        """What the kubelet is told: level, or held back for long enough."""

    def see(self, cluster: Cluster, now: float) -> None:
        """Take in a look. `now` in seconds of any clock that only goes forward."""
        behind = cluster.behind(self._server)
        there = set[Key]().union(*cluster.held.values())
        made = {key for key in there - self._known if key.consumer} if self._known else set()
        self._known = there if cluster.complete() else self._known | there
        if self._server in cluster.held:
            held = cluster.held[self._server]
            self._misses = {key: count for key, count in self._misses.items() if key in held}
        for key in {*self._misses, *cluster.held.get(self._server, ()), META}:
            self._misses[key] = min(self._misses.get(key, 0 if key in made else LOOKS) + 1, LOOKS) if key in behind else 0
        late = {key: behind.get(key) for key, count in sorted(self._misses.items()) if count >= LOOKS}
        self._good = 0 if late else min(self._good + 1, LOOKS)
        self.level = self._good >= LOOKS or (self.level and not late)
        self._progress(late, now)
        self.ready = self.level or now - self._moved_at >= HOLD_SECONDS
        self.sentence = self._told(late, now)

    def _progress(self, late: dict[Key, int | None], now: float) -> None:
        score = (len(late), sum(lag or 1 for lag in late.values()))
        if self.level or self._best is None or score < self._best:
            self._best, self._moved_at = score, now

    def _told(self, late: dict[Key, int | None], now: float) -> str:
        if self.level:
            return "all copies are level"
        if not late:
            return f"all copies are level at {self._good} of {LOOKS} looks"
        key, lag = next(iter(late.items()))
        why = f"the leader of {key} is not known or does not answer" if lag is None else f"{key} lacks {lag} entries of its leader's log"
        more = f", and {len(late) - 1} more" if len(late) > 1 else ""
        given_up = f"; no nearer for {now - self._moved_at:.0f} s, so evictions are held back no longer" if self.ready else ""
        return f"{why}{more}{given_up}"
