"""Rights of an EventQueue's users, held against subjects as NATS matches them. What they mean to a server is in tests/jetstream/users."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue import names
from baas_operator.desired.queue.users import EVERYTHING, Login, Rights, accounts, rights
from baas_operator.desired.secrets import Certificate
from tests.unit.desired.rendered import CHILDREN

CASE: dict[str, Any] = {
    "streams": [
        {"name": "orders", "subjects": ["orders.>"], "consumers": [{"name": "billing"}]},
        {"name": "1", "subjects": ["one.>"], "consumers": [{"name": "7"}]},
    ],
    "keyValues": [{"name": "settings"}],
    "objectStores": [{"name": "files"}],
    "users": [
        {"name": "billing", "publish": ["invoices.*"], "consume": ["orders"], "privateInbox": True},
        {"name": "one", "consume": ["1"]},
        {"name": "store", "keyValues": ["settings"], "objectStores": ["files"]},
        {"name": "echo", "subscribe": ["echo.>"]},
        {"name": "nobody"},
    ],
}  # fmt: skip
SPEC = EventQueueSpec.model_validate(CASE)


def matches(pattern: str, subject: str) -> bool:
    """As NATS does (its documentation, "Subject-based messaging")."""
    wanted, have = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(have) > index
        if index >= len(have) or token not in ("*", have[index]):
            return False
    return len(wanted) == len(have)


def may(user: str, publish: str) -> bool:
    given: Rights = next(users[user] for users in rights(SPEC).values() if user in users)
    allowed = given.publish is None or any(matches(each, publish) for each in given.publish)
    return allowed and not any(matches(each, publish) for each in given.deny_publish)


ACK_V1 = "$JS.ACK.{stream}.{consumer}.1.7.1.1700000000000000000.0"
ACK_V2 = "$JS.ACK._.hAsh.{stream}.{consumer}.1.7.1.1700000000000000000.0"


@pytest.mark.parametrize("form", [ACK_V1, ACK_V2])
def test_acknowledgements_of_both_forms_are_for_ones_own_consumer_alone(form: str) -> None:
    assert may("billing", form.format(stream="orders", consumer="billing"))
    assert not may("billing", form.format(stream="orders", consumer="other"))
    assert not may("billing", form.format(stream="1", consumer="7"))
    # A stream called 1 with a consumer called 7 stands where others' acknowledgements have their counters.
    assert may("one", form.format(stream="1", consumer="7"))
    assert not may("one", form.format(stream="orders", consumer="billing"))


@pytest.mark.parametrize("user", ["billing", "one", "store", "echo", "nobody", "app", "agent", "dispatcher"])
@pytest.mark.parametrize(
    "request_", ["STREAM.CREATE.orders", "STREAM.UPDATE.orders", "STREAM.DELETE.orders", "STREAM.PURGE.orders", "STREAM.RESTORE.orders",
                 "STREAM.PEER.REMOVE.orders", "CONSUMER.PEER.REMOVE.orders.billing", "STREAM.PURGE.KV_settings"],
)  # fmt: skip
def test_nobody_but_the_operator_changes_streams(user: str, request_: str) -> None:
    assert not may(user, f"$JS.API.{request_}")
    assert may("admin", f"$JS.API.{request_}")


def test_only_agents_and_the_operator_move_leaders() -> None:
    subject = "$JS.API.STREAM.LEADER.STEPDOWN.orders"
    assert {user for users in rights(SPEC).values() for user in users if may(user, subject)} == {"admin", "agent", "system"}


def test_a_user_without_rights_may_publish_nothing_rather_than_everything() -> None:
    text = accounts(SPEC, {user: (Login(user, "p"),) for user in names.users(SPEC)}, limits={})
    line = next(each for each in text.splitlines() if '"user": "nobody"' in each)
    assert '"publish": {"deny": [">"]}' in line


def test_subjects_that_begin_with_a_wildcard_give_nothing() -> None:
    """The API server refuses them; one that was stored before it did would match `$JS.API.STREAM.DELETE.orders`."""
    user = {"name": "wild", "publish": [">", "*.API.STREAM.DELETE.orders", "$JS.API.>"], "subscribe": [">"]}
    given = rights(EventQueueSpec.model_validate(CASE | {"users": [user]}))["APP"]["wild"]
    assert given.publish == ()
    assert given.subscribe == ("_INBOX.>",)


def test_a_private_inbox_is_private_to_who_may_else_hear_everything() -> None:
    users = rights(SPEC)["APP"]
    assert users["billing"].subscribe == ("_INBOX_billing.>",)
    assert "_INBOX_billing.>" in users["app"].deny_subscribe
    assert {user for user, given in users.items() if given == EVERYTHING} == {"admin"}


def test_five_hundred_consumers_fit_into_the_secret_while_every_password_is_rotated() -> None:
    """A Secret has 1 MiB (Kubernetes documentation, "Secrets"), and what `app` is denied has each consumer fourteen times."""
    consumers = [{"name": f"consumer-{number}"} for number in range(5)]
    spec = EventQueueSpec.model_validate(
        {"streams": [{"name": f"stream-{number}", "subjects": [f"s{number}.>"], "consumers": consumers} for number in range(100)]}
    )
    logins = {user: (Login(user, "p" * 32), Login(names.other_slot(user), "p" * 32)) for user in names.users(spec)}
    assert len(accounts(spec, logins, limits={}, namespace="production", queue="events")) < 1024 * 1024


def test_names_of_ours_can_not_be_declared() -> None:
    longest = 16
    reserved = {"admin", "app", "system", "route", "agent", "dispatcher"}
    assert all(user in reserved or len(user) > longest for user in names.USERS)
    assert all(names.other_slot(names.other_slot(user)) == user for user in names.USERS)


def test_every_user_is_in_the_configuration_once_for_each_of_its_logins() -> None:
    logins = {user: (Login(user, "p1"), Login(names.other_slot(user), "p2")) for user in names.users(SPEC)}
    text = accounts(SPEC, logins, limits={"max_file": 1})
    for user in names.users(SPEC):
        if user != names.ROUTE:
            assert text.count(f'"user": "{user}"') == 1
            assert text.count(f'"user": "{user}-alt"') == 1


def test_a_peer_certificate_says_another_thing_than_a_server_s() -> None:
    assert Certificate("peer", "a", 1).content != Certificate("server", "a", 1).content


@pytest.mark.parametrize("size", ["default", "rich"])
def test_what_a_pod_mounts_is_there(size: str) -> None:
    servers = next(each for each in CHILDREN["EventQueue", size] if each["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    volumes = {each["name"] for each in servers["volumes"]} | {"data"}
    for container in (*servers["containers"], *servers["initContainers"]):
        assert {each["name"] for each in container["volumeMounts"]} <= volumes


def test_a_dispatcher_asks_only_for_streams_that_it_has_something_to_do_with() -> None:
    hook = {"name": "crm", "stream": "orders", "url": "https://crm.example/hook"}
    spec = EventQueueSpec.model_validate(CASE | {"webhooks": [hook]})
    given = rights(spec)["APP"]["dispatcher"]
    assert given.publish is not None
    for each in given.publish:
        tokens = each.split(".")
        if tokens[:2] == ["$JS", "API"] and "1" not in tokens:
            assert {"orders", "BAAS_DEAD_orders", "KV_BAAS_webhooks"} & set(tokens), each
    assert [each for each in given.publish if ".1" in each] == ["$JS.API.CONSUMER.INFO.1.*", "$JS.API.CONSUMER.DELETE.1.*"]
    assert given.subscribe == (
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>", "_INBOX_dispatcher.>",
    )  # fmt: skip


def test_rows_are_published_to_their_stream_alone() -> None:
    outbox = {"name": "shop", "databaseRef": {"name": "db"}, "database": "shop", "stream": "1"}
    publish = rights(EventQueueSpec.model_validate(CASE | {"outboxes": [outbox]}))["APP"]["dispatcher"].publish or ()
    assert any(matches(each, "one.new") for each in publish)
    assert not any(matches(each, "orders.new") for each in publish)


def test_who_may_copy_makes_consumers_of_just_those_streams_and_comes_in_as_a_server() -> None:
    spec = EventQueueSpec.model_validate(CASE | {"users": [{"name": "copier", "copies": ["orders"]}, {"name": "nobody"}]})
    given = rights(spec, domain="prod_mq")["APP"]["copier"]
    asked = [f"$JS.prod_mq.API.CONSUMER.CREATE.{each}" for each in ("orders", "orders.x.y", "1")]
    assert [any(matches(each, one) for each in given.publish or ()) for one in asked] == [True, True, False]
    assert not any(matches(each, "$JS.prod_mq.API.STREAM.DELETE.orders") for each in given.publish or ())

    text = accounts(spec, {user: (Login(user, "p"),) for user in names.users(spec)}, limits={}, namespace="prod", queue="mq")
    leaf = {user for user in names.users(spec) for line in text.splitlines() if f'"user": "{user}"' in line and "LEAFNODE" in line}
    assert leaf == {"copier", "app"}


@pytest.mark.parametrize("prefix", ["$JS.API", "$JS.prod_mq.API"])
def test_what_is_denied_is_denied_under_the_name_of_the_domain_as_well(prefix: str) -> None:
    assert not may("app", f"{prefix}.STREAM.DELETE.orders")
    assert may("app", f"{prefix}.CONSUMER.CREATE.orders.mine")


def test_clients_ask_nothing_over_a_link() -> None:
    app = rights(SPEC, domain="prod_mq", linked=["east_mq"])["APP"]["app"]
    assert any(matches(each, "$JS.east_mq.API.CONSUMER.CREATE.orders") for each in app.deny_publish)
    assert not any(matches(each, "$JS.prod_mq.API.CONSUMER.CREATE.orders") for each in app.deny_publish)
