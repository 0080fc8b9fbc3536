"""Volumes that a queue of the same name left behind: whether servers may take them up.

A server that was alone has no metadata that others could share. As one of several it takes its own streams for orphans, and deletes them
half a minute later (docs/decisions/queue-membership.md). And one of several, alone, has a copy of some streams, which may lack what the
others acknowledged.
"""

from __future__ import annotations

from baas_operator.api.kinds import VOLUME_CLAIM
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View
from baas_operator.policy.plan import Finding


def not_taken_up(spec: EventQueueSpec, view: View, workload: Manifest | None) -> Finding | None:
    """Why servers are not made on what is there; None where they are, or there is nothing. Afterwards the API server keeps `replicas` from
    going from one to several."""
    left = sorted(str(each["metadata"]["name"]) for each in view.all(VOLUME_CLAIM))
    if workload is not None or not left or (spec.replicas > 1) == (len(left) > 1):
        return None
    what = f"{counted(len(left), 'volume claim')} {are(len(left))} left of a queue of this name: {', '.join(left)}."
    give_up = "Or delete what is left, with its messages, and they are made anew."
    if spec.replicas > 1:
        return Finding(
            "VolumesOfAnother",
            f"{what} A server that was alone deletes its streams when it becomes one of several. Set spec.replicas to 1, and copy the "
            f"streams to a queue of another name with sources. {give_up}",
        )
    return Finding(
        "VolumesOfAnother",
        f"{what} One of several servers may lack what the others have. Set spec.replicas to the number that there was. {give_up}",
    )
