"""BaasInstance: from what is there to what is done and said next."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.instance import BaasInstanceSpec, BaasInstanceStatus, ComponentStatus
from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, DEPLOYMENT, EVENT_QUEUE, JOB, SECRET
from baas_operator.desired.instance import names, supabase
from baas_operator.desired.instance.build import InstanceFacts, build_instance, instance_secrets
from baas_operator.observe.conditions import READY, STALLED, ZONE_TOLERANT, find, is_true
from baas_operator.observe.instance import job_succeeded, job_trouble, observe_component, rolled_out
from baas_operator.observe.text import are
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.placement import as_made, hard_spread
from baas_operator.policy.plan import Finding, Plan, conditions, refusal

_COMPONENTS = supabase.COMPONENTS


@dataclass(frozen=True)
class _Situation:
    spec: BaasInstanceSpec
    view: View
    components: tuple[ComponentStatus, ...]
    job: str | None

    @property
    def database(self) -> str:
        return names.database_name(self.view.owner.name, self.spec)

    @property
    def queue(self) -> str:
        return names.queue_name(self.view.owner.name, self.spec)


def plan_instance(view: View) -> Plan:
    """Decide about a BaasInstance."""
    spec = BaasInstanceSpec.model_validate(view.spec)
    name = view.owner.name
    if finding := _missing(view, spec):
        return refusal(finding.reason, finding.message)
    database = view.others.get((DATABASE_REPLICA.name, names.database_name(name, spec)))
    public = view.child(SECRET, names.api_keys_secret(name))
    gateway = view.child(DEPLOYMENT, f"{name}-gateway")
    already = any(job["metadata"]["name"].startswith(f"{name}-bootstrap-") for job in view.all(JOB))
    replicas = max(spec.components.gateway.replicas, spec.components.rest.replicas)
    facts = InstanceFacts(
        hard_spread=hard_spread(view, gateway, replicas),
        jwks=secret_text(public, "jwks.json"),
        bootstrap_wanted=already or (database is not None and is_true(database, READY)),
        started=_started(view),
    )
    manifests = as_made(view, build_instance(spec, view.owner, view.images, facts))
    job = next((each["metadata"]["name"] for each in manifests if each["kind"] == JOB.name), f"{name}-bootstrap")
    seen = tuple(state for each in _COMPONENTS if (state := observe_component(view, each)))
    it = _Situation(spec, view, seen, job)
    if finding := _contested(it):
        return refusal(finding.reason, finding.message, status=_status(it), ready=_unready(it) is None)
    return Plan(
        conditions=conditions(
            unready=_unready(it),
            incomplete=_incomplete(it),
            fragile=_fragile(it),
            ready_message=f"The gateway serves at {_endpoint(it)}.",
            tolerant_message="Any one zone can be lost without losing acknowledged data or the service.",
        ),
        status=_status(it),
        manifests=manifests,
        secrets=tuple(instance_secrets(spec, view.owner)),
        finalizer=spec.deletion_policy is DeletionPolicy.DELETE,
    )


def _started(view: View) -> frozenset[str]:
    """Components that may start: those that need the database once it was bootstrapped, and then for good."""
    bootstrapped = any((job.get("status") or {}).get("succeeded") for job in view.all(JOB, "bootstrap"))
    there = {each for each in _COMPONENTS if view.child(DEPLOYMENT, f"{view.owner.name}-{each}")}
    return frozenset(there | (set(_COMPONENTS) if bootstrapped else set(_COMPONENTS) - supabase.NEEDS_DATABASE))


def _missing(view: View, spec: BaasInstanceSpec) -> Finding | None:
    for field, kind, ref in (
        ("databaseRef", DATABASE_REPLICA, spec.database_ref),
        ("queueRef", EVENT_QUEUE, spec.queue_ref),
    ):
        if ref is None:
            continue
        other = view.others.get((kind.name, ref.name))
        if other is None:
            return Finding(
                f"{kind.name}NotFound",
                f"spec.{field} names the {kind.name} {ref.name!r}, which is not in namespace {view.owner.namespace}: "
                f"create it, and this {BAAS_INSTANCE.name} goes on by itself.",
            )
        for each in other["metadata"].get("ownerReferences") or []:
            if each["kind"] == BAAS_INSTANCE.name:
                return Finding(
                    f"{kind.name}OfAnother",
                    f"spec.{field} names the {kind.name} {ref.name!r}, which was made for the {each['kind']} {each['name']!r} and is "
                    f"deleted with it: create a {kind.name} of its own, and refer to that.",
                )
    return None


def _contested(it: _Situation) -> Finding | None:
    """Backends share a database by having each a PostgreSQL database and roles of its own. Where the DatabaseReplica declares one of
    these, too, two Jobs would make them and set the same role's password, each to what its own Secret says."""
    database = it.view.others.get((DATABASE_REPLICA.name, it.database))
    if database is None:
        return None
    spec = database.get("spec") or {}
    declared = [(each["name"], each.get("owner") or each["name"]) for each in spec.get("databases") or []]
    declared += [(each["name"], each["name"]) for each in spec.get("roles") or []]
    mine = {names.sql_name(it.view.owner.name), *names.sql_roles(it.view.owner.name)}
    if not (taken := sorted({name for pair in declared for name in pair} & mine)):
        return None
    return Finding(
        "DatabaseContested",
        f"spec of the DatabaseReplica {it.database!r} declares {', '.join(taken)}, which this {BAAS_INSTANCE.name} makes for "
        f"itself: take it out there and use another name, or create this {BAAS_INSTANCE.name} under another name.",
    )


def _unready(it: _Situation) -> Finding | None:
    database = it.view.others.get((DATABASE_REPLICA.name, it.database))
    if database is None or not is_true(database, READY):
        stalled = find(database, STALLED) if database else None
        why = stalled or (find(database, READY) if database else None)
        return Finding("DatabaseNotReady", f"{it.database}: {why['message'] if why else 'not reconciled yet.'}")
    if not job_succeeded(it.view, it.job):
        why_job = job_trouble(it.view, "bootstrap")
        return Finding(
            "BootstrappingDatabase",
            f"Database, roles and functions of the backend are being made in {it.database}.{' ' + why_job if why_job else ''}",
        )
    for each in it.components:
        if each.ready == 0:
            return Finding("ComponentDown", f"{each.name} does not serve: {each.reason}")
    if len(it.components) < len(_COMPONENTS):
        return Finding("CreatingComponents", "The components are being made.")
    return None


def _incomplete(it: _Situation) -> Finding | None:
    for each in it.components:
        if each.ready < each.replicas:
            return Finding("ComponentsNotReady", f"{each.name}: {each.reason}")
        if not rolled_out(it.view.child(DEPLOYMENT, f"{it.view.owner.name}-{each.name}")):
            return Finding("RollingOut", f"{each.name} is being rolled out.")
    queue = it.view.others.get((EVENT_QUEUE.name, it.queue))
    if queue is None or not is_true(queue, READY):
        why = find(queue, READY) if queue else None
        return Finding("QueueNotReady", f"{it.queue}: {why['message'] if why else 'not reconciled yet.'}")
    return None


def _fragile(it: _Situation) -> Finding | None:
    for kind, name in ((DATABASE_REPLICA, it.database), (EVENT_QUEUE, it.queue)):
        other = it.view.others.get((kind.name, name))
        if other is None or not is_true(other, ZONE_TOLERANT):
            why = find(other, ZONE_TOLERANT) if other else None
            return Finding(f"{kind.name}NotZoneTolerant", f"{name}: {why['message'] if why else 'not reconciled yet.'}")
    for each in it.components:
        if each.ready == 0:
            return Finding("ComponentDown", f"{each.name} does not serve: {each.reason}")
        if each.zones == 0:
            return Finding("ZoneUnknown", f"The nodes of {each.name} have no zone: label nodes with topology.kubernetes.io/zone.")
        if each.zones == 1:
            one = "The only ready pod" if each.ready == 1 else "All ready pods"
            return Finding("ComponentInOneZone", f"{one} of {each.name} {are(each.ready)} in one zone: without it nothing would serve.")
    if len(it.components) < len(_COMPONENTS):
        return Finding("CreatingComponents", "The components are being made.")
    return None


def _endpoint(it: _Situation) -> str:
    return f"http://{it.view.owner.name}-gateway.{it.view.owner.namespace}.svc:{names.GATEWAY_PORT}"


def _status(it: _Situation) -> dict[str, object]:
    gateway = next((each for each in it.components if each.name == "gateway"), None)
    selector = it.view.owner.selector("gateway")
    status = BaasInstanceStatus(
        endpoint=_endpoint(it),
        database=it.database,
        queue=it.queue,
        replicas=gateway.ready if gateway else 0,
        selector=",".join(f"{key}={value}" for key, value in selector.items()),
        components=list(it.components),
    )
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions"})
