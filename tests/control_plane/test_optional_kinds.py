"""Kinds of others: with the schemas that they publish, in an API server that gets them, and loses them again, while the operator leads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from baas_operator.api.kinds import CERTIFICATE, HTTP_ROUTE, OPTIONAL_KINDS, POD_MONITOR, Kind
from tests.harness.api import Object
from tests.harness.manifests import own

from .harness import foreign
from .harness.cluster import UP_SECONDS, ControlPlane

KNOWN_WITHIN_SECONDS = 90
"""The operator asks every minute."""
SPEC: Object = {
    "hosts": ["api.shop.example", "shop.example"],
    "components": {
        "gateway": {
            "httpRoute": {"name": "public", "namespace": "infra", "sectionName": "https"},
            "tls": {"issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"}},
        }
    },
    "isolation": {
        "quota": {"requests.cpu": "0.5", "requests.memory": "1024Mi", "count/configmaps": "5000", "pods": "60"},
        "limitRange": {"default": {"memory": "256Mi"}, "defaultRequest": {"cpu": "10m"}},
        "clients": [{"namespace": "web"}, {"podLabels": {"app": "shop"}}],
        "egress": ["10.0.0.0/8", "2001:db8::/32"],
    },
}


def crd_name(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}"


def served(cp: ControlPlane, kind: Kind) -> bool:
    """Whether its objects can be listed."""
    try:
        return cp.request("GET", kind.path())[0] == 200
    except ValueError:  # of a group that is not there it says so in plain text
        return False


def install(cp: ControlPlane, kind: Kind) -> None:
    cp.must_apply(foreign.crd(kind.name))
    cp.wait(lambda: served(cp, kind), UP_SECONDS, f"{kind.name} is served")


def take_away(cp: ControlPlane, kind: Kind) -> None:
    cp.delete("CustomResourceDefinition", None, crd_name(kind))
    cp.wait(lambda: not served(cp, kind), UP_SECONDS, f"{kind.name} is gone")


@pytest.fixture
def without(cp: ControlPlane) -> Iterator[None]:
    """The cluster has none of the kinds, before and after."""
    yield
    for kind in OPTIONAL_KINDS:
        if cp.get("CustomResourceDefinition", None, crd_name(kind)):
            take_away(cp, kind)


def live(cp: ControlPlane, kind: Kind, namespace: str, name: str) -> Object | None:
    status, answer = cp.request("GET", kind.path(namespace, name))
    assert status in (200, 404), answer
    return answer if status == 200 else None


@pytest.mark.usefixtures("without")
def test_kinds_come_while_the_operator_leads_are_used_and_go(cp: ControlPlane, namespace: str) -> None:
    with cp.operator():
        cp.must_apply(own("BaasInstance", "shop", SPEC), namespace)
        cp.wait(lambda: cp.get("LimitRange", namespace, "shop-limits"), 60, "its limits are there, the last of what isolates it")
        quota = cp.get("ResourceQuota", namespace, "shop-quota")
        assert quota
        assert quota["spec"]["hard"]["requests.cpu"] == "500m", "as the API server writes it"
        assert cp.get("NetworkPolicy", namespace, "shop-default-deny")
        assert not any(served(cp, kind) for kind in OPTIONAL_KINDS)
        mark = cp.audit.mark()

        for kind in OPTIONAL_KINDS:
            install(cp, kind)

        for kind in OPTIONAL_KINDS:
            cp.wait(lambda kind=kind: live(cp, kind, namespace, "shop-gateway"), KNOWN_WITHIN_SECONDS, kind.name)  # type: ignore[misc]
        route = live(cp, HTTP_ROUTE, namespace, "shop-gateway")
        assert route
        assert route["spec"]["hostnames"] == SPEC["hosts"]

        # Its version says nothing: the quota's own controller notes there what is used.
        assert "resourcequotas" not in {call.resource for call in cp.writes(mark, namespace=namespace)}, "and that is no difference"

        cp.must_apply(own("BaasInstance", "shop", SPEC | {"components": {"gateway": {}}}), namespace)
        for kind in (HTTP_ROUTE, CERTIFICATE):
            cp.wait(lambda kind=kind: live(cp, kind, namespace, "shop-gateway") is None, 30, f"{kind.name} is pruned")  # type: ignore[misc]
        assert live(cp, POD_MONITOR, namespace, "shop-gateway")


@pytest.mark.usefixtures("without")
def test_another_leader_puts_back_what_was_changed_by_hand_and_writes_nothing_else(cp: ControlPlane, namespace: str) -> None:
    for kind in OPTIONAL_KINDS:
        install(cp, kind)
    with cp.operator():
        cp.must_apply(own("BaasInstance", "shop", SPEC), namespace)
        for kind in OPTIONAL_KINDS:
            cp.wait(lambda kind=kind: live(cp, kind, namespace, "shop-gateway"), 30, kind.name)  # type: ignore[misc]
    before = {kind.name: live(cp, kind, namespace, "shop-gateway") for kind in OPTIONAL_KINDS}
    patch = {"spec": {"hostnames": ["evil.example"]}}
    path = HTTP_ROUTE.path(namespace, "shop-gateway")
    assert cp.request("PATCH", path, patch, content_type="application/merge-patch+json")[0] == 200

    with cp.operator():
        cp.wait(
            lambda: (live(cp, HTTP_ROUTE, namespace, "shop-gateway") or {}).get("spec", {}).get("hostnames") == SPEC["hosts"], 30, "back"
        )

    for kind in (POD_MONITOR, CERTIFICATE):
        was, now = before[kind.name], live(cp, kind, namespace, "shop-gateway")
        assert was
        assert now
        assert now["metadata"]["resourceVersion"] == was["metadata"]["resourceVersion"], kind.name
