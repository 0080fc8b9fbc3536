"""A backend's keys for real, drawn and written by the operator's own code to a stand-in of the API server, and a model of who uses them.

Three programs use keys, in the three ways that there are: `rest` verifies with the set that it was started with; `gateway` verifies with a
mounted file, which a kubelet brings within its sync period; `auth` verifies, and signs, with what it was started with. A pod that is
replaced goes on for half a minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
import pytest

from baas_operator.api.instance.keys import Keys
from baas_operator.api.kinds import BAAS_INSTANCE, SECRET
from baas_operator.desired.instance.keys import key_secrets
from baas_operator.desired.instance.manifests import KEY_IDS_ANNOTATION
from baas_operator.desired.key_set import SIGNER_ANNOTATION, KeySet, key_ids
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, SecretRequest
from baas_operator.engine import applier
from baas_operator.engine.store import Key
from baas_operator.observe.keys import read_key_set, read_signing
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View, secret_text
from baas_operator.policy.instance_keys import KeysPlan, plan_keys
from tests.unit.objects import NAMESPACE, NOW, keyed, own, owner
from tests.unit.policy.rotating import Api, Rotating

SHOP = owner(BAAS_INSTANCE, "shop")
SIGNING, PUBLIC = "shop-signing-key", "shop-api-keys"
TOKEN_SECONDS = 3600
DRAIN_SECONDS = 60
SYNC_SECONDS = 120
PODS = 2


@dataclass
class Pod:
    """A pod: the revision of its Deployment, the set it verifies with, what it signs with, and since when it is going."""

    revision: int
    jwks: str
    signer: dict[str, Any] | None = None
    going: datetime | None = None


@dataclass
class Program:
    """A Deployment with its pods."""

    name: str
    signs: bool = False
    reloads: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    revision: int = 0
    observed: int = 0
    pods: list[Pod] = field(default_factory=list)

    @property
    def staying(self) -> list[Pod]:
        return [each for each in self.pods if each.going is None]

    def manifest(self) -> Manifest:
        annotations = {} if self.reloads else self.annotations
        made = SHOP.child("apps/v1", "Deployment", f"shop-{self.name}", self.name, spec={
            "replicas": PODS, "template": {"metadata": {"annotations": annotations}},
        })  # fmt: skip
        made["metadata"]["generation"] = self.revision
        made["status"] = {
            "observedGeneration": self.observed, "replicas": len(self.staying),
            "updatedReplicas": sum(each.revision == self.observed for each in self.staying),
        }  # fmt: skip
        return made


@dataclass(frozen=True)
class Token:
    """A user's token."""

    text: str
    kid: str
    until: datetime


@lru_cache(maxsize=10_000)
def user_token(signer: str) -> str:
    """A token that is signed with a private JWK. One a key is enough: all that differ in what they say are taken, or refused, alike."""
    key = jwt.PyJWK.from_dict(json.loads(signer))
    return jwt.encode({"role": "authenticated"}, key.key, algorithm=key.algorithm_name, headers={"kid": key.key_id})


@lru_cache(maxsize=100_000)
def verifies(text: str, jwks: str) -> bool:
    """Whether a token is taken by who has this set, as PyJWT judges it; its times are the model's."""
    found = {each.key_id: each for each in jwt.PyJWKSet.from_dict(json.loads(jwks)).keys}
    key = found.get(jwt.get_unverified_header(text)["kid"])
    if key is None:
        return False
    try:
        jwt.decode(text, key, algorithms=[key.algorithm_name], options={"verify_exp": False, "verify_iat": False, "verify_aud": False})
    except jwt.PyJWTError:
        return False
    return True


class World(Rotating):
    """The instance, its Secrets, its programs, and the time."""

    def __init__(self, **keys: Any) -> None:
        super().__init__(Api(), own(BAAS_INSTANCE, "shop"))
        self.keys = Keys.model_validate(keys)
        self.config: str | None = None
        self.changed = NOW
        self.programs = [Program("rest"), Program("gateway", reloads=True), Program("auth", signs=True)]
        self.restart()

    # --- the operator

    @property
    def requests(self) -> list[SecretRequest]:
        return key_secrets(SHOP, "instance", issuer="baas-operator", owned=False)

    def view(self) -> View:
        children = self.store.children(Key(BAAS_INSTANCE.name, NAMESPACE, "shop"))
        children |= keyed(*(each.manifest() for each in self.programs))
        if self.config is not None:
            told = {KEY_IDS_ANNOTATION: ",".join(key_ids(self.config))}
            children |= keyed(SHOP.child("v1", "ConfigMap", "shop-gateway", "gateway", data={"filter-jwt.yaml": "…"}, annotations=told))
        return View(self.resource, children, {}, self.now)

    def plan(self) -> KeysPlan:
        return plan_keys(self.view(), self.keys, self.requests, token_seconds=TOKEN_SECONDS)

    async def draw(self) -> None:
        """The Secrets, as engine/reconcile.py has them drawn."""
        drawn = self.plan().requests
        for each in drawn:
            await applier.ensure_secret(self.api, self.store, each)  # type: ignore[arg-type]
        if any(each.replaces for each in drawn):
            for each in self.plan().requests:
                if each not in drawn:
                    await applier.ensure_secret(self.api, self.store, each)  # type: ignore[arg-type]

    def carry_out(self, drawn: None) -> None:
        for each in self.programs:
            self.api.spend()
            self._apply(each)

    def _apply(self, program: Program) -> None:
        public = self.store.get(SECRET.name, NAMESPACE, PUBLIC)
        signing = self.store.get(SECRET.name, NAMESPACE, SIGNING)
        jwks = secret_text(public, "jwks.json")
        if jwks is None or (program.signs and secret_text(signing, "gotrue-keys.json") is None):
            return  # a kubelet starts no container that is to be given a key of a Secret that has it not
        if self.config != jwks:
            self.config, self.changed = jwks, self.now
        wanted = {KEY_IDS_ANNOTATION: ",".join(key_ids(jwks))}
        if program.signs:
            given = read_signing(signing)
            wanted = {KEY_IDS_ANNOTATION: ",".join(given.kids), SIGNER_ANNOTATION: given.signer or ""}
        if program.annotations != wanted:
            program.annotations = wanted
            if not program.reloads or not program.revision:
                program.revision += 1
        if not program.pods:
            program.observed = program.revision
            program.pods = [self._started(program) for _ in range(PODS)]

    async def settle(self, rounds: int = 30) -> None:
        """Reconciles and rollouts, until nothing is to be done at this time."""
        for _ in range(rounds):
            before = len(self.api.writes), [each.revision for each in self.programs], self.config
            await self.reconcile()
            rolled = [program for program in self.programs for _ in range(PODS) if self.roll(program)]
            if not rolled and before == (len(self.api.writes), [each.revision for each in self.programs], self.config):
                return
        raise AssertionError("it never comes to rest")

    # --- the cluster

    def live(self, name: str) -> Manifest:
        return self.api.objects[Key(SECRET.name, NAMESPACE, name)]

    def text(self, name: str, key: str) -> str:
        found = secret_text(self.live(name), key)
        assert found is not None
        return found

    @property
    def held(self) -> KeySet:
        found = read_key_set(self.live(SIGNING))
        assert found is not None
        return found

    def _started(self, program: Program) -> Pod:
        assert self.config is not None
        if not program.signs:
            return Pod(program.revision, self.config)
        keys = json.loads(self.text(SIGNING, "gotrue-keys.json"))
        (signer,) = (each for each in keys if "sign" in each["key_ops"])
        public = [{name: each[name] for name in each if name not in ("d", "p", "q", "dp", "dq", "qi", "key_ops")} for each in keys]
        return Pod(program.revision, json.dumps({"keys": public}, sort_keys=True), signer)

    def roll(self, program: Program) -> bool:
        """The Deployment's controller replaces one pod, if one is to be replaced."""
        program.observed = program.revision
        old = next((each for each in program.staying if each.revision != program.revision), None)
        if old is None or self.config is None:
            return False
        old.going = self.now
        program.pods.append(self._started(program))
        return True

    def bring(self, pod: Pod) -> None:
        """A kubelet brings a mounted file."""
        assert self.config is not None
        pod.jwks = self.config

    def passes(self, seconds: float) -> None:
        """Time passes, and what can not take longer is over."""
        self.now += timedelta(seconds=seconds)
        for program in self.programs:
            program.pods = [
                each for each in program.pods if each.going is None or self.now < each.going + timedelta(seconds=DRAIN_SECONDS)
            ]  # fmt: skip
            if program.reloads and self.now >= self.changed + timedelta(seconds=SYNC_SECONDS):
                for each in program.pods:
                    self.bring(each)

    # --- who uses it

    def verifiers(self) -> Iterator[Pod]:
        for program in self.programs:
            yield from program.pods

    def signers(self) -> list[Pod]:
        return [each for program in self.programs if program.signs for each in program.pods]

    def sign_in(self, pod: Pod) -> Token:
        """A token of a user who signs in there now."""
        assert pod.signer is not None
        return Token(user_token(json.dumps(pod.signer)), pod.signer["kid"], self.now + timedelta(seconds=TOKEN_SECONDS))

    def taken(self, text: str) -> set[bool]:
        """What those who verify say of a token: one answer where they agree."""
        return {verifies(text, pod.jwks) for pod in self.verifiers()}

    # --- people

    async def annotate(self, name: str = SIGNING, **annotations: str | None) -> None:
        self.store.put(await self.api.merge(SECRET, NAMESPACE, name, {"metadata": {"annotations": annotations}}))

    async def ask(self) -> None:
        """Somebody asks for another key."""
        await self.annotate(**{EXPIRES_ANNOTATION: to_text(self.now)})

    def spec(self, **keys: Any) -> None:
        self.keys = Keys.model_validate(self.keys.model_dump(by_alias=True) | keys)


async def ready(**keys: Any) -> World:
    """A backend that serves."""
    world = World(**keys)
    await world.settle()
    assert world.taken(world.text(PUBLIC, "anon")) == {True}
    return world


@pytest.fixture
async def world() -> World:
    return await ready()
