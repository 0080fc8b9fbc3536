"""BaasInstance: from what is there to what is done and said next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from baas_operator.api.common import ApiModel, DeletionPolicy, LocalRef
from baas_operator.api.instance.component import Component as ComponentOptions
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.instance.status import BaasInstanceStatus, ComponentStatus
from baas_operator.api.instance.supabase import Auth
from baas_operator.api.kinds import BAAS_INSTANCE, CONFIG_MAP, DATABASE_REPLICA, DEPLOYMENT, EVENT_QUEUE, JOB, POD, SECRET, Kind
from baas_operator.desired.instance import names
from baas_operator.desired.instance.build import InstanceFacts, build_instance, components, instance_secrets
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.engines import ENGINES
from baas_operator.desired.instance.exposure import lacking
from baas_operator.desired.instance.probes import ROLE as PROBE_ROLE
from baas_operator.desired.key_set import key_ids
from baas_operator.desired.meta import Manifest
from baas_operator.desired.needs import with_needs
from baas_operator.desired.secrets import SecretRequest
from baas_operator.desired.sql_job import DATABASE_ANNOTATION
from baas_operator.observe.conditions import READY, STALLED, ZONE_TOLERANT, find, is_true
from baas_operator.observe.instance import (
    job_succeeded,
    job_trouble,
    observe_component,
    public_set,
    rolled_out,
    rollout_trouble,
)
from baas_operator.observe.keys import read_published, read_signing, still_given
from baas_operator.observe.text import are, counted
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.instance_keys import plan_keys
from baas_operator.policy.limits import limits_too_low, without_low_limits
from baas_operator.policy.named import LOOK_AGAIN_SECONDS, leads_to_https, missing_named
from baas_operator.policy.one_at_a_time import one_at_a_time
from baas_operator.policy.passwords import logins_of, passwords_digest, plan_passwords, workloads_of
from baas_operator.policy.placement import as_made, hard_spread, where_database_runs
from baas_operator.policy.plan import Finding, Plan, TellPod, conditions, refusal
from baas_operator.policy.probes import Answering, judge_probes
from baas_operator.policy.programs import Programs, look_at_programs
from baas_operator.policy.rebalance import Rebalanced, rebalance
from baas_operator.policy.standby_schema import load_schema, schema_to_load
from baas_operator.policy.telling import untold


@dataclass(frozen=True)
class _Situation:
    """`wanted`: the components that there should be; `components`: how those are that there are; `answering`: what probers say;
    `queueless`: why there is no queue, where somebody has to act."""

    spec: BaasInstanceSpec
    view: View
    wanted: tuple[Component, ...]
    components: tuple[ComponentStatus, ...]
    job: str | None
    answering: Answering
    programs: Programs
    queueless: Finding | None

    @property
    def vital(self) -> frozenset[str]:
        """Components without which it does not serve."""
        return frozenset(each.name for each in self.wanted if not each.optional)

    @property
    def unmade(self) -> list[str]:
        """Components that there should be and that are not there."""
        return sorted({each.name for each in self.wanted} - {each.name for each in self.components})

    @property
    def database(self) -> str:
        return names.database_name(self.view.owner.name, self.spec)

    @property
    def queue(self) -> str:
        return names.queue_name(self.view.owner.name, self.spec)


def plan_instance(view: View) -> Plan:
    """Decide about a BaasInstance."""
    spec = BaasInstanceSpec.stored(view.spec)
    name = view.owner.name
    gateway = view.child(DEPLOYMENT, f"{name}-gateway")
    queueless = _missing(view, "queueRef", EVENT_QUEUE, spec.queue_ref)
    # The data API needs no queue: a backend that is there goes on without.
    missing = _missing(view, "databaseRef", DATABASE_REPLICA, spec.database_ref) or (None if gateway else queueless)
    if missing and not gateway:
        return refusal(missing)
    database = view.others.get((DATABASE_REPLICA.name, names.database_name(name, spec)))
    public = view.child(SECRET, names.api_keys_secret(name))
    already = any(job["metadata"]["name"].startswith(f"{name}-bootstrap-") for job in view.all(JOB))
    jwks = public_set(secret_text(public, "jwks.json"))
    signing = read_signing(view.child(SECRET, names.signing_key_secret(name)))
    requests = instance_secrets(spec, view.owner)
    logins = logins_of(view, requests)
    workers = look_at_programs(spec, view, ENGINES[spec.engine].program_keys(view.owner), view.versions)
    facts = InstanceFacts(
        hard_spread=hard_spread(view, gateway, spec.components.gateway.replicas),
        jwks=jwks,
        kids=key_ids(jwks),
        bootstrap_wanted=already or (database is not None and is_true(database, READY)),
        operator_namespace=view.operator_namespace,
        monitoring_namespace=view.monitoring_namespace,
        monitoring_labels=view.monitoring_labels,
        kinds=view.kinds,
        programs=workers.facts,
        versions=_versions(view, public),
        signing_kids=signing.kids,
        signer=signing.signer,
        standby_schema=schema_to_load(view, database),
        logins=logins,
        pooled=_pooled(view, database, requests),
        https=leads_to_https(spec, view),
        passwords=passwords_digest(view, spec, logins),
        database_uid=_database_uid(view, database),
        bootstrap_where=where_database_runs(view, database),
        # As many gateways as there are share what the instance may let in.
        replicas=_scaled(view, {"gateway": spec.components.gateway}),
    )
    wanted = components(spec, view.owner, view.images, facts)
    facts = replace(facts, started=_started(view, wanted), replicas=_scaled(view, {each.name: each.options for each in wanted}))
    made = as_made(view, build_instance(spec, view.owner, view.images, facts, wanted))
    low = limits_too_low(spec, view, _everything(spec, view, facts)) if spec.isolation.limit_range else None
    if low:
        made = without_low_limits(made, view)
    logging_in = workloads_of(made)
    manifests = tuple(one_at_a_time(view, wanted, made))
    job = next((each["metadata"]["name"] for each in manifests if each["kind"] == JOB.name), f"{name}-bootstrap")
    # The gateway first: that is what clients meet.
    seen = tuple(state for each in (wanted[-1], *wanted[:-1]) if (state := observe_component(view, each.name)))
    it = _Situation(spec, view, tuple(wanted), seen, job, judge_probes(view, spec), workers, queueless)
    keys = plan_keys(view, spec.keys, requests, token_seconds=(spec.components.auth or Auth()).token_seconds)
    # Nothing can be said of components without the keys that count, and what is not said is pruned.
    keyless = keys.stalled if public is not None and jwks is None else None
    leaking = frozenset(still_given(view))
    if finding := missing or _contested(it) or keyless:
        refused = refusal(
            finding,
            status=_status(it) | _noted(view) | _told(keys=keys.status),
            ready=_unready(it) is None,
            beside=(*it.answering.conditions, *workers.conditions),
        )
        # A key that leaked does not wait for who puts that right. Of a database that is missing, pods may be made for another by now.
        urgent = frozenset(each for each in leaking if each[0] == CONFIG_MAP.name) if missing else leaking
        return replace(
            refused,
            secrets=tuple(each for each in keys.requests if each.replaces),
            manifests=tuple(with_needs(urgent, manifests)),
            urgent=urgent,
            effects=tuple(_tell(view, wanted)),
        )
    spread = Rebalanced() if spec.hibernate else rebalance(view, wanted, manifests)
    passwords = plan_passwords(
        view, keys.requests, logging_in, job=job if facts.passwords else None, rotation_days=spec.keys.password_rotation_days
    )
    unready, incomplete, fragile = _unready(it), _incomplete(it), _fragile(it)
    # Before what is incomplete: it may be why, and nothing else tells.
    unnamed = missing_named(spec, view)
    if unready and unnamed:
        unready = Finding(unready.reason, f"{unready.message} {unnamed.finding.message}")
    lacks = keys.stalled or passwords.stalled or _lacking(it) or low
    return Plan(
        effects=(*_tell(view, wanted), *spread.effects, *load_schema(view, manifests)),
        conditions=conditions(
            unready=unready,
            incomplete=(unnamed and unnamed.finding) or incomplete or lacks or workers.incomplete or keys.progress or passwords.progress,
            stuck=unnamed.stuck
            if unnamed and (unready is None or unready.reason == "ComponentDown")
            else not (unready or incomplete) and (lacks is not None or workers.blocked),
            fragile=fragile and Finding(fragile.reason, f"{fragile.message} {spread.told}"),
            ready_message=f"The gateway serves at {_endpoint(it)}.",
            tolerant_message=f"Any one zone can be lost without losing acknowledged data or the service. {spread.told}".rstrip(),
        )
        + it.answering.conditions
        + workers.conditions,
        status=_status(it) | _told(keys=keys.status, passwords=passwords.status),
        manifests=manifests,
        urgent=leaking,
        secrets=passwords.requests,
        finalizer=spec.deletion_policy is DeletionPolicy.DELETE,
        requeue_after=min(
            (
                each
                for each in (
                    it.answering.look_again_seconds,
                    workers.again_seconds,
                    keys.wake_seconds,
                    passwords.wake_seconds,
                    spread.again_seconds,
                    LOOK_AGAIN_SECONDS if unnamed or not facts.https else None,
                )
                if each is not None
            ),
            default=None,
        ),
    )


def _told(**parts: ApiModel | None) -> dict[str, object]:
    """Parts of the status, of those that there are."""
    return {name: part.model_dump(by_alias=True, exclude_none=True, mode="json") for name, part in parts.items() if part}


def _noted(view: View) -> dict[str, object]:
    """The same as they were told last, where nothing becomes of them now."""
    before = view.resource.get("status") or {}
    return {name: before[name] for name in ("keys", "passwords") if name in before}


def _versions(view: View, public: Manifest | None) -> dict[str, str]:
    """Of what pods read only when they start: the user's own, and API keys, which are issued anew."""
    signers = ",".join(each or "" for each in read_published(public).signers)
    return {**view.versions, names.api_keys_secret(view.owner.name): signers}


def _tell(view: View, wanted: list[Component]) -> list[TellPod]:
    """Some follow their files, the gateway above all: a key that is revoked, a route or a limit is in effect in seconds where kubelets are
    told."""
    told: list[TellPod] = []
    for each in wanted:
        if each.hot:
            mounted = [view.child(SECRET, mount.secret) for mount in each.mounts if mount.secret]
            named = [known.version for mount in each.mounts if (known := view.named.get((SECRET.name, mount.secret or "")))]
            told += untold(view.all(POD, each.name), [view.child(CONFIG_MAP, f"{view.owner.name}-{each.name}"), *mounted], named)
    return told


def _everything(spec: BaasInstanceSpec, view: View, facts: InstanceFacts) -> list[Manifest]:
    """All children, also those that wait for something."""
    programs = replace(facts.programs, started=None)
    facts = replace(facts, started=None, bootstrap_wanted=True, jwks=facts.jwks or "{}", programs=programs)
    return build_instance(spec, view.owner, view.images, facts)


def _started(view: View, wanted: list[Component]) -> frozenset[str]:
    """Components that may start: those that need the database once it was bootstrapped, and then for good."""
    bootstrapped = any((job.get("status") or {}).get("succeeded") for job in view.all(JOB, "bootstrap"))
    return frozenset(
        each.name for each in wanted if bootstrapped or not each.needs_database or view.child(DEPLOYMENT, f"{view.owner.name}-{each.name}")
    )


def _scaled(view: View, components: Mapping[str, ComponentOptions]) -> dict[str, int]:
    """Pods that components have which an autoscaler is to say that of. Also where it is not there yet, or was deleted: it begins from what
    there is, and what carries the load of this hour is not cut to the least that is asked for."""
    found = {name: view.child(DEPLOYMENT, f"{view.owner.name}-{name}") for name, options in components.items() if options.autoscaling}
    return {name: int(live["spec"].get("replicas", 1)) for name, live in found.items() if live is not None}


def _database_uid(view: View, database: Manifest | None) -> str:
    """Which DatabaseReplica is meant, or was when the bootstrap was last made: one that is away for a moment is no other."""
    if database is not None:
        return str(database["metadata"]["uid"])
    said = [(job["metadata"].get("annotations") or {}).get(DATABASE_ANNOTATION) for job in view.all(JOB, "bootstrap")]
    return next((str(uid) for uid in said if uid), "")


def _missing(view: View, field: str, kind: Kind, ref: LocalRef | None) -> Finding | None:
    """What is wrong with a reference of the spec."""
    if ref is None:
        return None
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


def _pooled(view: View, database: Manifest | None, requests: Sequence[SecretRequest]) -> bool:
    """Whether the database has a pooler, and the Secrets of those who come by it tell where: one that was made by an earlier operator does
    so from its next rotation on."""
    if database is not None and ((database.get("spec") or {}).get("pooler") or {}).get("replicas") == 0:
        return False
    made = [view.child(SECRET, each.name) for each in requests if names.POOLER_URI in each.extra]
    return all(each is None or secret_text(each, names.POOLER_URI) for each in made)


def _contested(it: _Situation) -> Finding | None:
    """Backends share a database by having each a PostgreSQL database and roles of its own. Where the DatabaseReplica declares one of
    these, too, two Jobs would make them and set the same role's password, each to what its own Secret says."""
    database = it.view.others.get((DATABASE_REPLICA.name, it.database))
    if database is None:
        return None
    spec = database.get("spec") or {}
    declared = [(each["name"], each.get("owner") or each["name"]) for each in spec.get("databases") or []]
    declared += [(each["name"], each["name"]) for each in spec.get("roles") or []]
    mine = {names.sql_name(it.view.owner.name), *names.sql_roles(it.view.owner.name), PROBE_ROLE}
    if not (taken := sorted({name for pair in declared for name in pair} & mine)):
        return None
    return Finding(
        "DatabaseContested",
        f"spec of the DatabaseReplica {it.database!r} declares {', '.join(taken)}, which this {BAAS_INSTANCE.name} makes for "
        f"itself: take it out there and use another name, or create this {BAAS_INSTANCE.name} under another name.",
    )


def _unready(it: _Situation) -> Finding | None:
    if it.spec.hibernate:
        return Finding("Hibernated", "Nothing of it runs, as spec.hibernate asks: its data, keys and addresses are kept.")
    database = it.view.others.get((DATABASE_REPLICA.name, it.database))
    if database is None or not is_true(database, READY):
        stalled = find(database, STALLED) if database else None
        why = stalled or (find(database, READY) if database else None)
        return Finding("DatabaseNotReady", f"{it.database}: {why['message'] if why else 'not reconciled yet.'}")
    # One that serves is not hurt by another bootstrap, as for a schema more: what it makes is added to what is there.
    if not (it.vital <= {each.name for each in it.components if each.ready}) and (making := _bootstrapping(it)):
        return making
    for each in it.components:
        if each.ready == 0 and each.name in it.vital:
            return Finding("ComponentDown", f"{each.name} does not serve: {each.reason}")
    if it.vital & set(it.unmade):
        return _creating(it)
    return it.answering.unready


def _creating(it: _Situation) -> Finding:
    return Finding("CreatingComponents", f"Being made: {', '.join(it.unmade)}.")


def _bootstrapping(it: _Situation) -> Finding | None:
    if job_succeeded(it.view, it.job):
        return None
    why = job_trouble(it.view, "bootstrap")
    return Finding(
        "BootstrappingDatabase",
        f"Database, roles and functions of the backend are being made in {it.database}.{' ' + why if why else ''}",
    )


def _incomplete(it: _Situation) -> Finding | None:
    if it.spec.hibernate:
        left = sorted(each.name for each in it.components if each.ready)
        return Finding("GoingToSleep", f"Pods of {', '.join(left)} are ending.") if left else None
    if making := _bootstrapping(it):
        return making
    for each in it.components:
        if stuck := rollout_trouble(it.view, each.name):
            return Finding(
                "RolloutStuck",
                f"{each.name} is not rolled out: {stuck}. {counted(each.ready, 'pod').capitalize()} of it {are(each.ready)} ready and "
                f"serving meanwhile. Correct spec.components.{each.name}, or take the change back.",
            )
        if each.ready < each.replicas:
            return Finding("ComponentsNotReady", f"{each.name}: {each.reason}")
        if not rolled_out(it.view.child(DEPLOYMENT, f"{it.view.owner.name}-{each.name}")):
            return Finding("RollingOut", f"{each.name} is being rolled out.")
    if it.unmade:
        return _creating(it)
    queue = it.view.others.get((EVENT_QUEUE.name, it.queue))
    if it.queueless is None and (queue is None or not is_true(queue, READY)):
        why = find(queue, READY) if queue else None
        return Finding("QueueNotReady", f"{it.queue}: {why['message'] if why else 'not reconciled yet.'}")
    return None


def _lacking(it: _Situation) -> Finding | None:
    """What only somebody else can put right: it serves all the same."""
    said = lacking(it.spec, it.view.kinds)
    return it.queueless or (Finding("KindMissing", said) if said else None)


def _fragile(it: _Situation) -> Finding | None:
    if it.spec.hibernate:
        return _unready(it)
    for kind, name in ((DATABASE_REPLICA, it.database), (EVENT_QUEUE, it.queue)):
        if why := _intolerant(it.view.others.get((kind.name, name))):
            return Finding(f"{kind.name}NotZoneTolerant", f"{name}: {why}")
    for each in it.components:
        if each.name not in it.vital:
            continue
        if each.ready == 0:
            return Finding("ComponentDown", f"{each.name} does not serve: {each.reason}")
        if each.zones == 0:
            return Finding("ZoneUnknown", f"The nodes of {each.name} have no zone: label nodes with topology.kubernetes.io/zone.")
        if each.zones == 1:
            one = "The only ready pod" if each.ready == 1 else "All ready pods"
            return Finding("ComponentInOneZone", f"{one} of {each.name} {are(each.ready)} in one zone: without it nothing would serve.")
    if it.vital & set(it.unmade):
        return _creating(it)
    return None


def _intolerant(other: Manifest | None) -> str | None:
    """Why nobody can say that what a backend uses survives the loss of a zone. One that is suspended says what it said last."""
    if other is None:
        return "not reconciled yet."
    if other["metadata"].get("deletionTimestamp"):
        return "it is being deleted."
    if (other.get("spec") or {}).get("suspend"):
        return "spec.suspend of it is true, so what it says is as last observed."
    why = find(other, ZONE_TOLERANT) or find(other, STALLED)  # one whose spec is refused says no more than that
    return None if is_true(other, ZONE_TOLERANT) else str(why["message"]) if why else "not reconciled yet."


def _endpoint(it: _Situation) -> str:
    return names.gateway_url(it.view.owner)


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
        probes=list(it.answering.status),
        programs=list(it.programs.statuses),
    )
    return status.model_dump(by_alias=True, exclude_none=True, mode="json", exclude={"conditions"})
