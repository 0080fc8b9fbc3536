"""An API server that does not take some objects, and a backend with its operator: what stories of all that is not taken begin with."""

from __future__ import annotations

import copy
from typing import Any, cast

from baas_operator.api.kinds import BAAS_INSTANCE, Kind
from baas_operator.desired.key_set import KeySet
from baas_operator.desired.meta import Manifest
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import ApiError
from baas_operator.engine.reconcile import Outcome, Reconciler
from baas_operator.engine.store import Key, Store
from baas_operator.observe.keys import read_key_set
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, ZONES, nodes, own

QUOTA = ApiError(403, "Forbidden", 'poddisruptionbudgets "x" is forbidden: exceeded quota: tight, used: 3, limited: 3')
INVALID = ApiError(422, "Invalid", "spec.template.spec.containers[0].env[0].name: Invalid value")
LARGE = ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
HOOK = ApiError(500, "InternalError", 'failed calling webhook "policy.example": connection refused')
BUSY = ApiError(429, "TooManyRequests", "the server has received too many requests")
DENIED = ApiError(409, "Conflict", 'admission webhook "policy.example" denied the request: no budgets here')
BUDGET, GATEWAY = ("PodDisruptionBudget", "shop-gateway"), ("Deployment", "shop-gateway")


class PickyApi(StandInApi):
    """A stand-in that does not take some objects. `asked`: what it was asked to write, whether it took it or not."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: dict[tuple[str, str], Exception] = {}
        self.asked: list[tuple[str, str]] = []

    def _look(self, kind: Kind, name: str) -> None:
        if kind.name != "Event":
            self.asked.append((kind.name, name))
        if (kind.name, name) in self.refuses:
            raise self.refuses[kind.name, name]

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        if ("GET", name) in self.refuses:
            raise self.refuses["GET", name]
        return await super().get(kind, namespace, name)

    async def apply(self, kind: Kind, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        if subresource is None:
            self._look(kind, manifest["metadata"]["name"])
        return await super().apply(kind, manifest, subresource=subresource)

    async def merge(self, kind: Kind, namespace: str | None, name: str, patch: dict[str, Any]) -> Manifest:
        self._look(kind, name)
        return await super().merge(kind, namespace, name, patch)

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        self._look(kind, manifest["metadata"]["name"])
        return await super().create(kind, manifest)


class Shop:
    """A backend, and its operator."""

    def __init__(self, kind: Any = BAAS_INSTANCE, name: str = "shop", **spec: Any) -> None:
        self.api, self.store = PickyApi(), Store()
        for each in nodes(*ZONES).values():
            self.store.put(each)
        self.key = Key(kind.name, NAMESPACE, name)
        self.api.objects[self.key] = own(kind, name, spec)
        self.store.put(copy.deepcopy(self.api.objects[self.key]))
        self._version = 9000
        self._reconciler = Reconciler(cast(Client, self.api), self.store, Config())

    async def reconcile(self) -> Outcome:
        self.api.asked.clear()
        return await self._reconciler.reconcile(self.key)

    @property
    def keys(self) -> KeySet:
        """Its signing keys."""
        found = read_key_set(self.api.objects[Key("Secret", NAMESPACE, "shop-signing-key")])
        assert found
        return found

    def revoke_its_key(self) -> str:
        """Somebody revokes the key that signs."""
        self.edit(keys={"revoked": [self.keys.current.kid]})
        return self.keys.current.kid

    def edit(self, **spec: Any) -> None:
        """Somebody writes another spec."""
        changed = copy.deepcopy(self.api.objects[self.key])
        changed["spec"] = spec
        self._version += 1
        changed["metadata"]["resourceVersion"] = str(self._version)
        self.api.objects[self.key] = changed
        self.store.put(copy.deepcopy(changed))

    def refuse(self, what: tuple[str, str], error: Exception) -> None:
        self.api.refuses[what] = error

    def has(self, what: tuple[str, str]) -> bool:
        return Key(what[0], NAMESPACE, what[1]) in self.api.objects

    def told(self, kind: str) -> tuple[str, str] | None:
        found = self.api.objects[self.key]["status"]["conditions"]
        return next(((each["reason"], each["message"]) for each in found if each["type"] == kind), None)

    def names(self) -> set[tuple[str, str]]:
        return {(key.kind, key.name) for key in self.api.objects if key.kind != "Event"}


async def everything(**spec: Any) -> set[tuple[str, str]]:
    shop = Shop(**spec)
    await shop.reconcile()
    return shop.names()
