"""What is as it should be costs nothing: a second reconcile makes no write."""

from __future__ import annotations

from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.children import Child, children, tree, wait_judged, wait_leads, wait_quiet
from .harness.cluster import ControlPlane

QUEUE: Object = {"streams": [{"name": "orders", "subjects": ["orders.>"], "maxSize": "1Gi", "maxAgeHours": 24}]}
DATABASE: Object = {
    "databases": [{"name": "shop"}, {"name": "blog", "owner": "writer"}],
    "parameters": {"max_connections": "200"},
    "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "0.5", "memory": "1024Mi"}},
    "storage": {"size": "1.5Gi"},
}


def versions(made: dict[Child, Object]) -> dict[Child, str]:
    return {child: each["metadata"]["resourceVersion"] for child, each in made.items()}


def everything(cp: ControlPlane, namespace: str) -> dict[Child, Object]:
    return tree(cp, namespace, "shop") | children(cp, namespace, "DatabaseReplica", "db") | children(cp, namespace, "EventQueue", "events")


def test_second_reconcile_writes_nothing(cp: ControlPlane, namespace: str) -> None:
    """A restarted operator reconciles everything again. An object that is made then is done after all that came before it."""
    cp.must_apply(own("BaasInstance", "shop", {}), namespace)
    cp.must_apply(own("DatabaseReplica", "db", DATABASE), namespace)
    cp.must_apply(own("EventQueue", "events", QUEUE), namespace)
    with cp.operator("baas-operator-0"):
        for kind, name in (("BaasInstance", "shop"), ("DatabaseReplica", "db"), ("EventQueue", "events")):
            wait_judged(cp, namespace, kind, name)
        cp.wait(lambda: ("StatefulSet", "shop-events") in everything(cp, namespace), 30, "the instance's queue")
        wait_quiet(cp, quiet=4)
    before = versions(everything(cp, namespace))
    mark = cp.audit.mark()

    with cp.operator("baas-operator-1"):
        wait_leads(cp, "baas-operator-1")
        cp.must_apply(own("EventQueue", "zz-afterwards", {}), namespace)
        wait_judged(cp, namespace, "EventQueue", "zz-afterwards")
        wait_quiet(cp, quiet=4)

    writes = [str(call) for call in cp.writes(mark, "baas-operator-1") if not call.name.startswith("zz-afterwards")]
    assert writes == []
    assert versions(everything(cp, namespace)) == before


def test_fleet_at_rest_is_not_even_read(cp: ControlPlane, namespace: str) -> None:
    """The watches hold all that a reconcile needs: it asks for no object. (The lists of a resync are of all namespaces at once.)"""
    cp.must_apply(own("DatabaseReplica", "db", {}), namespace)
    with cp.operator():
        wait_judged(cp, namespace, "DatabaseReplica", "db")
        wait_quiet(cp, quiet=4)
        mark = cp.audit.mark()
        cp.must_apply(own("DatabaseReplica", "db", {"suspend": True}), namespace)
        cp.must_apply(own("DatabaseReplica", "db", {"suspend": False}), namespace)
        wait_judged(cp, namespace, "DatabaseReplica", "db")
        wait_quiet(cp, quiet=2)
        calls = cp.audit.calls(mark)

    reads = [str(call) for call in calls if call.verb in ("get", "list") and call.namespace == namespace]
    assert reads == []
