"""What the cluster's objects say about the PgBouncers of a database."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.kinds import DEPLOYMENT, POD
from baas_operator.desired.database import names
from baas_operator.observe.instance import rolled_out
from baas_operator.observe.view import View, is_ready, trouble


@dataclass(frozen=True)
class PoolerObservation:
    """`addresses` are those of ready pods; `zones` those that they are in; `why` is told of a pod that does not start."""

    addresses: tuple[str, ...]
    zones: frozenset[str]
    rolled_out: bool
    why: str | None

    @property
    def ready(self) -> int:
        """Pods that are ready."""
        return len(self.addresses)


def observe_pooler(view: View) -> PoolerObservation:
    """Read the pooler's pods among a DatabaseReplica's children."""
    pods = list(view.all(POD, names.POOLER))
    ready = [pod for pod in pods if is_ready(pod) and (pod.get("status") or {}).get("podIP")]
    return PoolerObservation(
        addresses=tuple(pod["status"]["podIP"] for pod in ready),
        zones=frozenset(zone for pod in ready if (zone := view.zone_of(pod))),
        rolled_out=rolled_out(view.child(DEPLOYMENT, names.pooler_service(view.owner.name))),
        why=next((text for pod in pods if not is_ready(pod) and (text := trouble(pod))), None),
    )
