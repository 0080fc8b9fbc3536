"""A stand-in for the API server behind `Client`: objects by key, versions and uids given out in order, every write noted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from baas_operator.api.kinds import Kind
from baas_operator.desired.meta import Manifest
from baas_operator.engine.errors import ApiError
from baas_operator.engine.store import Key


def _merged(old: Any, new: Any) -> Any:
    """RFC 7386."""
    if not isinstance(new, dict):
        return copy.deepcopy(new)
    old = old if isinstance(old, dict) else {}
    made = {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return {key: value for key, value in made.items() if value is not None}


class StandInApi:
    """What `Client` offers, without a server. A list of an apply is taken as a whole, as if there were no other owners."""

    def __init__(self) -> None:
        self.objects: dict[Key, Manifest] = {}
        self.writes: list[tuple[str, str]] = []
        self.meanwhile: Callable[[Key], None] = lambda _: None
        """Called during each create: what happens in the world just then."""
        self._version = 100

    def _put(self, verb: str, key: Key, found: Manifest) -> Manifest:
        self._version += 1
        self.writes.append((verb, f"{key.kind}/{key.name}"))
        found["metadata"].setdefault("uid", f"uid-{self._version}")
        found["metadata"]["resourceVersion"] = str(self._version)
        self.objects[key] = found
        return copy.deepcopy(found)

    def _checked(self, key: Key, body: Manifest) -> Manifest:
        old = self.objects.get(key)
        version = body["metadata"].get("resourceVersion")
        if version and (old is None or old["metadata"]["resourceVersion"] != version):
            raise ApiError(409, "Conflict", "the object has been modified")
        return old or {}

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        return copy.deepcopy(self.objects.get(Key(kind.name, namespace or "", name)))

    async def apply(self, kind: Kind, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        key = Key(kind.name, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        old = self._checked(key, manifest)
        return self._put("status" if subresource else "apply", key, _merged(old, manifest))

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        key = Key(kind.name, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        self.meanwhile(key)
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f"{key} already exists")
        return self._put("create", key, copy.deepcopy(manifest))

    async def merge(self, kind: Kind, namespace: str | None, name: str, patch: dict[str, Any]) -> Manifest:
        key = Key(kind.name, namespace or "", name)
        if key not in self.objects:
            raise ApiError(404, "NotFound", f"{key} not found")
        return self._put("merge", key, _merged(self._checked(key, patch), patch))

    async def delete(self, kind: Kind, namespace: str | None, name: str, *, uid: str, foreground: bool = False) -> None:
        key = Key(kind.name, namespace or "", name)
        if key in self.objects and self.objects[key]["metadata"]["uid"] == uid:
            del self.objects[key]
            self.writes.append(("delete", f"{key.kind}/{key.name}"))
