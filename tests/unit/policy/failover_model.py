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

from patroni.quorum import QuorumStateResolver  # type: ignore[import-untyped]

from baas_operator.policy.failover import Fence, Here, Lock, Reach, Step, Stopped, decide, has_fenced, heir, hindrance
from tests.unit.policy.failover_world import (
    ORIGIN,
    TIMELINE,
    P,
    Standby,
    World,
    having,
    lock_of,
    spend,
    standby,
    sync_of,
    write_lock,
    write_sync,
)

_LONGEST = 400
"""Steps after which a walk ends: some things, such as a race that nobody wins, may go on for ever."""


@dataclass(frozen=True)
class Rules:
    """What is walked. `skip` names a rule of the protocol that is left out, to see that the walk would notice."""

    strict: bool = True
    skip: str = ""


class LostError(AssertionError):
    """An acknowledged commit is not on the new primary."""


def check(world: World) -> None:
    """Nothing acknowledged is missing on the new primary. Raises LostError."""
    if not world.promoted:
        return
    x = standby(world, world.promoted)
    if world.acked > (x.lsn if x.timeline == TIMELINE else 0):
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
    if writes and (after := spend(world, "write")):
        yield "write", after._replace(p=p._replace(lsn=p.lsn + 1))
    for name in world.standbys:
        x = standby(world, name)
        if p.alive == "runs" and x.streams and x.linked[0] and x.lsn < p.lsn and world.promoted != name:
            yield f"ship {name}", having(world, name, lsn=p.lsn, timeline=TIMELINE)
        if p.alive == "runs" and x.streams and x.seen and x.linked[1] and x.known < x.lsn and world.promoted != name:
            yield f"reply {name}", having(world, name, known=x.lsn)
        if p.alive == "runs" and x.seen and not (x.streams and all(x.linked)):
            yield f"gone {name}", having(world, name, seen=False)
        # PostgreSQL connects again by itself as soon as it can, to whom Patroni names, which learns of a new leader in its own time.
        diverged = x.timeline != TIMELINE and x.lsn > 0
        if diverged and p.alive == "runs" and p.leads and x.points == P and all(x.linked) and world.promoted != name:
            yield f"{name} is rewound", having(world, name, lsn=0)
        if not x.read:
            yield f"{name} reads its log", having(world, name, read=True)
        able = x.key and x.read and not x.streams and not diverged
        if p.alive == "runs" and x.points == P and able and all(x.linked) and world.promoted != name:
            yield f"connect {name}", having(world, name, streams=True, seen=True)
        if world.leader not in (None, name, x.points):
            yield f"{name} turns to {world.leader}", having(world, name, points=world.leader, streams=False)
    if writes:
        heard = sorted((standby(world, n).known for n in world.standbys if not p.sync or n in p.sync), reverse=True)
        most = p.lsn if p.number == 0 else (heard[p.number - 1] if len(heard) >= p.number else 0)
        if most > world.acked:
            yield "ack", world._replace(acked=most)


def _patroni_of_primary(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    p = world.p
    if p.alive != "runs" or not p.leads or not p.api:
        return
    if p.cycle is None:
        if after := spend(world, "cycle"):
            looked = ("looked", world.lock_version, p.lsn, world.sync_version, world.voters, world.quorum)
            yield "look", after._replace(p=p._replace(cycle=looked))
        return
    stage, lock_version, position, sync_version, voters, quorum = p.cycle
    if stage == "looked":
        if world.leader == P:  # on a conflict Patroni reads the lock and tries once more: it fails only when the lock is not its own
            renewed = write_lock(world, lock_position=position)
            yield "renew", renewed._replace(p=p._replace(cycle=("renewed", sync_version, 0, sync_version, voters, quorum)))
        elif world.leader is None and world.lock_version == lock_version:
            taken = write_lock(world, leader=P, term=world.term + 1, given=False)
            yield "take back", taken._replace(p=p._replace(cycle=None))
        elif world.leader is None:
            yield "look again", world._replace(p=p._replace(cycle=None))
        else:
            yield "demote", world._replace(p=p._replace(leads=False, cycle=None))
        return
    active = {name for name in world.standbys if standby(world, name).seen}
    confirmed = len(active & p.sync)
    wanted = QuorumStateResolver(P, quorum, voters, p.number if p.sync else 0, p.sync, confirmed, active, 1, P)
    for kind, _, number, names in wanted:
        chosen = frozenset(names)
        if kind == "quorum":
            if sync_version != world.sync_version and rules.skip != "precondition":
                yield "synchronous state changed by someone else", world._replace(p=p._replace(cycle=None))
                return
            earlier = () if rules.skip == "earlier voters" else sync_of(world).electorates
            written = write_sync(world, voters=chosen, quorum=number, sync_changed=world.version + 1, earlier=earlier)
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
    if p.alive == "runs" and (after := spend(world, "freeze")):
        yield "freeze", after._replace(p=p._replace(alive="frozen"))
    if p.alive == "runs" and p.api and (after := spend(world, "cut api")):
        yield "cut api", after._replace(p=p._replace(api=False))
    if not p.api:
        yield "heal api", world._replace(p=p._replace(api=True))
    what = "P hangs" if world.leader == P else "heir dies"
    if world.leader and not world.promoted and (after := spend(world, what)):
        yield "the lock runs out", write_lock(after, leader=None)
    yield from _planned_stop(world)
    for name in world.standbys:
        x = standby(world, name)
        for what, linked in (("cut", (False, False)), ("cut from", (False, True)), ("cut to", (True, False))):
            if all(x.linked) and (after := spend(world, what)):
                yield f"{what} {name}", having(after, name, linked=linked)
        if not all(x.linked):
            yield f"heal {name}", having(world, name, linked=(True, True))
        if after := spend(world, f"suspicion {name}"):
            yield f"{name} changes its mind", having(after, name, suspects=not x.suspects)
        if world.promoted != name and (after := spend(world, f"restart {name}")):
            yield f"{name} restarts", having(after, name, read=False, streams=False, seen=False, race=None)
        if after := spend(world, "restart agent"):
            yield f"agent {name} restarts", having(after, name, busy=(), withdrawn=world.lock_version)


def _planned_stop(world: World) -> Iterator[tuple[str, World]]:
    """The agent beside the primary shuts PostgreSQL down, tells so, and Patroni starts it again if nobody has taken over."""
    p = world.p
    if p.alive == "runs" and p.leads and world.leader == P and (after := spend(world, "stop")):
        after = after._replace(p=p._replace(alive="stopped", cycle=None, tells=str(world.term)))
        for name in world.standbys:
            after = having(after, name, streams=False, seen=False)
        yield "stop", after
    if p.tells:
        yield "tell", write_sync(world, stopped=Stopped(p.tells, "a"), p=p._replace(tells=""))
    if p.alive == "stopped":
        if world.leader == P and (after := spend(world, "cycle")):
            yield "renew while stopped", write_lock(after, lock_position=p.lsn)
        if world.leader == P:
            yield "start again", world._replace(p=p._replace(alive="runs"))
        else:
            yield "start as a standby", world._replace(p=p._replace(alive="runs", leads=False))
    if p.alive == "runs" and p.leads and world.leader == P and world.stopped == Stopped(str(world.term), "a"):
        yield "begin a term", write_lock(world, term=world.term + 1)


def _agent(world: World, name: str, rules: Rules) -> Iterator[tuple[str, World]]:
    x = standby(world, name)
    lock = lock_of(world)
    match x.busy:
        case ("cleared",):
            if world.leader is None:
                yield f"{name} finds the lock free", having(world, name, busy=())
            else:
                yield f"{name} reads the lock", having(world, name, busy=("read", lock))
        case ("read", Lock()) if _reach(x, rules) is None:
            yield f"{name} does not know its log", having(world, name, busy=())
        case ("read", Lock() as read):
            after = _publish(world, name, _fence(x, read.term, read.leader or "", rules))
            chosen = heir(sync_of(after), read, name)
            yield f"{name} publishes", having(after, name, busy=("enough", read.version, chosen) if chosen else ())
        case ("enough", version, chosen):
            if version == lock.version or rules.skip == "lock version":
                given = write_lock(world, leader=chosen, term=world.term + 1, given=True)
                yield f"{name} hands the lock to {chosen}", having(given, name, busy=())
            else:
                yield f"{name} is too late", having(world, name, busy=())
        case ("turned", _) if _reach(x, rules) is None:
            yield f"{name} does not know its log", having(world, name, busy=())
        case ("turned", term):
            yield f"{name} tells that it turned away", having(_publish(world, name, _fence(x, term, P, rules)), name, busy=())
        case ("unpublished",):
            yield f"{name} notes the lock", having(world, name, busy=(), withdrawn=lock.version)
        case _:
            yield from _next_step(world, name, x, lock, rules)


def _seems(x: Standby) -> int:
    """How far it seems to have the log."""
    return x.lsn if x.read else 0


def _reach(x: Standby, rules: Rules) -> Reach | None:
    if not x.read and rules.skip != "read":
        return None
    return Reach(TIMELINE if rules.skip == "timeline" else x.timeline, _seems(x) + ORIGIN)


def _fence(x: Standby, term: str, against: str, rules: Rules) -> Fence:
    reach = _reach(x, rules)
    assert reach, "it is not published before it is known"
    return Fence(term, reach.timeline, reach.position, against)


def _publish(world: World, name: str, fence: Fence) -> World:
    return write_sync(world, fences=frozenset({each for each in world.fences if each[0] != name} | {(name, fence)}))


def _next_step(world: World, name: str, x: Standby, lock: Lock, rules: Rules) -> Iterator[tuple[str, World]]:
    sync = sync_of(world)
    follows = world.promoted == name if world.leader == name else x.points == world.leader or rules.skip == "follows"
    here = Here(
        name=name, connected=x.key, silence=9 if x.suspects else 0, answers=not x.suspects, withdrawn=x.withdrawn, follows=follows
    )  # fmt: skip
    match decide(here, lock, sync, detection_seconds=3):
        case Step.CUT:
            yield f"{name} takes its key away", having(world, name, key=False)
        case Step.RELEASE:
            # Published and complete already, or not: each try writes the fence anew. One that is known to be of no use is not made.
            if has_fenced(sync, lock, name) and heir(sync, lock, name) is None:
                return
            streams = x.streams if rules.skip == "receiver" else False
            yield f"{name} sees its receiver gone", having(world, name, streams=streams, busy=("cleared",))
        case Step.TURN if lock.leader == name and _reach(x, rules) is None:
            return
        case Step.TURN if lock.leader == name:
            yield f"{name} calls", _publish(world, name, _fence(x, lock.term, P, rules))
        case Step.TURN:
            yield f"{name} turns away", having(world, name, streams=False, busy=("turned", lock.term))
        case Step.WITHDRAW:
            after = write_sync(world, fences=frozenset(each for each in world.fences if each[0] != name))
            if rules.skip == "wait for the lock":
                yield f"{name} withdraws and connects", having(after, name, key=True)
            else:
                yield f"{name} withdraws", having(after, name, busy=("unpublished",))
        case Step.CONNECT:
            yield f"{name} puts its key back", having(world, name, key=True)
        case _:
            return


def _race(world: World, name: str, rules: Rules) -> Iterator[tuple[str, World]]:
    x = standby(world, name)
    if world.promoted:
        return
    if world.leader == name:
        if x.may == world.term or rules.skip == "turn":
            yield f"{name} promotes", having(world._replace(promoted=name), name, streams=False, race=None)
        elif not hindrance(sync_of(world), lock_of(world), name, _reach(x, rules)):
            yield f"{name} may be promoted", having(world, name, may=world.term)
        elif after := spend(world, "give back"):
            yield f"{name} gives the lock back", write_lock(after, leader=None)
        return
    if x.race is None:
        if world.leader is None and x.timeline == TIMELINE:  # Patroni knows the newest timeline from its history
            yield f"{name} races", having(world, name, race=(world.lock_version, world.voters, world.quorum, _seems(x), frozenset()))
        return
    version, voters, quorum, position, asked = x.race
    other = next((each for each in world.standbys if each != name and each in voters - asked), None)
    if other:
        y = standby(world, other)
        ahead = _seems(y) > position
        yield (f"{name} defers", having(world, name, race=None)) if ahead else (
            f"{name} has the vote", having(world, name, race=(version, voters, quorum, position, asked | {other})))  # fmt: skip
        yield f"{name} hears nothing", having(world, name, race=None)
        return
    votes = (0 if name in voters else -1) + len(asked)
    if votes >= quorum and version == world.lock_version and world.leader is None:
        yield f"{name} takes the lock", write_lock(world, leader=name, term=world.term + 1, given=False)
    else:
        yield f"{name} loses the race", having(world, name, race=None)


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
