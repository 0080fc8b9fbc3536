"""When PostgREST on standbys is started anew, for a schema that it does not know.

PostgREST keeps the schema in memory. On the primary it listens for changes; a standby takes no LISTEN, so there it learns of one when it
starts. Its pods therefore carry the state of the schema that they were started for, and are rolled when standbys have another. (SIGUSR1
would do, but from a process beside each, which takes as much memory as PostgREST itself.)

A pod that starts reads what a standby has just then. So nothing is done before that is sure to be the new schema, and nothing while the
pods are needed, or are not all well. What was decided is kept in the pods' template alone: while nobody says anything, or nothing that
counts, it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from baas_operator.api.kinds import DEPLOYMENT, POD
from baas_operator.desired.instance.probes import EMPTY_SCHEMA, READS, SCHEMA_ANNOTATION
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, is_true
from baas_operator.observe.instance import is_over, rolled_out
from baas_operator.observe.moments import read_time
from baas_operator.observe.probes import Probed, standby_schema
from baas_operator.observe.view import View, is_ready
from baas_operator.policy.plan import Apply

APART = timedelta(seconds=60)
"""What comes between the youngest pod and the next roll-out: a schema that changes all the time costs no more than that."""


def schema_to_load(view: View, database: Manifest | None) -> str | None:
    """The state of the schema that pods of `reads` are to be started for; None for whatever there is. `database`: the DatabaseReplica."""
    live = view.child(DEPLOYMENT, f"{view.owner.name}-{READS}")
    if live is None:  # whoever starts first has the schema of then; it is learnt which that was
        return None
    loaded = _loaded(live)
    found = standby_schema(view.external) if isinstance(view.external, Probed) else None
    # Where there was nothing to know, as in a backend that is new, pods that were started for nothing know it.
    if found is None or found == (loaded or EMPTY_SCHEMA):
        return loaded
    primary = database is not None and is_true(database, READY)
    return found if primary and _at_rest(view, live) else loaded


def load_schema(view: View, manifests: Iterable[Manifest]) -> tuple[Apply, ...]:
    """The roll-out, where the manifests have one: it follows from what probers said, who are asked after manifests were applied. Not
    while the API server does not take that Deployment, or something that its pods need."""
    live = view.child(DEPLOYMENT, f"{view.owner.name}-{READS}")
    key = (DEPLOYMENT.name, f"{view.owner.name}-{READS}")
    if live is None or key in view.untaken:
        return ()
    made = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == key]
    return tuple(Apply(each) for each in made if _loaded(each) not in (None, _loaded(live)))


def _loaded(deployment: Manifest) -> str | None:
    """The state of the schema that its pods are started for."""
    found: str | None = (deployment["spec"]["template"]["metadata"].get("annotations") or {}).get(SCHEMA_ANNOTATION)
    return found


def _at_rest(view: View, live: Manifest) -> bool:
    """Whether all pods are there and ready, and none is young. What a lost node or an eviction has left of a pod is nobody's."""
    pods = [each for each in view.all(POD, READS) if not each["metadata"].get("deletionTimestamp") and not is_over(each)]
    born = [read_time(each["metadata"].get("creationTimestamp")) for each in pods]
    return (
        rolled_out(live)
        and len(pods) == live["spec"].get("replicas", 1) > 0
        and all(is_ready(each) for each in pods)
        and all(each is not None and view.now - each >= APART for each in born)
    )
