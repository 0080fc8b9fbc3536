"""Pods of a component that are in too few zones, as after one was away: moved back, one at a time.

Kubernetes spreads pods when they are made, and leaves them where they are when a zone comes back: the next loss of a zone would then take
more of them than it needs to. So there is one pod more for a while, which the scheduler puts where there are fewest, and where that has
come up one goes that is among too many. A zone that is back may have no room: then the one more goes again, nothing was taken from what
serves, and it is tried again after an hour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from baas_operator.api.kinds import AUTOSCALER, DEPLOYMENT, POD
from baas_operator.desired.instance.component import Component
from baas_operator.desired.meta import Manifest
from baas_operator.observe.instance import is_over, rolled_out
from baas_operator.observe.moments import read_time, to_text
from baas_operator.observe.view import View, is_ready
from baas_operator.policy.plan import TellPod

MOVE_ANNOTATION = "baas-operator.io/moves-pod"
"""On a Deployment: the last move of a pod to another zone (`_Move`), until it was of use."""
COST_ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
"""On a pod: of those that are ready the one with the lowest goes first (Kubernetes documentation, "ReplicaSet")."""
SETTLED = timedelta(minutes=5)
"""A pod that is younger stays: it had to go where it is a moment ago."""
TRY = timedelta(minutes=3)
"""A pod that has not come up by then has no room, or another trouble."""
AGAIN = timedelta(hours=1)
_NUMBER = re.compile(r"[0-9]{1,6}\Z")


@dataclass(frozen=True)
class _Move:
    """`at`: when it began; `crowding`: how crowded the pods were; `replicas`: how many there were; `over`: nothing is done any more."""

    at: datetime
    crowding: int
    replicas: int
    over: bool = False

    @classmethod
    def read(cls, deployment: Manifest, now: datetime) -> _Move | None:
        """What was noted; None where that is nothing of ours. A time ahead of `now`, but for clocks of two leaders, is a hand's."""
        text = (deployment["metadata"].get("annotations") or {}).get(MOVE_ANNOTATION) or ""
        at, crowding, replicas, over = [*text.split(), "", "", "", ""][:4]
        moment = read_time(at)
        if moment is None or moment - now > TRY or not _NUMBER.match(crowding) or not _NUMBER.match(replicas):
            return None
        return cls(moment, int(crowding), int(replicas), over == "over")

    def __str__(self) -> str:
        return f"{to_text(self.at)} {self.crowding} {self.replicas}{' over' if self.over else ''}"


@dataclass(frozen=True)
class Rebalanced:
    """`effects`: which pods go first. `told`: a sentence where pods stay crowded, for want of room. `again_seconds`: when to look
    again, where no event would tell."""

    effects: tuple[TellPod, ...] = ()
    told: str = ""
    again_seconds: float | None = None


class _Part:
    """A component: its Deployment as it is and as it will be, its autoscaler as that will be, and its pods that stay. What is left of
    those that a lost node or an eviction took is nobody's."""

    def __init__(self, view: View, component: Component, manifest: Manifest, live: Manifest, autoscaler: Manifest | None) -> None:
        self.view, self.name, self.manifest, self.live, self.autoscaler = view, component.name, manifest, live, autoscaler
        self.pods = [pod for pod in view.all(POD, component.name) if not pod["metadata"].get("deletionTimestamp") and not is_over(pod)]
        zones = view.open_zones(component.options.placement)
        self.by_zone = {zone: [pod for pod in self.pods if view.zone_of(pod) == zone] for zone in sorted(zones)}
        self.move = _Move.read(live, view.now)

    @property
    def rests(self) -> bool:
        """Whether all is as it should be."""
        return rolled_out(self.live) and all(map(is_ready, self.pods))

    @property
    def crowding(self) -> int:
        """Less by any move that is of use."""
        return sum(len(each) ** 2 for each in self.by_zone.values())

    @property
    def surplus(self) -> Manifest | None:
        """The youngest pod of the fullest zone, where another zone has two less."""
        return _surplus(self.by_zone)

    @property
    def _first_to_go(self) -> Manifest | None:
        """The surplus pod of before the one more came, which is ready only when all is over: that alone may make the zones even."""
        most = max(map(len, self.by_zone.values()), default=0)
        fullest = [pod for each in self.by_zone.values() if len(each) == most for pod in each]
        chosen = next((pod for pod in fullest if _cost(pod) == "-1"), None)
        return chosen or _surplus({zone: [pod for pod in pods if is_ready(pod)] for zone, pods in self.by_zone.items()})

    def note(self, move: _Move) -> None:
        """Have the Deployment as this move has it, and its autoscaler leave it so: that would take the one more away at once where it
        sees no load for it, or has its most."""
        self.manifest["metadata"].setdefault("annotations", {})[MOVE_ANNOTATION] = str(move)
        replicas = move.replicas + (0 if move.over else 1)
        self.manifest["spec"]["replicas"] = replicas
        if self.autoscaler and not move.over:
            bounds = self.autoscaler["spec"]
            bounds |= {each: max(bounds[each], replicas) for each in ("minReplicas", "maxReplicas")}

    def costs(self) -> tuple[TellPod, ...]:
        """Which of its pods is to go first."""
        chosen = self._first_to_go
        told = []
        for pod in self.pods:
            had = _cost(pod)
            cost = "-1" if pod is chosen else "0"
            if had != cost and (had is not None or pod is chosen):
                told.append(TellPod(pod["metadata"]["name"], pod["metadata"]["uid"], COST_ANNOTATION, cost))
        return tuple(told)

    def crowded(self, again: datetime) -> str:
        """What is told of pods that stay where they are."""
        zone, pods = max(self.by_zone.items(), key=lambda pair: len(pair[1]))
        fewest = min(map(len, self.by_zone.values()))
        free = " and ".join(each for each, there in self.by_zone.items() if len(there) == fewest)
        return (
            f"{len(pods)} of {len(self.pods)} pods of {self.name} are in {zone}, as no pod came up in {free} when it was last tried: see "
            f"whether there is room. It is tried again at {to_text(again)}."
        )


def _surplus(by_zone: dict[str, list[Manifest]]) -> Manifest | None:
    fullest = max(by_zone.values(), key=len, default=[])
    if len(fullest) - min(map(len, by_zone.values()), default=0) < 2:
        return None
    return max(fullest, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


def _cost(pod: Manifest) -> str | None:
    found: str | None = (pod["metadata"].get("annotations") or {}).get(COST_ANNOTATION)
    return found


def rebalance(view: View, components: Iterable[Component], manifests: Iterable[Manifest]) -> Rebalanced:
    """Change the Deployments, and their autoscalers, among the manifests so that one more zone has a pod, of one component at a time.
    Nothing begins while any component is not as it should be."""
    made = {(each["kind"], each["metadata"]["name"]): each for each in manifests if each["kind"] in (DEPLOYMENT.name, AUTOSCALER.name)}
    parts = []
    for each in components:
        name = f"{view.owner.name}-{each.name}"
        manifest = made.get((DEPLOYMENT.name, name))
        if manifest is not None and (live := view.child(DEPLOYMENT, name)) is not None:
            parts.append(_Part(view, each, manifest, live, made.get((AUTOSCALER.name, name))))
        else:
            return Rebalanced()
    effects: tuple[TellPod, ...] = ()
    told, ahead = [], []
    for part in parts:
        if (move := part.move) is None:
            continue
        wanted = _base(part, move)
        if not move.over and wanted == move.replicas and view.now < move.at + TRY and sum(map(is_ready, part.pods)) <= move.replicas:
            part.note(move)
            effects += part.costs()
            ahead.append(move.at + TRY)
        elif not move.over:
            part.note(_Move(move.at, move.crowding, wanted, over=True))
        elif part.surplus and part.crowding >= move.crowding and view.now < move.at + AGAIN:
            part.note(_Move(move.at, move.crowding, wanted, over=True))
            told += [part.crowded(move.at + AGAIN)] if part.rests else []
            ahead.append(move.at + AGAIN)
        else:
            part.manifest["spec"]["replicas"] = wanted
    if all(part.rests and (part.move is None or part.move.over) for part in parts):
        for part in parts:
            if MOVE_ANNOTATION in (part.manifest["metadata"].get("annotations") or {}) or (settled := _settled_at(part.surplus)) is None:
                continue
            if view.now < settled:
                ahead.append(settled)
            else:
                part.note(_Move(view.now, part.crowding, part.manifest["spec"]["replicas"]))
                effects += part.costs()
                ahead.append(view.now + TRY)
                break
    return Rebalanced(effects, " ".join(told), min(((each - view.now).total_seconds() for each in ahead), default=None))


def _base(part: _Part, move: _Move) -> int:
    """Pods that there should be without a move. What an autoscaler has, or begins from, is read off the Deployment, with our one more
    in it; what the spec asks for has none."""
    wanted = int(part.manifest["spec"]["replicas"])
    live = int(part.live["spec"].get("replicas", 1))
    ours = part.autoscaler is not None and not move.over and wanted == live == move.replicas + 1
    return move.replicas if ours else wanted


def _settled_at(pod: Manifest | None) -> datetime | None:
    made = read_time(pod["metadata"].get("creationTimestamp")) if pod else None
    return made + SETTLED if made else None
