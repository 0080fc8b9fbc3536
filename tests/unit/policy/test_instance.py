"""BaasInstance: what comes first, what waits for it, and what is said meanwhile."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, RECONCILING, STALLED, ZONE_TOLERANT
from baas_operator.observe.view import View
from baas_operator.policy.instance import plan_instance
from baas_operator.policy.plan import Plan
from tests.unit.objects import NOW, ZONES, condition, conditions, keyed, message, nodes, own, owner, pod, reason, secret, status

COMPONENTS = ("gateway", "rest", "reads", "auth", "prober")
WELL = conditions(condition(READY, True), condition(ZONE_TOLERANT, True))


class Backend:
    """A BaasInstance with what it was made into; the database and the queue are as a story says."""

    def __init__(self, **spec: Any) -> None:
        self.resource = own(BAAS_INSTANCE, "shop", spec)
        self.owner = owner(BAAS_INSTANCE, "shop")
        self.others: dict[tuple[str, str], Manifest] = {}
        self.applied: dict[tuple[str, str], Manifest] = {}
        self.pods: dict[tuple[str, str], Manifest] = {}
        self.keys: Manifest | None = None
        self.drawn: dict[tuple[str, str], Manifest] = {}
        self.kinds: frozenset[str] = frozenset()
        self.untaken: frozenset[tuple[str, str]] = frozenset()

    def has(self, kind: Any, name: str, found: Manifest | None = None) -> None:
        """Another object of ours is there, with that status."""
        self.others[kind.name, name] = own(kind, name, status=copy.deepcopy(found or {}))

    def draw_keys(self) -> None:
        """The API keys were made."""
        self.keys = secret(self.owner, "shop-api-keys", "instance", **{"jwks.json": '{"keys": []}'})

    def bootstrap(self) -> None:
        """The SQL Job has succeeded."""
        for (kind, _), each in self.applied.items():
            if kind == "Job":
                each["status"] = {"succeeded": 1}

    def roll_out(self, *, zones: tuple[str, ...] = ZONES, ready: bool = True) -> None:
        """All Deployments have their pods."""
        self.pods = {}
        for (kind, _), each in self.applied.items():
            if kind != "Deployment":
                continue
            component = each["metadata"]["labels"]["app.kubernetes.io/component"]
            count = each["spec"]["replicas"]
            each["status"] = {"observedGeneration": 1, "updatedReplicas": count, "replicas": count}
            self.pods |= keyed(*(
                pod(self.owner, f"shop-{component}-{index}", component, on=f"node-{zones[index % len(zones)]}", ready=ready)
                for index in range(count)
            ))  # fmt: skip

    def view(self) -> View:
        """What is there now."""
        keys = (keyed(self.keys) if self.keys else {}) | self.drawn
        return View(
            resource=self.resource,
            children=self.applied | self.pods | keys,
            nodes=nodes(*ZONES),
            now=NOW,
            others=self.others,
            kinds=self.kinds,
            untaken=self.untaken,
        )

    def plan_of(self, view: View) -> Plan:
        return plan_instance(view)

    def plan(self) -> Plan:
        return plan_instance(self.view())

    def reconcile(self) -> Plan:
        plan = self.plan()
        if plan.refused:
            return plan
        wanted = keyed(*copy.deepcopy(list(plan.manifests)))
        for key, each in wanted.items():
            each["metadata"]["resourceVersion"] = "1"
            if key in self.applied and "status" in self.applied[key]:
                each["status"] = self.applied[key]["status"]
        self.applied = wanted
        return plan

    def serving(self) -> Backend:
        """Everything from nothing to a backend that is as it should be."""
        self.draw_keys()
        self.has(DATABASE_REPLICA, "shop-db", WELL)
        self.has(EVENT_QUEUE, "shop-events", WELL)
        self.reconcile()
        self.bootstrap()
        self.reconcile()
        self.roll_out()
        return self


def deployments(plan: Plan) -> set[str]:
    return {each["metadata"]["name"] for each in plan.manifests if each["kind"] == "Deployment"}


def kinds(plan: Plan) -> set[str]:
    return {each["kind"] for each in plan.manifests}


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


def test_first_the_database_then_the_bootstrap_then_the_components() -> None:
    shop = Backend()

    first = shop.reconcile()
    assert {"DatabaseReplica", "EventQueue"} <= kinds(first)
    assert not {"Job", "Deployment"} & kinds(first)
    assert reason(first, READY) == "DatabaseNotReady"

    shop.draw_keys()
    shop.has(DATABASE_REPLICA, "shop-db", conditions(condition(READY, False, "Bootstrapping", "The first member is being made.")))
    waiting = shop.reconcile()
    assert message(waiting, READY) == "shop-db: The first member is being made."
    assert "Job" not in kinds(waiting)
    assert deployments(waiting) == {"shop-gateway"}, "rest would end without its database"

    shop.has(DATABASE_REPLICA, "shop-db", WELL)
    making = shop.reconcile()
    assert "Job" in kinds(making)
    assert reason(making, READY) == "BootstrappingDatabase"
    assert deployments(making) == {"shop-gateway"}

    shop.bootstrap()
    started = shop.reconcile()
    assert deployments(started) == {f"shop-{each}" for each in COMPONENTS}
    assert reason(started, READY) == "ComponentDown"

    shop.roll_out()
    served = shop.reconcile()
    assert reason(served, READY) == "Serving"
    assert reason(served, RECONCILING) == "QueueNotReady", "the data API needs no queue"

    shop.has(EVENT_QUEUE, "shop-events", WELL)
    done = shop.reconcile()
    assert [(each.type, each.status) for each in done.conditions] == [(READY, True), (ZONE_TOLERANT, True)]
    assert done.status["endpoint"] == "http://shop-gateway.prod.svc:8000"


def test_nothing_is_taken_away_while_the_database_is_down() -> None:
    shop = Backend().serving()
    before = {(each["kind"], each["metadata"]["name"]) for each in shop.reconcile().manifests}
    shop.has(DATABASE_REPLICA, "shop-db", conditions(condition(READY, False, "NoPrimary", "No member holds the leader lock.")))

    plan = shop.reconcile()

    assert {(each["kind"], each["metadata"]["name"]) for each in plan.manifests} == before
    assert reason(plan, READY) == "DatabaseNotReady"
    assert reason(plan, ZONE_TOLERANT) == "DatabaseReplicaNotZoneTolerant"


def test_rest_stays_once_it_was_started_though_its_job_is_gone() -> None:
    shop = Backend().serving()
    shop.applied = {key: each for key, each in shop.applied.items() if key[0] != "Job"}

    assert deployments(shop.plan()) == {f"shop-{each}" for each in COMPONENTS}


def test_a_change_of_what_the_bootstrap_does_makes_a_new_job_and_takes_nothing_down() -> None:
    shop = Backend().serving()
    (old,) = (name for kind, name in shop.applied if kind == "Job")
    shop.resource["spec"] = {"components": {"rest": {"schemas": ["public", "api"]}}}

    plan = shop.reconcile()

    (new,) = (name for kind, name in shop.applied if kind == "Job")
    assert new != old
    assert deployments(plan) == {f"shop-{each}" for each in COMPONENTS}


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


def test_a_backend_that_serves_goes_on_without_the_queue_that_it_refers_to() -> None:
    shop = Backend(queueRef={"name": "theirs"})
    shop.has(EVENT_QUEUE, "theirs", WELL)
    shop.serving()
    before = shop.plan()
    del shop.others[EVENT_QUEUE.name, "theirs"]

    plan = shop.plan()

    assert not plan.refused, "keys are revoked and pods are healed without a queue, too"
    assert status(plan, READY)
    assert (plan.status["components"], plan.manifests) == (before.status["components"], before.manifests)
    assert reason(plan, STALLED) == "EventQueueNotFound"
    assert "create it" in message(plan, STALLED)
    assert reason(plan, ZONE_TOLERANT) == "EventQueueNotZoneTolerant"


@pytest.mark.parametrize("name", ["meta", "reads"])
def test_a_component_without_which_it_serves_makes_nothing_unready_while_it_is_not_there(name: str) -> None:
    shop = Backend(components={"meta": {"enabled": True}}).serving()
    del shop.applied["Deployment", f"shop-{name}"]

    plan = shop.plan()

    assert status(plan, READY)
    assert status(plan, ZONE_TOLERANT)
    assert (reason(plan, RECONCILING), message(plan, RECONCILING)) == ("CreatingComponents", f"Being made: {name}.")


def test_a_component_without_which_it_does_not_serve_does() -> None:
    shop = Backend().serving()
    del shop.applied["Deployment", "shop-rest"]

    plan = shop.plan()

    assert reason(plan, READY) == reason(plan, ZONE_TOLERANT) == "CreatingComponents"


def test_without_any_readable_keys_nothing_is_pruned() -> None:
    shop = Backend().serving()
    assert shop.keys
    shop.keys["data"] = {}
    shop.drawn = keyed(secret(shop.owner, "shop-signing-key", "instance", **{"keys.json": "nonsense"}))

    plan = shop.plan()

    assert plan.refused, "a plan without components would have all of them deleted"
    assert status(plan, READY)
    assert reason(plan, STALLED) == "KeySetUnreadable"
    assert {each["name"] for each in plan.status["components"]} == set(COMPONENTS)


def test_a_database_that_is_begun_anew_is_bootstrapped_anew() -> None:
    shop = Backend(databaseRef={"name": "theirs"})
    shop.has(DATABASE_REPLICA, "theirs", WELL)
    shop.serving()
    (first,) = (name for kind, name in shop.applied if kind == "Job")
    shop.reconcile()
    assert [name for kind, name in shop.applied if kind == "Job"] == [first]

    shop.others[DATABASE_REPLICA.name, "theirs"]["metadata"]["uid"] = "another"
    shop.reconcile()

    assert [name for kind, name in shop.applied if kind == "Job"] != [first], "the passwords are the same, the database is not"


def test_a_database_that_is_away_for_a_moment_is_no_other() -> None:
    shop = Backend().serving()
    jobs = [name for kind, name in shop.applied if kind == "Job"]
    del shop.others[DATABASE_REPLICA.name, "shop-db"]

    shop.reconcile()

    assert [name for kind, name in shop.applied if kind == "Job"] == jobs


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


def test_gateways_that_an_autoscaler_made_share_what_the_instance_lets_in() -> None:
    limits = {"total": {"requestsPerSecond": 100}}
    shop = Backend(components={"gateway": {"autoscaling": {"minReplicas": 3, "maxReplicas": 10}, "limits": limits}}).serving()
    shop.keys = secret(shop.owner, "shop-api-keys", "instance", **{"jwks.json": '{"keys": [{"kid": "one"}]}'})

    def per_pod() -> set[str]:
        config = next(each for each in shop.plan().manifests if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", "shop-gateway"))
        return set(re.findall(r"tokens_per_fill\W+(\d+)", " ".join(config["data"].values())))

    assert "34" in per_pod()
    shop.applied["Deployment", "shop-gateway"]["spec"]["replicas"] = 10

    assert "10" in per_pod()
    assert "34" not in per_pod()


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


@pytest.mark.parametrize("role", ["service_role", "shop_owner"])
def test_a_role_of_backends_is_not_declared_by_itself_either(role: str) -> None:
    shop = Backend().serving()
    shop.others["DatabaseReplica", "shop-db"]["spec"] = {"roles": [{"name": role}]}

    assert reason(shop.plan(), STALLED) == "DatabaseContested"
    assert role in message(shop.plan(), STALLED)


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


def test_the_message_of_a_stalled_database_is_handed_on() -> None:
    shop = Backend()
    stalled = conditions(condition(READY, False, "ZonesInsufficient", "Not so."), condition(STALLED, True, message="Label the nodes."))
    shop.has(DATABASE_REPLICA, "shop-db", stalled)

    assert message(shop.plan(), READY) == "shop-db: Label the nodes."


@pytest.mark.parametrize(("kind", "name"), [("DatabaseReplica", "shop-db"), ("EventQueue", "shop-events")])
def test_an_edit_of_a_spec_that_nobody_has_looked_at_yet_is_no_outage(kind: str, name: str) -> None:
    shop = Backend().serving()
    shop.others[kind, name]["metadata"]["generation"] = 2

    assert [(each.type, each.status) for each in shop.plan().conditions] == [(READY, True), (ZONE_TOLERANT, True)]


def test_one_pod_lost_still_serves() -> None:
    shop = Backend().serving()
    shop.pods["Pod", "shop-rest-0"]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    plan = shop.plan()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, RECONCILING) == "ComponentsNotReady"


def test_pods_in_one_zone_serve_and_are_not_tolerant() -> None:
    shop = Backend().serving()
    shop.roll_out(zones=("zone-a",))

    plan = shop.plan()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, ZONE_TOLERANT) == "ComponentInOneZone"
    assert message(plan, ZONE_TOLERANT) == "All ready pods of gateway are in one zone: without it nothing would serve."


def test_without_a_ready_pod_there_is_no_talk_of_zones() -> None:
    shop = Backend().serving()
    shop.roll_out(ready=False)

    plan = shop.plan()

    assert reason(plan, READY) == reason(plan, ZONE_TOLERANT) == "ComponentDown"
    assert message(plan, ZONE_TOLERANT) == "gateway does not serve: 0 of 3 pods are ready."


def test_a_rollout_is_told_until_the_last_old_pod_is_gone() -> None:
    shop = Backend().serving()
    shop.applied["Deployment", "shop-gateway"]["status"]["replicas"] = 4

    assert reason(shop.plan(), RECONCILING) == "RollingOut"


@pytest.mark.parametrize("kind", [DATABASE_REPLICA, EVENT_QUEUE])
def test_it_is_as_tolerant_as_what_it_stands_on(kind: Any) -> None:
    shop = Backend().serving()
    name = "shop-db" if kind is DATABASE_REPLICA else "shop-events"
    shop.has(kind, name, conditions(condition(READY, True), condition(ZONE_TOLERANT, False, "OneZone", "Only one zone.")))

    plan = shop.plan()

    assert reason(plan, READY) == "Serving"
    assert reason(plan, ZONE_TOLERANT) == f"{kind.name}NotZoneTolerant"
    assert message(plan, ZONE_TOLERANT) == f"{name}: Only one zone."


def test_the_deletion_policy_is_handed_on_to_what_it_makes() -> None:
    plan = Backend(deletionPolicy="Delete").plan()

    assert {each["spec"]["deletionPolicy"] for each in plan.manifests if "deletionPolicy" in each.get("spec", {})} == {"Delete"}


def test_a_rollout_that_is_stuck_is_told_and_what_ran_before_serves() -> None:
    shop = Backend().serving()
    rest = shop.applied["Deployment", "shop-rest"]
    rest["status"] |= {"replicas": 4, "conditions": [condition("Progressing", False, "ProgressDeadlineExceeded", "has timed out")]}
    plan = shop.plan()
    assert status(plan, READY) is True
    assert reason(plan, RECONCILING) == "RolloutStuck"
    assert message(plan, RECONCILING) == (
        "rest is not rolled out: its new pods do not get ready. 3 pods of it are ready and serving meanwhile. "
        "Correct spec.components.rest, or take the change back."
    )

    quota = 'pods "shop-rest-1" is forbidden: exceeded quota: team, requested: cpu=50m, used: cpu=2, limited: cpu=2'
    rest["status"]["conditions"] = [condition("ReplicaFailure", True, "FailedCreate", quota)]
    assert "exceeded quota: team" in message(shop.plan(), RECONCILING)


def test_a_backend_that_hibernates_has_no_pods_and_keeps_the_rest() -> None:
    shop = Backend().serving()
    shop.resource["spec"]["hibernate"] = True
    plan = shop.reconcile()
    assert {each["spec"]["replicas"] for each in plan.manifests if each["kind"] == "Deployment"} == {0}
    assert {"Service", "ConfigMap", "EventQueue", "DatabaseReplica"} <= kinds(plan)
    assert reason(plan, READY) == "Hibernated"
    shop.roll_out()
    shop.resource["spec"]["hibernate"] = False
    shop.reconcile()
    shop.roll_out()
    assert status(shop.plan(), READY) is True


EXPOSED = {"hosts": ["api.shop.example"], "components": {"gateway": {"httpRoute": {"name": "public"}}}}


def test_a_route_that_the_cluster_has_no_kind_for_waits_for_somebody_and_the_backend_serves() -> None:
    shop = Backend(**EXPOSED).serving()

    plan = shop.plan()

    assert status(plan, READY) is True
    assert status(plan, STALLED) is True
    assert reason(plan, STALLED) == "KindMissing"
    assert "httproutes.gateway.networking.k8s.io in version v1: install the Gateway API" in message(plan, STALLED)
    assert "HTTPRoute" not in kinds(plan)
    assert not plan.refused, "all else is applied"

    shop.kinds = frozenset({"HTTPRoute"})
    plan = shop.reconcile()
    assert "HTTPRoute" in kinds(plan)
    assert reason(plan, STALLED) is None


def test_what_a_backend_is_waiting_for_by_itself_is_told_before_what_waits_for_somebody() -> None:
    shop = Backend(**EXPOSED).serving()
    shop.roll_out(ready=False)
    plan = shop.plan()
    assert reason(plan, STALLED) is None
    assert reason(plan, RECONCILING) == "ComponentDown"


def test_a_backend_that_hibernates_keeps_its_policies_and_its_ways_in() -> None:
    shop = Backend(**EXPOSED).serving()
    shop.kinds = frozenset({"HTTPRoute", "PodMonitor"})
    awake = kinds(shop.reconcile())

    shop.resource["spec"]["hibernate"] = True
    plan = shop.reconcile()

    assert {"NetworkPolicy", "HTTPRoute"} <= kinds(plan)
    assert kinds(plan) == awake
    assert all(each["spec"]["replicas"] == 0 for each in plan.manifests if each["kind"] == "Deployment")
