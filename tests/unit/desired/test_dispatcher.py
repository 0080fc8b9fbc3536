"""The dispatchers of an EventQueue as manifests: only where there is something for them to do, and told what they understand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.group import API_VERSION
from baas_operator.api.queue import EventQueueSpec
from baas_operator.api.webhooks import Outbox
from baas_operator.desired.images import Images
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue.dead_letters import dead_letters_of, letters_kept
from baas_operator.desired.queue.dispatcher import build_dispatcher, dispatcher_config
from baas_operator.desired.queue.outboxes import Origin, origin_of
from baas_operator.desired.render import render, secret_requests
from baas_operator.dispatcher.config import DispatcherConfig
from baas_operator.outbox.config import OutboxConfig

ORDERS: dict[str, Any] = {"name": "orders", "subjects": ["orders.>"]}
CRM: dict[str, Any] = {"name": "crm", "stream": "orders", "url": "https://crm.example/hook"}


def queue(**spec: Any) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": "EventQueue", "metadata": {"name": "events", "namespace": "shop"}, "spec": spec}


def children(**spec: Any) -> dict[tuple[str, str], Manifest]:
    return {(each["kind"], each["metadata"]["name"]): each for each in render(queue(**spec))}


def pod(made: dict[tuple[str, str], Manifest]) -> dict[str, Any]:
    found: dict[str, Any] = made["Deployment", "events-dispatcher"]["spec"]["template"]["spec"]
    return found


def mounted(made: dict[tuple[str, str], Manifest]) -> list[dict[str, Any]]:
    (volume,) = (each for each in pod(made)["volumes"] if each["name"] == "secrets")
    return [each["secret"] for each in volume["projected"]["sources"]]


@pytest.mark.parametrize(
    ("spec", "there"),
    [
        ({}, False),
        ({"streams": [ORDERS]}, False),
        ({"streams": [ORDERS | {"deadLetter": {}}]}, True),
        ({"streams": [ORDERS], "webhooks": [CRM]}, True),
        ({"streams": [ORDERS], "outboxes": [{"name": "o", "databaseRef": {"name": "db"}, "database": "shop", "stream": "orders"}]}, True),
    ],
)
def test_there_are_dispatchers_where_they_have_something_to_do(spec: dict[str, Any], there: bool) -> None:
    assert (("Deployment", "events-dispatcher") in children(**spec)) is there


def test_a_dispatcher_understands_what_it_is_told() -> None:
    webhook = CRM | {"retrySeconds": [1, 2], "ordering": {"by": "header", "header": "Key"}, "allowNetworks": ["10.0.0.0/8"]}
    made = children(streams=[ORDERS], webhooks=[webhook], dispatcher={"replicas": 3})

    told = DispatcherConfig.model_validate(json.loads(made["ConfigMap", "events-dispatcher"]["data"]["dispatcher.json"]))

    assert (told.queue, told.namespace, told.host, told.replicas) == ("events", "shop", "events.shop.svc", 3)
    assert [(each.name, each.retry_seconds, each.ordering.header) for each in told.webhooks] == [("crm", [1, 2], "Key")]


def test_a_missing_secret_concerns_its_webhook_alone() -> None:
    ours, theirs = mounted(children(streams=[ORDERS], webhooks=[CRM | {"secretName": "crm-hook"}]))

    assert ours["name"] == "events-user-dispatcher"
    assert "optional" not in ours, "without a user there is nothing that a dispatcher could do"
    assert (theirs["name"], theirs["optional"]) == ("crm-hook", True)
    assert [each["path"] for each in theirs["items"]] == ["webhook/crm/secret"]


def test_a_webhook_without_a_secret_gets_one() -> None:
    asked = {each.name: each for each in secret_requests(queue(streams=[ORDERS], webhooks=[CRM, CRM | {"name": "b", "secretName": "x"}]))}

    assert asked["events-webhook-crm"].recipe == "webhook"
    assert "events-webhook-b" not in asked


def test_a_change_of_a_webhook_rolls_nothing() -> None:
    before = children(streams=[ORDERS], webhooks=[CRM])
    after = children(streams=[ORDERS], webhooks=[CRM | {"url": "https://other.example/hook", "concurrency": 5}])

    assert pod(before) == pod(after)
    assert before["ConfigMap", "events-dispatcher"] != after["ConfigMap", "events-dispatcher"]


def test_a_pod_that_goes_may_finish_the_slowest_delivery() -> None:
    made = children(streams=[ORDERS], webhooks=[CRM | {"timeoutSeconds": 90}])

    assert pod(made)["terminationGracePeriodSeconds"] >= 90 + 10


OUTBOX: dict[str, Any] = {"name": "shop", "databaseRef": {"name": "db"}, "database": "shop_eu", "stream": "orders"}


def test_an_outbox_is_told_where_its_rows_come_from_and_given_what_lets_it_in() -> None:
    made = children(streams=[ORDERS], outboxes=[OUTBOX | {"table": "events", "batchSize": 7}])
    told = DispatcherConfig.model_validate(json.loads(made["ConfigMap", "events-dispatcher"]["data"]["dispatcher.json"]))

    config = OutboxConfig.of(told.outboxes[0], Path("/etc"))

    assert (config.host, config.port, config.database, config.user) == ("db-rw.shop.svc", 5432, "shop_eu", "shop_eu")
    assert (config.schema, config.table, config.batch_size, config.stream, config.tls) == ("public", "events", 7, "orders", True)
    (volume,) = (each for each in pod(made)["volumes"] if each["name"] == "secrets")
    password, authority = volume["projected"]["sources"][1:]
    assert password["secret"]["name"] == "db-role-shop-eu"
    assert authority["configMap"]["name"] == "db-ca"
    assert [each["path"] for source in (password["secret"], authority["configMap"]) for each in source["items"]] == [
        "outbox/shop/password", "outbox/shop/ca.crt",
    ]  # fmt: skip
    assert password["secret"]["optional"]
    assert authority["configMap"]["optional"]


@pytest.mark.parametrize(
    ("databases", "more", "why"),
    [
        ({}, {}, "no DatabaseReplica db in shop"),
        ({"db": {"databases": [{"name": "other"}]}}, {}, "declares no database shop_eu"),
        ({"db": {"databases": [{"name": "shop_eu"}]}}, {"role": "relay"}, "declares no role relay that logs in"),
        ({"db": {"databases": [{"name": "shop_eu"}], "roles": [{"name": "relay", "login": False}]}}, {"role": "relay"}, "logs in"),
    ],
)  # fmt: skip
def test_an_outbox_that_can_not_run_says_why_and_mounts_nothing(databases: dict[str, Any], more: dict[str, Any], why: str) -> None:
    spec = EventQueueSpec.model_validate({"streams": [ORDERS], "outboxes": [OUTBOX | more]})
    there = {name: DatabaseReplicaSpec.model_validate(each) for name, each in databases.items()}
    owner = Owner("EventQueue", "shop", "events")

    (told,) = json.loads(dispatcher_config(spec, owner, replicas=2, databases=there))["outboxes"]
    made = build_dispatcher(spec, owner, Images(), replicas=2, hard_spread=True, databases=there)

    assert why in told["trouble"]
    sources = made[-1]["spec"]["template"]["spec"]["volumes"][1]["projected"]["sources"]
    assert len(sources) == 1


def test_the_owner_of_the_database_relays_unless_a_role_is_named() -> None:
    database = DatabaseReplicaSpec.model_validate({"databases": [{"name": "shop_eu", "owner": "boss"}], "roles": [{"name": "relay"}]})
    for role, user in ((None, "boss"), ("relay", "relay")):
        outbox = Outbox.model_validate(OUTBOX | ({"role": role} if role else {}))
        origin = origin_of(outbox, "shop", {"db": database})
        assert isinstance(origin, Origin)
        assert origin.user == user


def test_a_webhook_may_have_any_name() -> None:
    made = mounted(children(streams=[ORDERS], webhooks=[CRM | {"name": "nats", "ca": {"name": "mine"}}]))
    paths = [item["path"] for source in made for item in source["items"]]
    assert len(paths) == len(set(paths)), "two files at one place are refused by the API server"


def test_dead_letters_are_kept_for_whoever_asks_and_for_webhooks_in_any_case() -> None:
    spec = EventQueueSpec.model_validate({
        "streams": [ORDERS, {"name": "mail", "subjects": ["mail.>"], "retention": "workqueue", "deadLetter": {"maxAgeHours": 5}},
                    {"name": "plain", "subjects": ["plain.>"]}],
        "webhooks": [CRM],
    })  # fmt: skip
    assert {name: each.max_age_hours for name, each in dead_letters_of(spec).items()} == {"orders": 720, "mail": 5}
    assert json.loads(dispatcher_config(spec, Owner("EventQueue", "shop", "events"), replicas=2))["deadLetters"] == {"mail": "workqueue"}
    assert [each.name for each in letters_kept(spec, queue="events", shares={})] == [
        "BAAS_DEAD_orders",
        "BAAS_DEAD_mail",
        "BAAS_ADVISORIES",
    ]
