"""Whether the leader lock may be released before it runs out, and what the agent beside a standby does next.

A commit of the primary P is acknowledged when enough standbys have flushed it. Patroni keeps, in its synchronous state, the voters V
and a number q such that any q + 1 of V hold every acknowledged commit (Patroni's source, quorum.py: `quorum + sync >= len(voters | sync)`
at every moment). So once q + 1 of V can receive nothing more from P, P can acknowledge nothing more, dead or alive, and the lock
may go: what was acknowledged is on one of those q + 1 already, and whoever of them has most of the log is the next leader.

A standby that has made sure to receive nothing more is *fenced*. It says so in an annotation of Patroni's synchronous state, about
one leader's one term. That place is chosen with care: each fence changes the version of the object, so that P, if it lives, can not
change V from what it read before (Patroni writes it with a precondition), and the answer shows V, q and all fences at one moment.

One promise of Patroni's is weaker than that: when a voter goes, it is struck off at once, while those who remain may still lack what
only that one had confirmed. So the next leader has to hold all that the primary had written when it first renewed the lock with the
voters settled (the *floor*), and where they changed after that, enough of the earlier voters have to be fenced, too: whatever was
acknowledged is older than the floor, or was confirmed by enough of those who were voters then.

Positions are of one timeline alone. A former primary may have a tail that nobody acknowledged, at a higher position than all that its
successor has acknowledged since. So only a voter on the timeline that P writes on, as Patroni's history tells it, may be the next leader: a
fence on an older one says that its member has nothing of what P acknowledged there. And after a race who is on a newer timeline has more of
the log, whatever the positions.

The order of a release is therefore: read the lock; write the own fence; see in the answer that q + 1 are fenced; hand the lock over with a
precondition on the version read. If P renewed the lock in between, the last write fails; if it did not, it can not have changed V.

The lock is handed to the heir and not cleared: Patroni lets a running primary take a free lock, and P may run and reach the API server,
cut off from its standbys alone. Patroni promotes a standby that holds the lock, and demotes a primary when it sees another hold it.

The order of taking a fence back is: take the annotation off; wait until the lock was written once more; reconnect. Whoever read the lock
before that and counts on this fence fails, as the lock's version is another now; whoever reads it later finds no fence.

Where the lock ran out by itself, because P's Patroni hung while its PostgreSQL went on, Patroni's race has elected a leader with votes,
and a vote is no fence: who gave one may still confirm commits of P. So the agent of the new leader calls upon the voters to *turn away*
from P, which they do as they fence, and as publicly. It is promoted only once `quorum` + 1 have, itself among them, and none has more
of the log (`hindrance`; Patroni asks its agent before each promotion). The call comes first, as it changes the version of the synchronous
state: from then on P, if it wakes, can not strike off those who turn away.

docs/decisions/early-release.md tells the story; tests/unit/policy/test_failover_stories.py walks interleavings at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

ASK_AHEAD_SECONDS = 1.0
"""The primary is asked this long before its silence counts, so that its answer, or the lack of one, is there by then."""


@dataclass(frozen=True)
class Lock:
    """Patroni's leader lock as it was read. `term` tells one tenure of a leader from another of the same one."""

    leader: str | None
    term: str
    version: int
    position: int
    """How far the leader had written its log, in bytes, when it last renewed the lock."""
    transitions: int = 0
    """How often the leader has changed."""
    given: bool = False
    """Whether agents gave it to the leader, when enough of them were fenced."""


@dataclass(frozen=True)
class History:
    """Patroni's history: the newest timeline that it tells of, and who began that. Before the first promotion there is none.

    A new primary's Patroni writes it in the cycle that first finds PostgreSQL promoted (its source, ha.py, `update_cluster_history`).
    """

    timeline: int = 1
    leader: str | None = None


@dataclass(frozen=True, order=True)
class Reach:
    """How far a member has the log: the timeline of its end, and its position there, in bytes."""

    timeline: int
    position: int


@dataclass(frozen=True)
class Fence:
    """A member that receives nothing more from a leader, said in a term, and how far it has the log, in bytes of a timeline.

    `against`: that leader: the one of the term, or the one before it, whose commits the member still confirmed when the lock was
    another's already. `lives`: whether the member's Patroni answered its agent, as it has to do to be promoted.
    """

    term: str
    timeline: int
    position: int
    against: str
    lives: bool = True

    @property
    def reach(self) -> Reach:
        """How far it has the log."""
        return Reach(self.timeline, self.position)


@dataclass(frozen=True)
class Stopped:
    """News from the agent beside the leader of a term: PostgreSQL was shut down there for a planned move, to a member."""

    term: str
    to: str


@dataclass(frozen=True)
class Electorate:
    """Who votes: any `quorum` + 1 of `voters` hold all that was acknowledged while they were it."""

    voters: frozenset[str]
    quorum: int


@dataclass(frozen=True)
class Sync:
    """Patroni's synchronous state: any `quorum` + 1 of `voters` hold all that `leader` acknowledged.

    `changed`: version of the object as of which leader, voters and quorum are what they are; fences change it, too, but not this.
    `floor`: how far the leader had written its log, in bytes, when it first renewed the lock after its voters were settled; None while it
    has not. `earlier`: who voted since then and does not any more, as the lock was not renewed again. `timeline`: the one that the leader
    writes on; None while that is not known.
    """

    leader: str | None
    voters: frozenset[str]
    quorum: int
    changed: int
    floor: int | None
    fences: Mapping[str, Fence]
    timeline: int | None = None
    stopped: Stopped | None = None
    anyway: str | None = None
    """Whom somebody wants promoted whatever may be lost."""
    earlier: tuple[Electorate, ...] = ()

    @property
    def electorates(self) -> tuple[Electorate, ...]:
        """All under whom something above the floor may have been acknowledged."""
        return (*self.earlier, Electorate(self.voters, self.quorum))

    @property
    def settled(self) -> bool:
        """Whether the lock was renewed since the voters last changed."""
        return self.floor is not None and not self.earlier


@dataclass(frozen=True)
class Here:
    """What the agent knows of its own member and of the primary, as seen from here.

    `connected`: the member has what it needs to receive from a primary (the key of its client certificate). `silence`: seconds
    since the last word from the primary over replication. `answers`: whether the primary's Patroni answered when it was asked in this
    silence; None before it was asked. `dead`: its answer was that nothing listens there any more, or its pod is gone; then nobody waits
    for `silence` to grow, but a fence is needed all the same, as such news may be wrong. `withdrawn`: version of the lock as of which no
    fence of this member was published. `receives`: whether a WAL receiver is connected. `follows`: whether PostgreSQL would connect to
    the lock's leader, and to nobody else.
    """

    name: str
    connected: bool
    silence: float
    answers: bool | None
    withdrawn: int | None
    dead: bool = False
    receives: bool = True
    follows: bool = True


class Step(Enum):
    """What the agent does next."""

    FOLLOW = auto()
    """Nothing: replication goes on."""
    ASK = auto()
    """Ask the primary's Patroni for a sign of life."""
    CUT = auto()
    """Make sure that this member receives nothing more, and see it done."""
    RELEASE = auto()
    """Publish the fence and, when it completes the set, hand the lock over."""
    TURN = auto()
    """Publish that this member receives nothing more from the one who led before. The new leader, who need not, calls upon others so."""
    WITHDRAW = auto()
    """Take the published fence off."""
    CONNECT = auto()
    """Let the member receive from a primary again."""
    WAIT = auto()
    """Nothing can be done until something changes."""


def _timeline(sync: Sync, lock: Lock, history: History | None) -> int | None:
    """The one that the leader of the synchronous state writes on, as far as the history is its own. Whoever is promoted once more in its
    place is on a newer one for a moment, but then nobody has a tail from between the two."""
    if history is None or sync.leader is None:
        return None
    began = lock.leader if history.leader is None and lock.transitions == 0 else history.leader
    return history.timeline if began == sync.leader else None


def settled(sync: Sync, lock: Lock, history: History | None) -> Sync:
    """The synchronous state, with the leader's timeline, and with the floor that the lock gives it if the lock was renewed for the first
    time since the voters changed."""
    sync = replace(sync, timeline=_timeline(sync, lock, history))
    if not sync.settled and sync.leader == lock.leader and lock.version > sync.changed and lock.position:
        return replace(sync, floor=lock.position, earlier=())
    return sync


def _fenced(sync: Sync, lock: Lock) -> dict[str, Fence]:
    """The voters' fences against the leader of the lock's term; none of a newer timeline than the history tells of, which is old then."""
    if lock.leader is None or sync.leader != lock.leader or sync.timeline is None:
        return {}
    found = {name: each for name in sync.voters if (each := sync.fences.get(name))}
    return {
        name: each
        for name, each in found.items()
        if each.term == lock.term and each.against == lock.leader and each.timeline <= sync.timeline
    }  # fmt: skip


def has_fenced(sync: Sync, lock: Lock, name: str) -> bool:
    """Whether a member has published a fence against the leader of the lock's term. One of an earlier term counts for nobody, and one
    that was made for the lock's leader is against the one before it."""
    mine = sync.fences.get(name)
    return mine is not None and mine.term == lock.term and mine.against == lock.leader


def heir(sync: Sync, lock: Lock, me: str) -> str | None:
    """Who may have the lock now: the fenced voter that has most of the log, of those that have the same one whose Patroni answers, then the
    one that a planned move is to, and `me` before others; None while the leader of the lock's term may still acknowledge something.

    `quorum` + 1 fences end the acknowledging. All that was acknowledged is on one of them: on one that is on the leader's timeline, and
    holds all up to the floor (`good`); the others have nothing from beyond that. What was acknowledged under earlier voters is, too, if
    more than their `quorum` are fenced. The second count is for an heir that dies: it keeps a voter that lags from winning Patroni's race
    with the votes of the rest.
    """
    fenced = _fenced(sync, lock)
    good = {name: each for name, each in fenced.items() if sync.floor is not None and each.reach >= Reach(sync.timeline or 0, sync.floor)}
    if any(len(each.voters & set(fenced)) <= each.quorum for each in sync.electorates):
        return None
    if not good or len(sync.voters) - len(good) > sync.quorum:
        return None
    to = sync.stopped.to if stopped(sync, lock) and sync.stopped else None
    chosen = max(sorted(good), key=lambda name: (good[name].position, good[name].lives, name == to, name == me))
    # Who was stopped has shipped all of its log first. One that has renewed the lock with more runs again, on a timeline that nobody has.
    return None if to and good[chosen].position < lock.position else chosen


def voters_of_another(sync: Sync, lock: Lock) -> bool:
    """Whether the voters belong to another than who has the lock: its Patroni writes its own some time after the promotion."""
    return sync.leader not in (None, lock.leader)


def usurped(sync: Sync, lock: Lock) -> bool:
    """Whether another has the lock than the one that the voters belong to, and nobody has made sure that that one acknowledges no more."""
    return lock.leader is not None and not lock.given and bool(sync.voters) and voters_of_another(sync, lock)


def _turned(sync: Sync, lock: Lock) -> dict[str, Fence]:
    """Members that turned away from the one whom the voters belong to, as of this term; with the new leader among them, it has called."""
    return {name: each for name, each in sync.fences.items() if each.term == lock.term and each.against == sync.leader}


def hindrance(sync: Sync, lock: Lock, me: str, reach: Reach | None) -> str:
    """Why this member, which has the log as far as `reach`, may not be promoted now; empty if it may. None: that is not known."""
    if lock.leader != me:
        return f"{lock.leader or 'nobody'} has the lock"
    if sync.anyway == me:
        return ""
    if voters_of_another(sync, lock) and not lock.given and not sync.voters:
        return f"{sync.leader} may acknowledge alone"  # it struck off its voters after Patroni's race had read who they were
    if not usurped(sync, lock):
        return ""
    turned = _turned(sync, lock)
    if me not in turned:
        return "the voters are not called upon yet"
    if len(sync.voters & set(turned)) <= sync.quorum:
        return f"{sync.leader} may still acknowledge what {', '.join(sorted(sync.voters - set(turned)))} confirms"
    if reach is None:
        return "it is not known how far it has the log"
    if sync.timeline is not None and reach.timeline < sync.timeline:
        return f"it has followed nobody on timeline {sync.timeline}, which {sync.leader} wrote on"
    ahead = sorted(name for name in sync.voters & set(turned) - {me} if turned[name].reach > reach)
    return f"{', '.join(ahead)} has more of what {sync.leader} acknowledged" if ahead else ""


def stopped(sync: Sync, lock: Lock) -> bool:
    """Whether the leader was shut down on purpose. Like all news of a death it may be wrong by now, and is no proof of anything."""
    return sync.stopped is not None and sync.stopped.term == lock.term


def _counts(here: Here, lock: Lock, sync: Sync) -> bool:
    """Whether a fence of this member would count; without a synchronous state (durability async) none does."""
    return lock.leader not in (None, here.name) and sync.leader == lock.leader and here.name in sync.voters


def decide(here: Here, lock: Lock, sync: Sync, *, detection_seconds: float) -> Step:
    """The next step of the agent beside `here.name`; called again after each."""
    counts = _counts(here, lock, sync)
    suspected = counts and (stopped(sync, lock) or (here.answers is False and (here.dead or here.silence >= detection_seconds)))
    mine = sync.fences.get(here.name)
    published = has_fenced(sync, lock, here.name)
    turns = usurped(sync, lock) and here.name not in (turned := _turned(sync, lock))
    if turns and here.name == lock.leader:
        return Step.TURN
    turns = turns and here.name in sync.voters and lock.leader in turned
    # A PostgreSQL that was started with the address of the one before.
    astray = lock.given and not here.follows and mine is not None and not published and here.name != lock.leader
    if here.connected:
        if published:
            return Step.WITHDRAW
        if suspected or turns or astray:
            return Step.CUT
        wonders = not here.receives or here.silence >= detection_seconds - ASK_AHEAD_SECONDS
        return Step.ASK if counts and wonders and here.answers is None else Step.FOLLOW
    if suspected:
        return Step.RELEASE
    if turns:
        return Step.TURN
    if lock.leader is None:
        return Step.WAIT
    # Patroni turns PostgreSQL to a new leader some time after the lock names it. Until then it would go back to the old one, which may be
    # alive after all and wait for just this confirmation.
    if not here.follows:
        return Step.WAIT
    # A fence of an earlier term says that none of this term was published; otherwise the lock has to be written once first.
    if lock.leader == here.name or (mine is not None and not published):
        return Step.CONNECT
    if counts and here.answers is None:
        return Step.ASK
    if published:  # one that is no voter any more has no reason to stay away, whether the primary answers or not
        return Step.WITHDRAW if here.answers or not counts else Step.WAIT
    return Step.CONNECT if here.withdrawn is not None and lock.version > here.withdrawn else Step.WAIT
