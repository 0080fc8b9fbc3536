"""What stays of a workload as it was made: how hard its pods are spread, and its volumes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import JOB, STATEFUL_SET, VOLUME_CLAIM
from baas_operator.api.placement import ANYWHERE, NodePlacement
from baas_operator.desired.meta import ZONE_LABEL, Manifest
from baas_operator.desired.pods import placed
from baas_operator.desired.quantity import parse_bytes
from baas_operator.observe.conditions import is_true
from baas_operator.observe.view import View
from baas_operator.policy.plan import GrowVolume


def hard_spread(view: View, workload: Manifest | None, replicas: int, placement: NodePlacement = ANYWHERE) -> bool:
    """True where there are zones enough when the workload is made; afterwards it stays as it was made.

    A zone that goes away for an hour must not roll every pod in order to say that spreading is now only a wish.
    """
    if workload is not None:
        constraints = workload["spec"]["template"]["spec"].get("topologySpreadConstraints") or []
        return any(each["topologyKey"] == ZONE_LABEL and each["whenUnsatisfiable"] == "DoNotSchedule" for each in constraints)
    return len(view.zones(placement)) >= min(replicas, 3) > 1


def where_database_runs(view: View, database: Manifest | None) -> dict[str, Any]:
    """Which nodes a Job may run on that works in a database, and what its image is pulled with: what its members have, who are of the same
    image. Of a DatabaseReplica that is away for a moment, or says what can not be read, it is what the last such Job had."""
    if database is not None:
        try:
            spec = DatabaseReplicaSpec.stored(database.get("spec"))
            return placed(spec.placement, spec.image_pull_secrets)
        except ValidationError:  # it is told where that object is seen to
            pass
    pods = [job["spec"]["template"]["spec"] for job in view.all(JOB, "bootstrap")]
    return {key: pods[0][key] for key in ("nodeSelector", "tolerations", "imagePullSecrets") if pods and pods[0].get(key)}


def as_made(view: View, manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """The manifests, with what can not be changed left as it was made: the volumes of a StatefulSet, the image of a Job.

    A Job that has given up is left out: it is pruned, and the next round makes it anew.
    """
    return tuple(kept for each in manifests if (kept := _as_made(each, view)) is not None)


def _as_made(manifest: Manifest, view: View) -> Manifest | None:
    live = view.children.get((manifest["kind"], manifest["metadata"]["name"]))
    if live is None:
        return manifest
    if manifest["kind"] == STATEFUL_SET.name:
        manifest["spec"]["volumeClaimTemplates"] = [
            {key: value for key, value in each.items() if key != "status"}
            | {"metadata": {k: v for k, v in each["metadata"].items() if k in ("name", "labels")}}
            for each in live["spec"]["volumeClaimTemplates"]
        ]
    if manifest["kind"] == JOB.name:
        if is_true(live, "Failed"):
            return None
        made = live["spec"]["template"]["spec"]["containers"]
        for container, before in zip(manifest["spec"]["template"]["spec"]["containers"], made, strict=False):
            container["image"] = before["image"]
    return manifest


def is_bound(claim: Manifest) -> bool:
    """Whether a claim has its volume. Before that it can not be made larger (Kubernetes API, PersistentVolumeClaimSpec)."""
    return bool((claim.get("status") or {}).get("phase", "Bound") == "Bound")


def growth(view: View, size: str) -> list[GrowVolume]:
    """The volumes that are smaller than asked for; the template for new ones stays as it was, and they grow after they were made."""
    return [
        GrowVolume(claim["metadata"]["name"], size)
        for claim in view.all(VOLUME_CLAIM)
        if is_bound(claim) and parse_bytes(claim["spec"]["resources"]["requests"]["storage"]) < parse_bytes(size)
    ]
