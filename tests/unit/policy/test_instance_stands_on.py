"""BaasInstance and the database and the queue that it stands on: how it comes to them, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import ANSWERS, READY, STALLED, ZONE_TOLERANT
from baas_operator.policy.plan import Plan
from tests.unit.objects import condition, conditions, keyed, message, owner, reason, secret, status
from tests.unit.policy.backend import WELL, Backend, kinds


def connects_by(plan: Plan) -> str:
    """The key of what auth connects to the database with."""
    (auth,) = [each for each in plan.manifests if each["kind"] == "Deployment" and each["metadata"]["name"] == "shop-auth"]
    (container,) = auth["spec"]["template"]["spec"]["containers"]
    (uri,) = [each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"] if each["name"] == "GOTRUE_DB_DATABASE_URL"]
    return str(uri)


def test_auth_comes_by_the_pooler_if_there_is_one() -> None:
    shop = Backend().serving()
    assert connects_by(shop.plan()) == "pooler-uri"

    shop.others[DATABASE_REPLICA.name, "shop-db"]["spec"] = {"pooler": {"replicas": 0}}
    assert connects_by(shop.plan()) == "uri"

    shop.others[DATABASE_REPLICA.name, "shop-db"]["spec"] = {"pooler": {"replicas": 3}}
    assert connects_by(shop.plan()) == "pooler-uri"

    shop.resource["spec"] = {"databaseRef": {"name": "shop-db"}}
    del shop.others[DATABASE_REPLICA.name, "shop-db"]["spec"]  # which is to have all as it is by itself
    assert connects_by(shop.plan()) == "pooler-uri"


def test_a_secret_that_an_earlier_operator_made_counts_as_it_is() -> None:
    shop = Backend().serving()
    before = secret(shop.owner, "shop-role-auth", "instance", username="shop_auth_admin", password="x", uri="postgresql://x")
    shop.drawn = keyed(before)
    assert connects_by(shop.plan()) == "uri", "its pods would not start"

    uris = {"uri": "postgresql://x", "pooler-uri": "postgresql://y"}
    shop.drawn = keyed(secret(shop.owner, "shop-role-auth", "instance", username="shop_auth_admin", password="x", **uris))
    assert connects_by(shop.plan()) == "pooler-uri", "rotated since"


def test_a_database_that_was_brought_is_the_one_that_is_used() -> None:
    shop = Backend(databaseRef={"name": "theirs"})
    shop.has(DATABASE_REPLICA, "theirs", WELL)
    shop.draw_keys()
    shop.reconcile()
    shop.bootstrap()

    plan = shop.reconcile()

    assert plan.status["database"] == "theirs"
    (job,) = (each for (kind, _), each in shop.applied.items() if kind == "Job")
    assert "host=theirs-rw " in str(job)
    assert "theirs-role-postgres" in str(job)


@pytest.mark.parametrize(
    ("field", "kind", "other"),
    [("databaseRef", DATABASE_REPLICA, EVENT_QUEUE), ("queueRef", EVENT_QUEUE, DATABASE_REPLICA)],
)
def test_what_is_referred_to_and_missing_is_refused(field: str, kind: Any, other: Any) -> None:
    shop = Backend(**{field: {"name": "theirs"}})
    shop.has(other, "theirs", WELL)

    plan = shop.plan()
    assert plan.refused
    assert (plan.manifests, plan.secrets) == ((), ())
    assert reason(plan, STALLED) == f"{kind.name}NotFound"
    assert f"spec.{field}" in message(plan, STALLED)
    assert "create it" in message(plan, STALLED)

    shop.has(kind, "theirs", WELL)
    found = shop.plan()
    assert not found.refused
    assert kind.name not in kinds(found), "one that was brought is not made"


@pytest.mark.parametrize(("field", "kind"), [("databaseRef", DATABASE_REPLICA), ("queueRef", EVENT_QUEUE)])
def test_what_was_made_for_another_backend_and_goes_with_it_is_refused(field: str, kind: Any) -> None:
    shop = Backend(**{field: {"name": "blog-it"}})
    shop.has(kind, "blog-it", WELL)
    shop.others[kind.name, "blog-it"]["metadata"]["ownerReferences"] = [owner(BAAS_INSTANCE, "blog").reference()]

    plan = shop.plan()

    assert plan.refused
    assert reason(plan, STALLED) == f"{kind.name}OfAnother"
    assert "'blog' and is deleted with it" in message(plan, STALLED)


@pytest.mark.parametrize(
    ("declared", "taken"),
    [
        ({"name": "shop"}, "shop"),
        ({"name": "reports", "owner": "shop_owner"}, "shop_owner"),
        ({"name": "reports", "owner": "anon"}, "anon"),
        ({"name": "reports", "owner": "analyst"}, None),
        ({"name": "blog"}, None),
    ],
)
def test_a_database_or_role_of_the_backends_own_that_is_also_declared_is_refused(declared: Manifest, taken: str | None) -> None:
    """Two Jobs would set the same role's password, each to what its own Secret says: one of the logins would stop working."""
    shop = Backend().serving()
    shop.others["DatabaseReplica", "shop-db"]["spec"] = {"databases": [declared]}

    plan = shop.plan()

    assert plan.refused == (taken is not None)
    assert status(plan, READY), "what runs goes on serving"
    if taken:
        assert reason(plan, STALLED) == "DatabaseContested"
        assert f"declares {taken}, which" in message(plan, STALLED)


def test_a_backend_whose_spec_is_refused_is_told_of_as_ever() -> None:
    shop = Backend(databaseRef={"name": "theirs"})
    shop.has(DATABASE_REPLICA, "theirs", WELL)
    shop.serving()
    shop.resource["status"] = {"keys": {"signer": "one"}} | conditions(condition(ANSWERS, True, "InstanceAnswers"))
    before = shop.plan()
    shop.others["DatabaseReplica", "theirs"]["spec"] = {"databases": [{"name": "shop"}]}

    plan = shop.plan()

    assert (plan.refused, status(plan, READY), status(plan, ANSWERS)) == (True, True, True)
    assert plan.status["components"] == before.status["components"]
    assert plan.status["keys"] == {"signer": "one"}

    del shop.others["DatabaseReplica", "theirs"]
    gone = shop.plan()
    assert (gone.refused, status(gone, READY), reason(gone, READY)) == (True, False, "DatabaseReplicaNotFound")
    assert gone.status["components"] == before.status["components"]


def test_what_a_refused_queue_says_of_itself_is_said_of_the_backend() -> None:
    shop = Backend().serving()
    shop.has(EVENT_QUEUE, "shop-events", conditions(condition(READY, True), condition(STALLED, True, "SubjectsOverlap", "both want a.>.")))

    assert message(shop.plan(), ZONE_TOLERANT) == "shop-events: both want a.>."


@pytest.mark.parametrize("role", ["service_role", "shop_owner"])
def test_a_role_of_backends_is_not_declared_by_itself_either(role: str) -> None:
    shop = Backend().serving()
    shop.others["DatabaseReplica", "shop-db"]["spec"] = {"roles": [{"name": role}]}

    assert reason(shop.plan(), STALLED) == "DatabaseContested"
    assert role in message(shop.plan(), STALLED)


@pytest.mark.parametrize(("kind", "name"), [(DATABASE_REPLICA, "shop-db"), (EVENT_QUEUE, "shop-events")])
@pytest.mark.parametrize(
    ("change", "why"),
    [({"spec": {"suspend": True}}, "spec.suspend of it is true"), ({"metadata": {"deletionTimestamp": "now"}}, "it is being deleted")],
)
def test_what_a_suspended_one_or_one_that_goes_said_last_is_no_word_of_today(
    kind: Any, name: str, change: dict[str, dict[str, Any]], why: str
) -> None:
    shop = Backend().serving()
    for field, said in change.items():
        shop.others[kind.name, name].setdefault(field, {}).update(said)

    plan = shop.plan()

    assert reason(plan, ZONE_TOLERANT) == f"{kind.name}NotZoneTolerant"
    assert why in message(plan, ZONE_TOLERANT)
