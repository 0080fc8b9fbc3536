"""What there is in the model of a failover (failover_model.py): who takes part in it, what the API server has, and how that is written."""

from __future__ import annotations

from typing import Any, NamedTuple

from baas_operator.policy.failover import (
    Electorate,
    Fence,
    History,
    Lock,
    Stopped,
    Sync,
    settled,
)

P = "p"
STANDBYS = ("a", "b")
"""As a rule; three where a story asks for it, each of which multiplies the ways."""
TIMELINE = 2
"""That of the old primary."""
_TAIL = 9
"""How far one that led before it got on a timeline of its own: further than all that is written here."""
ORIGIN = 1000
"""No log begins at 0: a position of 0 says that there is none."""


class Standby(NamedTuple):
    """A standby, its agent's memory and how far each has got in what it is doing."""

    lsn: int = 0
    timeline: int = TIMELINE
    read: bool = True  # all of the log that it had when it was started; until then it seems to have none of it
    key: bool = True
    streams: bool = True
    linked: tuple[bool, bool] = (True, True)  # from the primary, to the primary
    points: str = P  # whom Patroni has PostgreSQL receive from
    seen: bool = True  # the primary has it in pg_stat_replication
    known: int = 0  # flush position that the primary has heard of
    suspects: bool = False
    withdrawn: int | None = None
    busy: tuple[Any, ...] = ()  # ("cleared",) | ("read", lock) | ("enough", version, heir) | ("unpublished",) | ("turned", term)
    race: tuple[int, frozenset[str], int, int, frozenset[str]] | None = None  # lock's version, voters, quorum, own position, votes
    may: int = 0  # term in which its agent let it be promoted


class Primary(NamedTuple):
    """The old primary: its PostgreSQL and its Patroni's cycle."""

    alive: str = "runs"  # runs | frozen | stopped: PostgreSQL is shut down for a planned move, Patroni is not
    leads: bool = True
    api: bool = True
    lsn: int = 0
    sync: frozenset[str] = frozenset(STANDBYS)  # synchronous_standby_names; empty with a number means any
    number: int = 1
    tells: str = ""  # term in which it was stopped, until its agent has told so
    cycle: tuple[Any, ...] | None = None  # ("looked", lock's version, own position, sync's version, voters, quorum) | ("renewed", …)


class World(NamedTuple):
    """All of it. `budget` bounds what may still happen of each sort, so that the walk ends."""

    p: Primary
    a: Standby
    b: Standby
    c: Standby | None
    leader: str | None
    term: int
    version: int
    lock_version: int
    lock_position: int
    given: bool
    voters: frozenset[str]
    quorum: int
    sync_version: int
    sync_changed: int
    floor: int | None
    earlier: tuple[Electorate, ...]
    fences: frozenset[tuple[str, Fence]]
    acked: int
    promoted: str | None
    stopped: Stopped | None
    budget: tuple[tuple[str, int], ...]

    @property
    def standbys(self) -> tuple[str, ...]:
        """Their names."""
        return STANDBYS if self.c is None else (*STANDBYS, "c")


def start(budget: dict[str, int], *, voters: frozenset[str] = frozenset(STANDBYS), led: str = "") -> World:
    """All is well; standbys that are no voters have not connected yet. `led`: who led before, with a tail that nobody else has; Patroni
    makes a voter of it, and the primary has just been promoted. There is a `c` where it is a voter."""
    joined, apart = Standby(), Standby(streams=False, seen=False)
    a, b = (joined if name in voters else apart for name in STANDBYS)
    if led:
        a, b = (apart._replace(timeline=TIMELINE - 1, lsn=_TAIL if name == led else 0) for name in STANDBYS)
    return World(
        p=Primary(sync=voters), a=a, b=b,
        c=joined if "c" in voters else None,
        leader=P, term=1, version=3, lock_version=3, lock_position=0, given=False, voters=voters,
        quorum=len(voters) - 1, sync_version=2, sync_changed=2, floor=ORIGIN, earlier=(), fences=frozenset(), acked=0, promoted=None,
        stopped=None, budget=tuple(sorted(budget.items())),
    )  # fmt: skip


def spend(world: World, what: str) -> World | None:
    left = dict(world.budget)
    if not left.get(what, 0):
        return None
    left[what] -= 1
    return world._replace(budget=tuple(sorted(left.items())))


def standby(world: World, name: str) -> Standby:
    found: Standby = getattr(world, name)
    return found


def having(world: World, name: str, **changes: object) -> World:
    return world._replace(**{name: standby(world, name)._replace(**changes)})  # type: ignore[arg-type]


def write_lock(world: World, **changes: object) -> World:
    return _settle(world._replace(version=world.version + 1, lock_version=world.version + 1, **changes))  # type: ignore[arg-type]


def write_sync(world: World, **changes: object) -> World:
    return _settle(world._replace(version=world.version + 1, sync_version=world.version + 1, **changes))  # type: ignore[arg-type]


def _settle(world: World) -> World:
    sync = settled(sync_of(world), lock_of(world), History(TIMELINE, P))
    return world._replace(floor=sync.floor, earlier=sync.earlier)


def lock_of(world: World) -> Lock:
    return Lock(world.leader, str(world.term), world.lock_version, world.lock_position + ORIGIN, given=world.given)


def sync_of(world: World) -> Sync:
    """Patroni writes a new leader into the synchronous state some time after a promotion; by then our story is over."""
    fences = dict(world.fences)
    return Sync(
        P, world.voters, world.quorum, world.sync_changed, world.floor, fences, TIMELINE, world.stopped, earlier=world.earlier
    )  # fmt: skip
