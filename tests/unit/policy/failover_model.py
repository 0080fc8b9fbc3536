"""A primary, two standbys or three, their agents and the API server, as a state machine whose every interleaving can be walked.

What is real in it: `policy/failover.py`, which decides for the agents, and Patroni's own quorum resolver, which decides for the primary
what its synchronous state becomes. What is modelled, each request a step of its own: PostgreSQL's waiting for standbys, Patroni's cycle
(look, renew the lock, change the synchronous state with a precondition), its race for a free lock, and the agent's requests.

An agent's *suspicion* comes and goes as it likes: a slow network or a busy machine may make anyone believe anything. Safety must not
depend on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from patroni.quorum import QuorumStateResolver  # type: ignore[import-untyped]

from baas_operator.policy.failover import (
    Electorate,
    Fence,
    Here,
    History,
    Lock,
    Reach,
    Step,
    Stopped,
    Sync,
    decide,
    has_fenced,
    heir,
    hindrance,
    settled,
)

P = "p"
STANDBYS = ("a", "b")
"""As a rule; three where a story asks for it, each of which multiplies the ways."""
_TIMELINE = 2
"""That of the old primary."""
_TAIL = 9
"""How far one that led before it got on a timeline of its own: further than all that is written here."""
_ORIGIN = 1000
"""No log begins at 0: a position of 0 says that there is none."""
_LONGEST = 400
"""Steps after which a walk ends: some things, such as a race that nobody wins, may go on for ever."""


class Standby(NamedTuple):
    """A standby, its agent's memory and how far each has got in what it is doing."""

    lsn: int = 0
    timeline: int = _TIMELINE
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


@dataclass(frozen=True)
class Rules:
    """What is walked. `skip` names a rule of the protocol that is left out, to see that the walk would notice."""

    strict: bool = True
    skip: str = ""


class LostError(AssertionError):
    """An acknowledged commit is not on the new primary."""


def start(budget: dict[str, int], *, voters: frozenset[str] = frozenset(STANDBYS), led: str = "") -> World:
    """All is well; standbys that are no voters have not connected yet. `led`: who led before, with a tail that nobody else has; Patroni
    makes a voter of it, and the primary has just been promoted. There is a `c` where it is a voter."""
    joined, apart = Standby(), Standby(streams=False, seen=False)
    a, b = (joined if name in voters else apart for name in STANDBYS)
    if led:
        a, b = (apart._replace(timeline=_TIMELINE - 1, lsn=_TAIL if name == led else 0) for name in STANDBYS)
    return World(
        p=Primary(sync=voters), a=a, b=b,
        c=joined if "c" in voters else None,
        leader=P, term=1, version=3, lock_version=3, lock_position=0, given=False, voters=voters,
        quorum=len(voters) - 1, sync_version=2, sync_changed=2, floor=_ORIGIN, earlier=(), fences=frozenset(), acked=0, promoted=None,
        stopped=None, budget=tuple(sorted(budget.items())),
    )  # fmt: skip


def _spend(world: World, what: str) -> World | None:
    left = dict(world.budget)
    if not left.get(what, 0):
        return None
    left[what] -= 1
    return world._replace(budget=tuple(sorted(left.items())))


def _standby(world: World, name: str) -> Standby:
    found: Standby = getattr(world, name)
    return found


def _with(world: World, name: str, **changes: object) -> World:
    return world._replace(**{name: _standby(world, name)._replace(**changes)})  # type: ignore[arg-type]


def _write_lock(world: World, **changes: object) -> World:
    return _settle(world._replace(version=world.version + 1, lock_version=world.version + 1, **changes))  # type: ignore[arg-type]


def _write_sync(world: World, **changes: object) -> World:
    return _settle(world._replace(version=world.version + 1, sync_version=world.version + 1, **changes))  # type: ignore[arg-type]


def _settle(world: World) -> World:
    sync = settled(_sync(world), _lock(world), History(_TIMELINE, P))
    return world._replace(floor=sync.floor, earlier=sync.earlier)


def _lock(world: World) -> Lock:
    return Lock(world.leader, str(world.term), world.lock_version, world.lock_position + _ORIGIN, given=world.given)


def _sync(world: World) -> Sync:
    """Patroni writes a new leader into the synchronous state some time after a promotion; by then our story is over."""
    fences = dict(world.fences)
    return Sync(
        P, world.voters, world.quorum, world.sync_changed, world.floor, fences, _TIMELINE, world.stopped, earlier=world.earlier
    )  # fmt: skip


def check(world: World) -> None:
    """Nothing acknowledged is missing on the new primary. Raises LostError."""
    if not world.promoted:
        return
    x = _standby(world, world.promoted)
    if world.acked > (x.lsn if x.timeline == _TIMELINE else 0):
        raise LostError(f"{world.promoted} has {x.lsn} of timeline {x.timeline}, acknowledged was {world.acked}")


def steps(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Every step that can come next, with its name."""
    yield from _postgres(world)
    if world.p.alive == "frozen":
        yield "thaw", world._replace(p=world.p._replace(alive="runs"))
    yield from _patroni_of_primary(world, rules)
    yield from _faults(world)
    for name in world.standbys:
        yield from _agent(world, name, rules)
        yield from _race(world, name, rules)


def _postgres(world: World) -> Iterator[tuple[str, World]]:
    p = world.p
    writes = p.alive == "runs" and p.leads
    if writes and (after := _spend(world, "write")):
        yield "write", after._replace(p=p._replace(lsn=p.lsn + 1))
    for name in world.standbys:
        x = _standby(world, name)
        if p.alive == "runs" and x.streams and x.linked[0] and x.lsn < p.lsn and world.promoted != name:
            yield f"ship {name}", _with(world, name, lsn=p.lsn, timeline=_TIMELINE)
        if p.alive == "runs" and x.streams and x.seen and x.linked[1] and x.known < x.lsn and world.promoted != name:
            yield f"reply {name}", _with(world, name, known=x.lsn)
        if p.alive == "runs" and x.seen and not (x.streams and all(x.linked)):
            yield f"gone {name}", _with(world, name, seen=False)
        # PostgreSQL connects again by itself as soon as it can, to whom Patroni names, which learns of a new leader in its own time.
        diverged = x.timeline != _TIMELINE and x.lsn > 0
        if diverged and p.alive == "runs" and p.leads and x.points == P and all(x.linked) and world.promoted != name:
            yield f"{name} is rewound", _with(world, name, lsn=0)
        if not x.read:
            yield f"{name} reads its log", _with(world, name, read=True)
        able = x.key and x.read and not x.streams and not diverged
        if p.alive == "runs" and x.points == P and able and all(x.linked) and world.promoted != name:
            yield f"connect {name}", _with(world, name, streams=True, seen=True)
        if world.leader not in (None, name, x.points):
            yield f"{name} turns to {world.leader}", _with(world, name, points=world.leader, streams=False)
    if writes:
        heard = sorted((_standby(world, n).known for n in world.standbys if not p.sync or n in p.sync), reverse=True)
        most = p.lsn if p.number == 0 else (heard[p.number - 1] if len(heard) >= p.number else 0)
        if most > world.acked:
            yield "ack", world._replace(acked=most)


def _patroni_of_primary(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    p = world.p
    if p.alive != "runs" or not p.leads or not p.api:
        return
    if p.cycle is None:
        if after := _spend(world, "cycle"):
            looked = ("looked", world.lock_version, p.lsn, world.sync_version, world.voters, world.quorum)
            yield "look", after._replace(p=p._replace(cycle=looked))
        return
    stage, lock_version, position, sync_version, voters, quorum = p.cycle
    if stage == "looked":
        if world.leader == P:  # on a conflict Patroni reads the lock and tries once more: it fails only when the lock is not its own
            renewed = _write_lock(world, lock_position=position)
            yield "renew", renewed._replace(p=p._replace(cycle=("renewed", sync_version, 0, sync_version, voters, quorum)))
        elif world.leader is None and world.lock_version == lock_version:
            taken = _write_lock(world, leader=P, term=world.term + 1, given=False)
            yield "take back", taken._replace(p=p._replace(cycle=None))
        elif world.leader is None:
            yield "look again", world._replace(p=p._replace(cycle=None))
        else:
            yield "demote", world._replace(p=p._replace(leads=False, cycle=None))
        return
    active = {name for name in world.standbys if _standby(world, name).seen}
    confirmed = len(active & p.sync)
    wanted = QuorumStateResolver(P, quorum, voters, p.number if p.sync else 0, p.sync, confirmed, active, 1, P)
    for kind, _, number, names in wanted:
        chosen = frozenset(names)
        if kind == "quorum":
            if sync_version != world.sync_version and rules.skip != "precondition":
                yield "synchronous state changed by someone else", world._replace(p=p._replace(cycle=None))
                return
            earlier = () if rules.skip == "earlier voters" else _sync(world).electorates
            written = _write_sync(world, voters=chosen, quorum=number, sync_changed=world.version + 1, earlier=earlier)
            cycle = ("renewed", written.sync_version, 0, written.sync_version, chosen, number)
            yield f"voters {sorted(chosen)} {number}", written._replace(p=p._replace(cycle=cycle))
            return
        if kind == "sync":
            wait_for = max(number, 1) if rules.strict else number
            if (chosen, wait_for) != (p.sync, p.number):
                yield f"names {sorted(chosen)} {wait_for}", world._replace(p=p._replace(sync=chosen, number=wait_for))
                return
    yield "slept", world._replace(p=p._replace(cycle=None))


def _faults(world: World) -> Iterator[tuple[str, World]]:
    p = world.p
    if p.alive == "runs" and (after := _spend(world, "freeze")):
        yield "freeze", after._replace(p=p._replace(alive="frozen"))
    if p.alive == "runs" and p.api and (after := _spend(world, "cut api")):
        yield "cut api", after._replace(p=p._replace(api=False))
    if not p.api:
        yield "heal api", world._replace(p=p._replace(api=True))
    what = "P hangs" if world.leader == P else "heir dies"
    if world.leader and not world.promoted and (after := _spend(world, what)):
        yield "the lock runs out", _write_lock(after, leader=None)
    yield from _planned_stop(world)
    for name in world.standbys:
        x = _standby(world, name)
        for what, linked in (("cut", (False, False)), ("cut from", (False, True)), ("cut to", (True, False))):
            if all(x.linked) and (after := _spend(world, what)):
                yield f"{what} {name}", _with(after, name, linked=linked)
        if not all(x.linked):
            yield f"heal {name}", _with(world, name, linked=(True, True))
        if after := _spend(world, f"suspicion {name}"):
            yield f"{name} changes its mind", _with(after, name, suspects=not x.suspects)
        if world.promoted != name and (after := _spend(world, f"restart {name}")):
            yield f"{name} restarts", _with(after, name, read=False, streams=False, seen=False, race=None)
        if after := _spend(world, "restart agent"):
            yield f"agent {name} restarts", _with(after, name, busy=(), withdrawn=world.lock_version)


def _planned_stop(world: World) -> Iterator[tuple[str, World]]:
    """The agent beside the primary shuts PostgreSQL down, tells so, and Patroni starts it again if nobody has taken over."""
    p = world.p
    if p.alive == "runs" and p.leads and world.leader == P and (after := _spend(world, "stop")):
        after = after._replace(p=p._replace(alive="stopped", cycle=None, tells=str(world.term)))
        for name in world.standbys:
            after = _with(after, name, streams=False, seen=False)
        yield "stop", after
    if p.tells:
        yield "tell", _write_sync(world, stopped=Stopped(p.tells, "a"), p=p._replace(tells=""))
    if p.alive == "stopped":
        if world.leader == P and (after := _spend(world, "cycle")):
            yield "renew while stopped", _write_lock(after, lock_position=p.lsn)
        if world.leader == P:
            yield "start again", world._replace(p=p._replace(alive="runs"))
        else:
            yield "start as a standby", world._replace(p=p._replace(alive="runs", leads=False))
    if p.alive == "runs" and p.leads and world.leader == P and world.stopped == Stopped(str(world.term), "a"):
        yield "begin a term", _write_lock(world, term=world.term + 1)


def _agent(world: World, name: str, rules: Rules) -> Iterator[tuple[str, World]]:
    x = _standby(world, name)
    lock = _lock(world)
    match x.busy:
        case ("cleared",):
            if world.leader is None:
                yield f"{name} finds the lock free", _with(world, name, busy=())
            else:
                yield f"{name} reads the lock", _with(world, name, busy=("read", lock))
        case ("read", Lock()) if _reach(x, rules) is None:
            yield f"{name} does not know its log", _with(world, name, busy=())
        case ("read", Lock() as read):
            after = _publish(world, name, _fence(x, read.term, read.leader or "", rules))
            chosen = heir(_sync(after), read, name)
            yield f"{name} publishes", _with(after, name, busy=("enough", read.version, chosen) if chosen else ())
        case ("enough", version, chosen):
            if version == lock.version or rules.skip == "lock version":
                given = _write_lock(world, leader=chosen, term=world.term + 1, given=True)
                yield f"{name} hands the lock to {chosen}", _with(given, name, busy=())
            else:
                yield f"{name} is too late", _with(world, name, busy=())
        case ("turned", _) if _reach(x, rules) is None:
            yield f"{name} does not know its log", _with(world, name, busy=())
        case ("turned", term):
            yield f"{name} tells that it turned away", _with(_publish(world, name, _fence(x, term, P, rules)), name, busy=())
        case ("unpublished",):
            yield f"{name} notes the lock", _with(world, name, busy=(), withdrawn=lock.version)
        case _:
            yield from _next_step(world, name, x, lock, rules)


def _seems(x: Standby) -> int:
    """How far it seems to have the log."""
    return x.lsn if x.read else 0


def _reach(x: Standby, rules: Rules) -> Reach | None:
    if not x.read and rules.skip != "read":
        return None
    return Reach(_TIMELINE if rules.skip == "timeline" else x.timeline, _seems(x) + _ORIGIN)


def _fence(x: Standby, term: str, against: str, rules: Rules) -> Fence:
    reach = _reach(x, rules)
    assert reach, "it is not published before it is known"
    return Fence(term, reach.timeline, reach.position, against)


def _publish(world: World, name: str, fence: Fence) -> World:
    return _write_sync(world, fences=frozenset({each for each in world.fences if each[0] != name} | {(name, fence)}))


def _next_step(world: World, name: str, x: Standby, lock: Lock, rules: Rules) -> Iterator[tuple[str, World]]:
    sync = _sync(world)
    follows = world.promoted == name if world.leader == name else x.points == world.leader or rules.skip == "follows"
    here = Here(
        name=name, connected=x.key, silence=9 if x.suspects else 0, answers=not x.suspects, withdrawn=x.withdrawn, follows=follows
    )  # fmt: skip
    match decide(here, lock, sync, detection_seconds=3):
        case Step.CUT:
            yield f"{name} takes its key away", _with(world, name, key=False)
        case Step.RELEASE:
            # Published and complete already, or not: each try writes the fence anew. One that is known to be of no use is not made.
            if has_fenced(sync, lock, name) and heir(sync, lock, name) is None:
                return
            streams = x.streams if rules.skip == "receiver" else False
            yield f"{name} sees its receiver gone", _with(world, name, streams=streams, busy=("cleared",))
        case Step.TURN if lock.leader == name and _reach(x, rules) is None:
            return
        case Step.TURN if lock.leader == name:
            yield f"{name} calls", _publish(world, name, _fence(x, lock.term, P, rules))
        case Step.TURN:
            yield f"{name} turns away", _with(world, name, streams=False, busy=("turned", lock.term))
        case Step.WITHDRAW:
            after = _write_sync(world, fences=frozenset(each for each in world.fences if each[0] != name))
            if rules.skip == "wait for the lock":
                yield f"{name} withdraws and connects", _with(after, name, key=True)
            else:
                yield f"{name} withdraws", _with(after, name, busy=("unpublished",))
        case Step.CONNECT:
            yield f"{name} puts its key back", _with(world, name, key=True)
        case _:
            return


def _race(world: World, name: str, rules: Rules) -> Iterator[tuple[str, World]]:
    x = _standby(world, name)
    if world.promoted:
        return
    if world.leader == name:
        if x.may == world.term or rules.skip == "turn":
            yield f"{name} promotes", _with(world._replace(promoted=name), name, streams=False, race=None)
        elif not hindrance(_sync(world), _lock(world), name, _reach(x, rules)):
            yield f"{name} may be promoted", _with(world, name, may=world.term)
        elif after := _spend(world, "give back"):
            yield f"{name} gives the lock back", _write_lock(after, leader=None)
        return
    if x.race is None:
        if world.leader is None and x.timeline == _TIMELINE:  # Patroni knows the newest timeline from its history
            yield f"{name} races", _with(world, name, race=(world.lock_version, world.voters, world.quorum, _seems(x), frozenset()))
        return
    version, voters, quorum, position, asked = x.race
    other = next((each for each in world.standbys if each != name and each in voters - asked), None)
    if other:
        y = _standby(world, other)
        ahead = _seems(y) > position
        yield (f"{name} defers", _with(world, name, race=None)) if ahead else (
            f"{name} has the vote", _with(world, name, race=(version, voters, quorum, position, asked | {other})))  # fmt: skip
        yield f"{name} hears nothing", _with(world, name, race=None)
        return
    votes = (0 if name in voters else -1) + len(asked)
    if votes >= quorum and version == world.lock_version and world.leader is None:
        yield f"{name} takes the lock", _write_lock(world, leader=name, term=world.term + 1, given=False)
    else:
        yield f"{name} loses the race", _with(world, name, race=None)


def stroll(world: World, rules: Rules, random: Random) -> World:
    """One way through, chosen step by step, until nothing more can happen.

    Raises:
        LostError: with the steps that led there.
    """
    way: list[str] = []
    while choices := list(steps(world, rules)):
        name, world = random.choice(choices)
        way.append(name)
        try:
            check(world)
        except LostError as lost:
            raise LostError(f"{lost}: {' → '.join(way)}") from None
        if len(way) > _LONGEST:
            break
    return world


def explore(world: World, rules: Rules) -> int:
    """Every way through, breadth first; how many different worlds there are. The budget has to be small.

    Raises:
        LostError: with the fewest steps that lead there.
    """
    came: dict[World, tuple[World, str] | None] = {world: None}
    ahead = deque([world])
    while ahead:
        here = ahead.popleft()
        for name, after in steps(here, rules):
            if after in came:
                continue
            came[after] = (here, name)
            try:
                check(after)
            except LostError as lost:
                raise LostError(f"{lost}: {' → '.join(_way(came, after))}") from None
            ahead.append(after)
    return len(came)


def _way(came: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    names: list[str] = []
    while step := came[world]:
        world, name = step
        names.append(name)
    return names[::-1]
