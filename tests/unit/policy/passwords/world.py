"""A backend whose roles' passwords are rotated: its Secrets are written by the operator's own code to a stand-in of the API server, what it
is made into follows from `plan_instance`, and the rest is a model of who logs in where.

PostgreSQL is a table of passwords, which the bootstrap's own SQL writes to, line by line. Kubelets give pods a version of a Secret that may
be an older one. A pod logs in with what it was given when it started, again and again; one that is replaced goes on for half a minute.
"""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, OVERLAP_ANNOTATION
from baas_operator.engine import applier
from baas_operator.engine.store import Key
from baas_operator.observe.conditions import READY, ZONE_TOLERANT
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.instance import plan_instance
from baas_operator.policy.plan import Plan
from tests.unit.objects import NAMESPACE, ZONES, condition, conditions, keyed, nodes, own, owner, pod, secret
from tests.unit.policy.rotating import Api, Rotating

SHOP = owner(BAAS_INSTANCE, "shop")
ROLES = ("authenticator", "auth", "owner")
DRAIN_SECONDS = 60
SPEC: dict[str, Any] = {
    "components": {"rest": {"replicas": 2}, "auth": {"replicas": 2}, "reads": {"enabled": False}, "meta": {"enabled": True, "replicas": 1}},
    "prober": {"enabled": False},
}
_WELL = conditions(condition(READY, True), condition(ZONE_TOLERANT, True))


class History(Api):
    """An API server that remembers what each Secret once was."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[str, list[Manifest]] = {}

    def _put(self, verb: str, key: Key, found: Manifest) -> Manifest:
        made = super()._put(verb, key, found)
        if key.kind == SECRET.name:
            self.versions.setdefault(key.name, []).append(copy.deepcopy(made))
        return made


@dataclass(frozen=True)
class Login:
    """A name and a password."""

    username: str
    password: str


@dataclass
class Pod:
    """A pod: what it was made by and, once it has started, what it logs in with."""

    name: str
    component: str
    template: Manifest
    logins: tuple[Login, ...] = ()
    ready: bool = False
    going: datetime | None = None
    phase: str = "Running"


@dataclass
class Database:
    """What PostgreSQL knows: name -> password, None where it has none."""

    passwords: dict[str, str | None] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    """Names whose sessions were ended."""

    def takes(self, login: Login) -> bool:
        return self.passwords.get(login.username) == login.password


class World(Rotating):
    """The instance, its Secrets, its database, its pods, and the time."""

    def __init__(self, spec: dict[str, Any] = SPEC, **keys: Any) -> None:
        self.api: History
        super().__init__(History(), own(BAAS_INSTANCE, "shop", spec | ({"keys": keys} if keys else {})))
        self.superuser = secret(owner(DATABASE_REPLICA, "shop-db"), "shop-db-role-postgres", "database", password="of-postgres")
        self.applied: dict[tuple[str, str], Manifest] = {}
        self.pods: list[Pod] = []
        self.database = Database()
        self.last: Plan | None = None
        self._count = 0
        self.restart()

    # --- the operator

    def view(self) -> View:
        children = self.store.children(Key(BAAS_INSTANCE.name, NAMESPACE, "shop"))
        return View(
            self.resource, children | {key: self._seen(each) for key, each in self.applied.items()} | keyed(*map(self._pod, self.pods)),
            nodes(*ZONES), self.now,
            others={
                (DATABASE_REPLICA.name, "shop-db"): own(DATABASE_REPLICA, "shop-db", status=_WELL),
                (EVENT_QUEUE.name, "shop-events"): own(EVENT_QUEUE, "shop-events", status=_WELL),
            },
            other_children={(DATABASE_REPLICA.name, "shop-db"): keyed(self.superuser)},
        )  # fmt: skip

    def plan(self) -> Plan:
        found = plan_instance(self.view())
        assert not found.refused
        return found

    async def draw(self) -> Plan:
        """The Secrets, as engine/reconcile.py has them drawn; the plan with what was drawn."""
        with patch.object(applier.time, "time", self.now.timestamp):
            plan, writes = self.plan(), len(self.api.writes)
            drawn = plan.secrets
            for each in drawn:
                await applier.ensure_secret(self.api, self.store, each)  # type: ignore[arg-type]
            if writes == len(self.api.writes):
                return plan
            for each in self.plan().secrets:
                if each not in drawn:
                    await applier.ensure_secret(self.api, self.store, each)  # type: ignore[arg-type]
            return self.plan()

    def carry_out(self, drawn: Plan) -> None:
        self.last = drawn
        for each in drawn.manifests:
            self._apply(each)
        for key in set(self.applied) - {(each["kind"], each["metadata"]["name"]) for each in drawn.manifests}:
            self.api.spend()
            del self.applied[key]

    def _apply(self, manifest: Manifest) -> None:
        key = manifest["kind"], manifest["metadata"]["name"]
        before = self.applied.get(key)
        if before is not None and before["spec_"] == manifest:
            return
        self.api.spend()
        assert before is None or manifest["kind"] != "Job", "a Job can not be changed"
        made = copy.deepcopy(manifest)
        made["spec_"] = copy.deepcopy(manifest)
        made["metadata"] |= {
            "generation": (before or {"metadata": {"generation": 0}})["metadata"]["generation"] + 1,
            "resourceVersion": "1",
        }
        self.applied[key] = made
        if manifest["kind"] == "Deployment" and before is None:
            for _ in range(made["spec"]["replicas"]):
                self._create(made)

    # --- the cluster

    def _deployments(self) -> list[Manifest]:
        return [each for (kind, _), each in sorted(self.applied.items()) if kind == "Deployment"]

    def _seen(self, found: Manifest) -> Manifest:
        if found["kind"] != "Deployment":
            return found
        mine = [each for each in self.pods if each.component == _component(found) and each.going is None]
        updated = sum(each.template == found["spec"]["template"] for each in mine)
        generation = found["metadata"]["generation"]
        return found | {"status": {"observedGeneration": generation, "replicas": len(mine), "updatedReplicas": updated}}

    def _pod(self, each: Pod) -> Manifest:
        made = pod(
            SHOP, each.name, each.component, on="node-zone-a", ready=each.ready, annotations=each.template["metadata"].get("annotations")
        )
        made["status"]["phase"] = each.phase
        if each.going:
            made["metadata"]["deletionTimestamp"] = to_text(each.going)
        return made

    def _create(self, deployment: Manifest) -> Pod:
        self._count += 1
        name = f"{deployment['metadata']['name']}-{self._count}"
        made = Pod(name, _component(deployment), copy.deepcopy(deployment["spec"]["template"]))
        self.pods.append(made)
        return made

    def given(self, template: Manifest, age: int) -> tuple[Login, ...] | None:
        """What a container is given that starts now, on a node with Secrets of so many versions ago; None where it is not started."""
        asked: dict[str, set[str]] = {}
        for volume in template["spec"]["volumes"]:
            if found := volume.get("secret"):
                asked.setdefault(found["secretName"], set()).update(each["key"] for each in found.get("items") or [])
        for container in template["spec"]["containers"]:
            for each in container["env"]:
                if ref := (each.get("valueFrom") or {}).get("secretKeyRef"):
                    asked.setdefault(ref["name"], set()).add(ref["key"])
        made = []
        for name, keys in sorted(asked.items()):
            versions = self.api.versions.get(name) or []
            if not versions:
                return None
            version = versions[max(0, len(versions) - 1 - age)]
            if any(secret_text(version, key) is None for key in keys):
                return None
            if "-role-" in name and (uris := keys & {"uri", "standby-uri"}):
                uri = urlsplit(secret_text(version, uris.pop()) or "")
                made.append(Login(unquote(uri.username or ""), unquote(uri.password or "")))
            elif "-role-" in name:
                made.append(Login(secret_text(version, "username") or "", secret_text(version, "password") or ""))
        return tuple(made)

    async def roll(self, component: str, *, age: int = 0) -> bool:
        """The Deployment's controller and a kubelet go one step on with it, if there is anything to do."""
        deployment = self.applied.get(("Deployment", f"shop-{component}"))
        if deployment is None:
            return False
        mine = [each for each in self.pods if each.component == component and each.going is None]
        template = deployment["spec"]["template"]
        for each in mine:
            if each.template != template and not each.ready:
                self.pods.remove(each)
                return True
        old = [each for each in mine if each.template != template]
        coming = next((each for each in mine if not each.ready), None) or (self._create(deployment) if old else None)
        if coming is None:
            return False
        found = self.given(template, age)
        if found is None or not await self.starts(coming, found):
            return False
        coming.logins, coming.ready = found, True
        if old:
            old[0].going = self.now
            await self.goes(old[0])
        return True

    async def starts(self, coming: Pod, logins: tuple[Login, ...]) -> bool:
        """Whether a pod gets ready: it logs in."""
        return all(self.database.takes(each) for each in logins)

    async def goes(self, leaving: Pod) -> None:
        """A pod is told to go."""

    async def run_jobs(self, *, statements: int | None = None, age: int = 0) -> bool:
        """The bootstrap runs; whether it came to its end. `statements`: so many lines of it before its pod is killed."""
        for (kind, name), job in sorted(self.applied.items()):
            if kind != "Job" or (job.get("status") or {}).get("succeeded"):
                continue
            files = self._files(job, age)
            if files is None or not _checked(job, files):
                return False
            sql = self.applied["ConfigMap", name]["data"]["run.sql"]
            if not await self.execute(sql, files, statements):
                return False
            job["status"] = {"succeeded": 1}
            return True
        return False

    def _files(self, job: Manifest, age: int) -> dict[str, str] | None:
        made = {"superuser/password": secret_text(self.superuser, "password") or ""}
        for volume in job["spec"]["template"]["spec"]["volumes"]:
            for source in (volume.get("projected") or {}).get("sources", []):
                versions = self.api.versions.get(source["secret"]["name"]) or [{}]
                version = versions[max(0, len(versions) - 1 - age)]
                for item in source["secret"]["items"]:
                    text = secret_text(version, item["key"])
                    if text is None:
                        return None
                    made[f"roles/{item['path']}"] = text
        return made

    async def execute(self, sql: str, files: dict[str, str], statements: int | None) -> bool:
        """Run the SQL, as far as it is about passwords; whether to its end."""
        variable = ""
        lines = [each for each in sql.splitlines() if re.match(r"\\set password|ALTER ROLE .* PASSWORD|SELECT pg_terminate_backend", each)]
        for line in lines[:statements]:
            if found := re.match(r"\\set password `cat /etc/baas/(.*)`", line):
                variable = files[found[1]]
            elif found := re.match(r'ALTER ROLE "(\w+)" PASSWORD (\S+);', line):
                self.database.passwords[found[1]] = None if found[2] == "NULL" else variable
            elif found := re.search(r"usename = '(\w+)'", line):
                self.database.ended.append(found[1])
        return statements is None or statements >= len(lines)

    def passes(self, seconds: float) -> None:
        """Time passes, and who was going is gone."""
        self.now += timedelta(seconds=seconds)
        self.pods = [each for each in self.pods if each.going is None or self.now < each.going + timedelta(seconds=DRAIN_SECONDS)]

    async def settle(self, rounds: int = 60) -> None:
        """Reconciles, Jobs and rollouts, until nothing is to be done at this time."""
        for _ in range(rounds):
            before = len(self.api.writes)
            assert await self.reconcile()
            did = await self.run_jobs()
            for each in self._deployments():
                did |= await self.roll(_component(each))
            if not did and before == len(self.api.writes):
                return
        raise AssertionError("it never comes to rest")

    # --- people

    def live(self, role: str) -> Manifest:
        return self.api.objects[Key(SECRET.name, NAMESPACE, f"shop-role-{role}")]

    def says(self, role: str) -> Login:
        """What who reads a Secret now finds."""
        found = self.live(role)
        return Login(secret_text(found, "username") or "", secret_text(found, "password") or "")

    def annotation(self, role: str, key: str) -> str | None:
        found: str | None = (self.live(role)["metadata"].get("annotations") or {}).get(key)
        return found

    async def annotate(self, role: str, **annotations: str | None) -> None:
        merged = await self.api.merge(SECRET, NAMESPACE, f"shop-role-{role}", {"metadata": {"annotations": annotations}})
        self.store.put(merged)

    async def ask(self, *roles: str) -> None:
        """Somebody asks for other passwords."""
        for each in roles or ROLES:
            await self.annotate(each, **{EXPIRES_ANNOTATION: to_text(self.now)})

    async def end_overlap(self, *roles: str) -> None:
        """Somebody brings forward until when the passwords before count."""
        for each in roles or ROLES:
            await self.annotate(each, **{OVERLAP_ANNOTATION: to_text(self.now)})

    def serving(self) -> list[Pod]:
        """Pods that clients may be led to, those that are going included."""
        return [each for each in self.pods if each.ready and each.logins]


def _component(deployment: Manifest) -> str:
    return str(deployment["metadata"]["labels"]["app.kubernetes.io/component"])


def _checked(job: Manifest, files: dict[str, str]) -> bool:
    """What the container does before anything else: it compares what it was given with what it is for."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    script = container["command"][-1]
    found = re.search(r"\$\(cat (.*?) \| sha256sum \| cut -c1-16\)\" = ([0-9a-f]{16}) \]", script)
    assert found, "a bootstrap checks what it was given"
    text = "".join(files[each] for each in found[1].split())
    return hashlib.sha256(text.encode()).hexdigest()[:16] == found[2]


async def ready(**keys: Any) -> World:
    """A backend that serves."""
    world = World(**keys)
    await world.settle()
    assert {each.component for each in world.serving()} == {"rest", "auth", "meta"}
    return world
