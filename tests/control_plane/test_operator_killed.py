"""The operator is killed (-9) in the middle of a first reconcile: the next one finishes it, and nothing is made twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.children import Child, expire_lease, tree, wait_judged, wait_leads, wait_quiet
from .harness.cluster import ControlPlane
from .harness.operator import OperatorProcess

MOMENTS = 12
"""How many first reconciles are interrupted, each after another number of children."""
KILL_WITHIN_SECONDS = 30.0
_WATCH_SECONDS = 0.001
"""The audit log is looked at this often, so that a kill comes within about one write of its moment."""


def test_killed_at_any_moment_the_next_one_finishes(cp: ControlPlane, namespace: str, figure: Callable[[str], None]) -> None:
    whole = uninterrupted(cp, namespace, "whole")
    total = made_so_far(cp, 0, namespace, "whole")
    mark = cp.audit.mark()
    killed_after: dict[str, int] = {}
    seen: dict[str, dict[Child, Object]] = {}

    for number in range(MOMENTS):
        name = f"moment-{number:02}"
        with cp.operator() as operator:
            wait_leads(cp, operator.name)
            killed_after[name] = kill_after(cp, operator, namespace, name, writes=1 + number * (total - 1) // MOMENTS)
        seen[name] = tree(cp, namespace, name)
        expire_lease(cp)

    figure(f"killed after {sorted(killed_after.values())} of {total} creations")
    with cp.operator():
        for name in seen:
            cp.wait(lambda name=name: shape(tree(cp, namespace, name), name) >= shape(whole, "whole"), 60, f"all of {name}")
            wait_judged(cp, namespace, "BaasInstance", name)
        wait_quiet(cp, quiet=4)

    assert len([writes for writes in killed_after.values() if writes < total]) >= MOMENTS - 2, "killed too late to tell"
    for name, before in seen.items():
        after = tree(cp, namespace, name)
        assert shape(after, name) == shape(whole, "whole")
        assert identities(after).items() >= identities(before).items(), f"{name}: something was made anew"
        assert generations(after, name) == generations(whole, "whole"), f"{name}: a workload was changed after it was made"
    twice = [made for made, times in creations(cp, mark, namespace).items() if times > 1]
    assert twice == []


def uninterrupted(cp: ControlPlane, namespace: str, name: str) -> dict[Child, Object]:
    with cp.operator() as operator:
        wait_leads(cp, operator.name)
        cp.must_apply(own("BaasInstance", name, {}), namespace)
        wait_judged(cp, namespace, "BaasInstance", name)
        wait_quiet(cp, quiet=4)
    expire_lease(cp)
    return tree(cp, namespace, name)


def kill_after(cp: ControlPlane, operator: OperatorProcess, namespace: str, name: str, *, writes: int) -> int:
    """Make an instance and kill the operator once it has made that many children of it; returns how many there were then."""
    mark = cp.audit.mark()
    cp.must_apply(own("BaasInstance", name, {}), namespace)
    deadline = time.monotonic() + KILL_WITHIN_SECONDS
    while made_so_far(cp, mark, namespace, name) < writes:
        assert time.monotonic() < deadline, f"no {writes} children of {name}\n{operator.last_words()}"
        time.sleep(_WATCH_SECONDS)
    operator.kill9()
    return made_so_far(cp, mark, namespace, name)


def made_so_far(cp: ControlPlane, mark: int, namespace: str, name: str) -> int:
    """How many children of an instance were created; how often a status is written depends on how busy the machine is."""
    return sum(call.creates and call.resource != "events" for call in cp.writes(mark, namespace=namespace, about=name))


def shape(made: dict[Child, Object], name: str) -> set[Child]:
    """What is there, with the instance's own name taken out and the hashes at the end of names of Jobs."""
    return {(kind, child.replace(name, "NAME") if kind != "Job" else "JOB") for kind, child in made}


def identities(made: dict[Child, Object]) -> dict[Child, object]:
    """What may never change once it is there: uids, and the data of Secrets."""
    return {child: (each["metadata"]["uid"], str(each.get("data")) if child[0] == "Secret" else "") for child, each in made.items()}


def generations(made: dict[Child, Object], name: str) -> dict[Child, int]:
    return {
        (kind, child.replace(name, "NAME")): each["metadata"]["generation"]
        for (kind, child), each in made.items()
        if kind in ("StatefulSet", "Deployment")
    }


def creations(cp: ControlPlane, mark: int, namespace: str) -> Counter[str]:
    calls = cp.writes(mark, namespace=namespace)
    return Counter(f"{call.resource} {call.name}" for call in calls if call.creates and call.resource != "events")
