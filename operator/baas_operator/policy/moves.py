"""Switchovers that the operator begins by itself: away from a node that is about to go, from a member that a scale-in removes, and back
to the zone that is preferred.

Each is an Operation like anybody's: it waits for its turn, refuses what is unfit, survives a crash, and stays to be read. Its name
follows from what it is for, so that whoever looks twice makes it once.

Nothing goes to and fro: no move ends where another begins. A node that goes and a member that goes are no targets of any; a move back to
the preferred zone comes once in a window, or once an hour, and not after somebody's own switchover in that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from baas_operator.api.database import DatabaseReplicaSpec, Member
from baas_operator.api.kinds import CONFIG_MAP, OPERATION, POD
from baas_operator.api.operation import Action, OperationPhase, OperationSpec, Parameters, Target
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest, checksum
from baas_operator.observe.conditions import READY, find
from baas_operator.observe.database import DatabaseObservation, annotations_of
from baas_operator.observe.nodes import members_leaving
from baas_operator.observe.view import View
from baas_operator.policy.operations.common import WHY_LABEL, Why, begun_for, operations, over
from baas_operator.policy.operations.switchover import unfit
from baas_operator.policy.plan import StartOperation
from baas_operator.policy.windows import Windows

SETTLED = timedelta(seconds=60)
"""So long the primary has led and its successor has been ready before the primary moves back: a zone that comes and goes is no place."""
APART = timedelta(hours=1)
"""Between two moves to the preferred zone, where no windows say when: each is a stall of about a second."""
AGAIN = timedelta(minutes=5)
"""After a move that did not come about: whoever looks at the Operations should find others among them, too."""


@dataclass(frozen=True)
class Move:
    """The Operation to begin, if any; `note`: what to tell of one that is wanted and does not begin, as a sentence."""

    effects: tuple[StartOperation, ...] = ()
    note: str = ""


def under_way(view: View) -> bool:
    """Whether an Operation on the database is not over. What takes members away waits for it."""
    return any(not over(each) and not each["metadata"].get("deletionTimestamp") for each in operations(view))


def plan_move(spec: DatabaseReplicaSpec, view: View, seen: DatabaseObservation, windows: Windows, *, whole: bool) -> Move:
    """The move that is due now. `spec`: as it was asked for; `whole`: nothing of the database is on its way."""
    primary = seen.primary
    if primary is None or not primary.ready or not seen.routed_to_leader or under_way(view):
        return Move()
    if _goes(view, primary):
        return Move()  # it hands over by itself (agent/retire.py)
    if why := members_leaving(view).get(primary.name):
        return _move(Why.NODE_LEAVING, f"{primary.name} leads and {why}.", _fit(view, seen), spec, view, seen)
    if names.ordinal(primary.name) >= spec.replicas:
        sentence = f"{primary.name} leads and is one too many for spec.replicas {spec.replicas}."
        return _move(Why.SCALE_IN, sentence, _fit(view, seen), spec, view, seen)
    return _fail_back(spec, view, seen, windows, whole=whole)


def _fit(view: View, seen: DatabaseObservation) -> list[Member]:
    leaving = members_leaving(view)
    return [each for each in seen.members if each.name not in leaving and isinstance(unfit(each.name, view, seen), Member)]


def _goes(view: View, member: Member) -> bool:
    pod = view.child(POD, member.name)
    return pod is None or bool(pod["metadata"].get("deletionTimestamp"))


def _move(why: Why, sentence: str, fit: Sequence[Member], spec: DatabaseReplicaSpec, view: View, seen: DatabaseObservation) -> Move:
    assert seen.primary is not None
    if not fit:
        return Move(note=f"{sentence} No standby is fit to take over from {seen.primary.name} now.")
    last = max((each for each in operations(view) if over(each) and begun_for(each)), key=_created, default=None)
    if last is not None and not _succeeded(last) and view.now < _created(last) + AGAIN:
        return Move(note=f"{sentence} Operation {last['metadata']['name']} did not come to that; the next is begun 5 minutes after it.")
    # Of equals the youngest, as the primary's own agent has it when its pod is evicted meanwhile (agent/move.py): they agree.
    best = min(_rank(spec, each) for each in fit)
    to = max((each for each in fit if _rank(spec, each) == best), key=lambda each: (_made(view, each), each.name))
    uid = last["metadata"]["uid"] if last else None
    name = f"{view.owner.name}-{why}-{checksum(why, seen.primary.name, seen.transitions, uid)[:8]}"
    made = OperationSpec(
        target=Target(name=view.owner.name), action=Action.SWITCHOVER, parameters=Parameters(to=to.name), reason=sentence,
    )  # fmt: skip
    return Move((StartOperation(view.owner.child(
        OPERATION.api_version, OPERATION.name, name, names.COMPONENT, labels={WHY_LABEL: why.value},
        spec=made.model_dump(by_alias=True, exclude_none=True, mode="json"),
    )),))  # fmt: skip


def _fail_back(spec: DatabaseReplicaSpec, view: View, seen: DatabaseObservation, windows: Windows, *, whole: bool) -> Move:
    primary = seen.primary
    assert primary is not None
    zones = spec.placement.preferred_zones
    better = zones[: _rank(spec, primary)]
    if not better:
        return Move()
    sentence = f"{primary.name} is not in {better[0]}, where the primary is preferred to be."
    there = [each for each in seen.members if each.zone in better]
    if not there:
        return Move(note=f"{sentence} No standby is {'there' if len(better) == 1 else 'in any zone that is preferred more'}.")
    since = windows.since if spec.maintenance_windows else view.now - APART
    if since is None:
        when = f", which opens at {windows.following:%Y-%m-%dT%H:%MZ}" if windows.following else ""
        return Move(note=f"{sentence} It moves there in the next maintenance window{when}.")
    if any(_succeeded(each) and begun_for(each) in (None, Why.FAILBACK) and _created(each) >= since for each in operations(view)):
        return Move(note=f"{sentence} It was moved before: it moves there {'in the next window' if windows.since else 'within an hour'}.")
    settled = [each for each in _fit(view, seen) if each in there and _settled(view, each)]
    if not whole or not settled:
        return Move(note=f"{sentence} It moves there once all members have been well for {SETTLED.seconds} s.")
    return _move(Why.FAILBACK, sentence, settled, spec, view, seen)


def _rank(spec: DatabaseReplicaSpec, member: Member) -> int:
    zones: list[str | None] = [*spec.placement.preferred_zones]
    return zones.index(member.zone) if member.zone in zones else len(zones)


def _settled(view: View, member: Member) -> bool:
    pod = view.child(POD, member.name) or {}
    ready = (find(pod, READY) or {}).get("lastTransitionTime")
    led = annotations_of(view.child(CONFIG_MAP, names.leader_config_map(view.owner.name))).get("acquireTime")
    return all(moment is not None and view.now >= moment + SETTLED for moment in _times((ready, led)))


def _times(texts: Iterable[str | None]) -> list[datetime | None]:
    """What the API server and Patroni noted; None for what is no time with a zone."""
    made: list[datetime | None] = []
    for text in texts:
        try:
            found = datetime.fromisoformat(text or "")
        except ValueError:
            found = None
        made.append(found if found and found.tzinfo else None)
    return made


def _made(view: View, member: Member) -> str:
    pod = view.child(POD, member.name)
    return str(pod["metadata"].get("creationTimestamp")) if pod else ""


def _created(operation: Manifest) -> datetime:
    return datetime.fromisoformat(operation["metadata"]["creationTimestamp"])


def _succeeded(operation: Manifest) -> bool:
    return (operation.get("status") or {}).get("phase") == OperationPhase.SUCCEEDED.value
