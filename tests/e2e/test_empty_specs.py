"""Nothing is asked for, and it is highly available: an empty spec of each kind."""

from __future__ import annotations

import time

import pytest

from tests.e2e.harness.kube import Kube
from tests.e2e.harness.plugin import kubectl_baas
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

READY_SECONDS = 360.0
"""For an instance with its own database and queue, and one more of each, at once on two cores; a machine of one's own takes a third."""
KINDS = {"DatabaseReplica": "data", "EventQueue": "events", "BaasInstance": "shop"}


@pytest.fixture(scope="module")
def seconds(kube: Kube, namespace: str) -> dict[str, float]:
    """Kind → seconds from `kubectl apply` until it was Ready and ZoneTolerant."""
    started = time.monotonic()
    for kind, name in KINDS.items():
        kube.must_apply(own(kind, name, {}), namespace)
    took = {}
    for kind, name in KINDS.items():
        kube.wait_whole(namespace, kind, name, timeout_seconds=READY_SECONDS)
        took[kind] = time.monotonic() - started
    return took


def test_an_empty_spec_becomes_ready_and_can_lose_a_zone(seconds: dict[str, float]) -> None:
    print("\nready and zone tolerant after", ", ".join(f"{kind} {took:.0f} s" for kind, took in seconds.items()))
    assert max(seconds.values()) < READY_SECONDS


@pytest.mark.usefixtures("seconds")
@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("data", "postgresql"), ("events", "nats"), ("shop-db", "postgresql"), ("shop-events", "nats"),
        ("shop", "gateway"), ("shop", "rest"),
    ],
)  # fmt: skip
def test_there_are_three_in_three_zones(kube: Kube, namespace: str, name: str, component: str) -> None:
    pods = kube.pods_of(namespace, name, component)

    assert len(pods) == 3
    assert kube.zones_of(pods) == {"zone-a", "zone-b", "zone-c"}


@pytest.mark.usefixtures("seconds")
def test_the_plugin_shows_it_as_one_tree(kube: Kube, namespace: str) -> None:
    for kind, name in KINDS.items():  # Ready serves; a third pod may still be starting, and the tree says so
        kube.wait_settled(namespace, kind, name, timeout_seconds=READY_SECONDS)

    shown = kubectl_baas(kube, namespace, "status")

    assert shown.returncode == 0, shown.stdout + shown.stderr
    lines = [line.strip("│├└─ ") for line in shown.stdout.splitlines()]
    assert [line.split()[:2] for line in lines if line.startswith(("shop ", "data ", "events "))] == [
        ["shop", "BaasInstance"], ["data", "DatabaseReplica"], ["events", "EventQueue"],
    ]  # fmt: skip
    for child in ("database shop-db", "queue shop-events", "gateway", "rest", "shop-db-0", "shop-events-2"):
        assert any(line.startswith(child) for line in lines), f"{child} is not in the tree:\n{shown.stdout}"
    assert "!" not in shown.stdout, shown.stdout
