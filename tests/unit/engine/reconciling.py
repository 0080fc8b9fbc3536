"""One operator with its store, over a stand-in for the API server: what stories of whole reconciles begin with."""

from __future__ import annotations

import copy
from typing import cast

from baas_operator.api.kinds import OwnKind
from baas_operator.desired.meta import Manifest
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.reconcile import Outcome, Reconciler
from baas_operator.engine.store import Key, Store
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, ZONES, nodes, own


class Operator:
    """One operator with its store, over a stand-in."""

    def __init__(self, kind: OwnKind, name: str, **spec: object) -> None:
        self.api = StandInApi()
        self.store = Store()
        for each in nodes(*ZONES).values():
            self.store.put(each)
        self.key = Key(kind.name, NAMESPACE, name)
        self.api.objects[self.key] = own(kind, name, dict(spec))
        self.store.put(copy.deepcopy(self.api.objects[self.key]))
        self.restart(Config())

    def restart(self, config: Config) -> None:
        """Another operator with other settings takes over."""
        self._reconciler = Reconciler(cast(Client, self.api), self.store, config)

    async def outcome(self) -> Outcome:
        """What one reconcile says of itself."""
        return await self._reconciler.reconcile(self.key)

    async def reconcile(self) -> list[tuple[str, str]]:
        """The writes of one reconcile."""
        self.api.writes.clear()
        await self.outcome()
        return [each for each in self.api.writes if not each[1].startswith("Event/")]

    def live(self, kind: str, name: str) -> Manifest | None:
        return self.api.objects.get(Key(kind, NAMESPACE, name))

    def delete_by_hand(self, kind: str, name: str) -> None:
        """Somebody deletes an object, and the watch tells."""
        self.store.drop(self.api.objects.pop(Key(kind, NAMESPACE, name)))

    def ready(self) -> Manifest:
        found: Manifest = self.api.objects[self.key]["status"]
        return next(each for each in found["conditions"] if each["type"] == "Ready")
