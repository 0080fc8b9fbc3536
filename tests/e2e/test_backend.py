"""A whole backend of the engine supabase on the cluster, as an application in a pod sees it through supabase-js."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from baas_lab.waiting import wait_until
from baas_operator.desired.instance.gateway.postgrest import UNKNOWN
from tests.e2e.harness.client_pod import ClientPod
from tests.e2e.harness.clients import (
    CLIENTS,
    Clients,
    all_pods,
    config_map,
    delete_each_pod,
    delete_each_store,
    make_bucket,
    object_store_in,
    policies,
    wait_answers,
)
from tests.e2e.harness.gateway import GATEWAY_PORT
from tests.e2e.harness.kube import Kube
from tests.harness import stories
from tests.harness.manifests import own

pytestmark = pytest.mark.e2e

NAME = "supabase"
URL = f"http://{NAME}-gateway:{GATEWAY_PORT}"
COMPONENTS = ("gateway", "rest", "reads", "auth", "storage", "functions")
TRANSACTIONS = {"read", "write", "sign-in", "upload"}
KEPT = "create table kept (text text primary key); grant all on kept to service_role;"
SEEN_IN_A_ROW = 6
"""Each pod of the gateway may lead to another PostgREST, and each of those reads the schema by itself."""
SEEN_SECONDS = 60.0
GONE_SECONDS = 90.0
FIRST_PERCENT = 0.1
"""Requests whose first attempt may fail while each pod goes in turn, in percent of all."""


@pytest.fixture(scope="module")
def service_key(kube: Kube, namespace: str, client: ClientPod) -> str:
    """The service key of a backend that is ready, with all its components and the application's schema."""
    s3 = object_store_in(kube, namespace)
    functions = {path.name: path.read_text() for path in (CLIENTS / "functions").iterdir()}
    kube.must_apply(config_map("functions", functions), namespace)
    # Two of each are what stays up while one goes; the lab's machine is small.
    components = {name: {"replicas": 2} for name in COMPONENTS}
    components["storage"] |= {"s3": s3}
    components["functions"] |= {"configMap": "functions"}
    kube.must_apply(own("BaasInstance", NAME, {"deletionPolicy": "Delete", "components": components}), namespace)
    make_bucket(kube, namespace)
    kube.wait_whole(namespace, "BaasInstance", NAME)
    client.psql(kube.secret(namespace, f"{NAME}-role-owner")["uri"], (CLIENTS / "backend.sql").read_text() + KEPT)
    return kube.secret(namespace, f"{NAME}-api-keys")["service_role"]


@pytest.fixture(scope="module")
def clients(kube: Kube, namespace: str, service_key: str) -> Clients:
    keys = kube.secret(namespace, f"{NAME}-api-keys")
    made = Clients(kube, namespace, "backend.mjs", {"URL": URL, "ANON": keys["anon"], "SERVICE": keys["service_role"]})
    made.start()

    def seen() -> bool:
        return all(made.ask("GET", f"{URL}/rest/v1/kept", service_key).status == 200 for _ in range(SEEN_IN_A_ROW))

    wait_until(seen, timeout_seconds=SEEN_SECONDS, what="PostgREST knows the application's tables", poll_seconds=1)
    return made


@pytest.mark.parametrize("story", stories.SUPABASE)
def test_supabase_js(clients: Clients, story: str) -> None:
    clients.play(story)


def test_every_story_is_told(clients: Clients) -> None:
    assert clients.stories == stories.SUPABASE


def test_probers_say_that_it_answers(kube: Kube, namespace: str, clients: Clients) -> None:
    found = wait_answers(kube, namespace, NAME, TRANSACTIONS)

    assert {each["name"] for each in found["status"]["components"]} >= set(COMPONENTS)
    assert all(each["ready"] == each["replicas"] for each in found["status"]["components"]), found["status"]["components"]


def test_pods_are_reached_by_those_alone_that_have_to_do_with_them(kube: Kube, namespace: str, clients: Clients, service_key: str) -> None:
    wanted = {f"{NAME}-{each}" for each in ("default-deny", "bootstrap", "prober", *COMPONENTS)}
    assert policies(kube, namespace, NAME) >= wanted

    if kube.lab.facts["own_pod_network"]:
        return  # it enforces none (lab/README.md)
    address = kube.pods_of(namespace, NAME, "rest")[0]["status"]["podIP"]
    answer = clients.ask("GET", f"http://{address}:3000/kept", service_key)
    assert answer.status == 0, f"a client reached PostgREST past the gateway: {answer}"


@pytest.mark.chaos
def test_each_pod_is_deleted_while_an_application_works(
    kube: Kube, namespace: str, clients: Clients, figure: Callable[[str], None]
) -> None:
    with clients.looping() as loop:
        deleted = delete_each_pod(kube, namespace, NAME, COMPONENTS)
    figure(f"{len(deleted)} pods {_told(loop.said)}")
    assert len(deleted) == 2 * len(COMPONENTS)
    assert loop.said["operations"] > 100
    assert loop.said["failed"] == 0, loop.said["errors"]

    with clients.looping() as stores_loop:
        stores = delete_each_store(kube, namespace, NAME)
    figure(f"{len(stores)} pods of database and queue {_told(stores_loop.said)}")
    assert len(stores) >= 6, stores
    requests, failed = [sum(each.said[key] for each in (loop, stores_loop)) for key in ("requests", "failedRequests")]
    assert failed <= requests * FIRST_PERCENT / 100
    # A write that was under way when the primary's pod went may be done: nobody asks again for it, and its client is told so.
    assert all(each.endswith(UNKNOWN) for each in stores_loop.said["errors"]), stores_loop.said["errors"]


def _told(said: dict[str, Any]) -> str:
    return (
        f"deleted in turn within {said['seconds']} s: {said['failed']} of {said['operations']} operations failed, "
        f"{said['failedRequests']} of {said['requests']} requests at first {said['why']}; milliseconds {said['milliseconds']}"
    )


def test_it_sleeps_and_wakes_with_all_that_it_had(
    kube: Kube, namespace: str, clients: Clients, service_key: str, figure: Callable[[str], None]
) -> None:
    rows = f"{URL}/rest/v1/kept"
    assert clients.ask("POST", rows, service_key, {"text": "before"}).status == 201

    kube.must_patch("BaasInstance", namespace, NAME, {"spec": {"hibernate": True}})
    wait_until(lambda: all_pods(kube, namespace, NAME) == [], timeout_seconds=GONE_SECONDS, what="nothing of it runs", poll_seconds=1)
    wait_until(
        lambda: kube.condition(namespace, "BaasInstance", NAME, "Ready").get("reason") == "Hibernated",
        timeout_seconds=30, what="it says that it hibernates", poll_seconds=0.5,
    )  # fmt: skip
    assert clients.ask("GET", rows, service_key).status == 0

    kube.must_patch("BaasInstance", namespace, NAME, {"spec": {"hibernate": False}})
    kube.wait_condition(namespace, "BaasInstance", NAME, timeout_seconds=180)
    # Nodes refuse connections to a Service that had no pods until they have learnt of some, a moment after they are ready.
    wait_until(lambda: clients.ask("GET", rows, service_key).status != 0, timeout_seconds=15, what="its node leads there", poll_seconds=0.5)
    assert clients.ask("GET", rows, service_key) == (200, '[{"text":"before"}]')
    clients.play("a user signs up, in and out")
