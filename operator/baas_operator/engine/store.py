"""What the watches hold: the objects as last seen, by key and by the object of ours that they belong to.

Both the watches and our own writes' answers put objects in; a resourceVersion that is older than what is there is dropped, so that a
late event can not undo what we know to have written. (Comparing resource versions as numbers is allowed since Kubernetes 1.35 and
true of every API server on etcd before.)
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from baas_operator.api.kinds import CONFIG_MAP, OWN_KINDS, SECRET
from baas_operator.desired.database import names
from baas_operator.desired.instance.keys import PUBLIC_KEYS, SIGNING_KEYS
from baas_operator.desired.instance.names import api_keys_secret, signing_key_secret
from baas_operator.desired.meta import DIGEST, KIND_LABEL, NAME_LABEL, Manifest, checksum
from baas_operator.engine.errors import Failing, ObjectRefused

_OWN = frozenset(kind.name for kind in OWN_KINDS)
_TOMBSTONES = 2000
_LOST = 120
"""What is kept of deleted secrets for each object of ours: more than it can have, so that nobody's secrets push out another's."""
_ROOM, _ENTRY = 16384, 64
"""Characters that are kept of an object's data, of its annotations and of its labels; and what an entry costs beside its own."""
_ROOM_FOR_KEYS = 65536
"""The same of the data of a Secret of signing keys, or of API keys, where they come first. A full set of RSA with 4,096 bits takes 45,000;
without it the Secret would look like one that has no set yet, and a backend without a set has no components."""
LARGEST_CHILD = 131072
"""Characters of what is left of a child. Ours have a tenth of it, unless the user says very much (large.py)."""
_CONFIG = "config"
"""The annotation with Patroni's configuration: kept as long as the API server takes it (256 KiB), as nothing in it is changed without."""


class Key(NamedTuple):
    """An object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def key_of(resource: Manifest) -> Key:
    """The key of an object; cluster-scoped ones have an empty namespace."""
    metadata = resource["metadata"]
    return Key(resource["kind"], metadata.get("namespace") or "", metadata["name"])


def owner_of(resource: Manifest) -> Key | None:
    """The object of ours that a child belongs to, by its labels."""
    labels = resource["metadata"].get("labels") or {}
    kind, name = labels.get(KIND_LABEL), labels.get(NAME_LABEL)
    if kind in _OWN and name:
        return Key(kind, resource["metadata"].get("namespace") or "", name)
    return None


def slim(resource: Manifest) -> Manifest:
    """What is kept of an object: anybody may make thousands with our labels, each as large as the API server takes it.

    managedFields are dropped, as nobody reads them here. Of large data, annotations and labels the short values are kept, which is what
    decisions look at (passwords, Patroni's notes), and for the others a digest under `DIGEST`, so that a change is seen.
    """
    metadata = {key: value for key, value in resource["metadata"].items() if key != "managedFields"}
    whole = (_CONFIG,) if _configures(resource) else ()
    metadata |= {
        part: _short(metadata[part], whole if part == "annotations" else ()) for part in ("annotations", "labels") if part in metadata
    }
    first = _keys_in(resource)
    room = _ROOM_FOR_KEYS if first else _ROOM
    kept = {part: _short(resource[part], first=first, room=room) for part in ("data", "binaryData") if part in resource}
    return resource | {"metadata": metadata} | kept


def _configures(resource: Manifest) -> bool:
    """Whether it is the ConfigMap, one an object of ours, with Patroni's dynamic configuration, which has all of `spec.parameters`."""
    metadata = resource["metadata"]
    of: str = (metadata.get("labels") or {}).get(NAME_LABEL, "")
    return resource["kind"] == CONFIG_MAP.name and bool(of) and metadata["name"] == names.dynamic_config_map(of)


def _keys_in(resource: Manifest) -> tuple[str, ...]:
    """The values of a Secret, two an object of ours, that its keys are in, private or public."""
    metadata = resource["metadata"]
    of: str = (metadata.get("labels") or {}).get(NAME_LABEL, "")
    if resource["kind"] != SECRET.name or not of:
        return ()
    return {signing_key_secret(of): SIGNING_KEYS, api_keys_secret(of): PUBLIC_KEYS}.get(metadata["name"], ())


def _short(
    values: dict[str, str] | None, whole: Collection[str] = (), *, first: Collection[str] = (), room: int = _ROOM
) -> dict[str, str] | None:
    costs = sorted((key not in first, len(key) + len(value) + _ENTRY, key) for key, value in (values or {}).items() if key not in whole)
    if not values or sum(cost for _, cost, _ in costs) <= room:
        return values
    kept, room = {key: values[key] for key in whole if key in values} | {DIGEST: checksum(values)}, room - 2 * _ENTRY
    for _, cost, key in costs:
        room -= cost
        if room < 0:
            break
        kept[key] = values[key]
    return kept


def size(resource: Manifest) -> int:
    """Characters of what is kept of an object (`slim`)."""
    metadata = resource["metadata"]
    if _configures(resource):
        metadata = metadata | {"annotations": {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _CONFIG}}
    return len(json.dumps(resource | {"metadata": metadata}))


def _version(resource: Manifest) -> int:
    text = resource["metadata"].get("resourceVersion") or "0"
    return int(text) if text.isdigit() else 0


class Store:
    """Objects by key and by owner."""

    def __init__(self) -> None:
        self._objects: dict[Key, Manifest] = {}
        self._kinds: dict[str, set[Key]] = defaultdict(set)
        self._children: dict[Key, set[Key]] = defaultdict(set)
        self._gone: dict[Key, tuple[str | None, int]] = {}
        """Objects that were deleted: uid, and the version as of which they were gone."""
        self._lost: dict[Key, dict[Key, Manifest]] = {}
        self.contested: dict[Key, str] = {}
        """Objects that others change as soon as they are written, and the manifest (its hash) for which that was seen."""
        self.failing: dict[Key, dict[Key, ObjectRefused | Failing]] = {}
        self.untaken: dict[Key, frozenset[Key]] = {}
        """By object of ours: what the API server does not take of it, and in `untaken` what needs that, too (taking.py)."""
        self.served: frozenset[str] = frozenset()
        """Optional kinds that the API server has, as far as was asked."""

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """An object, or None."""
        return self._objects.get(Key(kind, namespace, name))

    def of_kind(self, kind: str, namespace: str | None = None) -> Iterator[Manifest]:
        """All objects of a kind."""
        for key in list(self._kinds[kind]):
            if namespace in (None, key.namespace) and (resource := self._objects.get(key)) is not None:
                yield resource

    def children(self, owner: Key) -> dict[tuple[str, str], Manifest]:
        """The children of an object of ours, by (kind, name)."""
        return {(key.kind, key.name): self._objects[key] for key in self._children.get(owner, ())}

    def last_seen(self, owner: Key, key: Key) -> Manifest | None:
        """A secret that was deleted while its object lives, as it was last seen: it comes back with its old content. With the object
        that is forgotten: a namespace's name may by then belong to somebody else, who must not be given an old password."""
        return self._lost.get(owner, {}).get(key)

    def put(self, resource: Manifest) -> bool:
        """Take what is needed of an object in; False if a newer one is there already."""
        key, resource = key_of(resource), slim(resource)
        old = self._objects.get(key)
        if old is not None and _version(old) >= _version(resource):
            return False
        gone = self._gone.get(key)
        if old is None and gone is not None and gone[0] == resource["metadata"].get("uid") and _version(resource) <= gone[1]:
            return False  # a late event of an object that is deleted by now; a newer one had but lost our label for a while
        if key.kind not in _OWN and owner_of(resource) and size(resource) > LARGEST_CHILD:
            return old is not None and self.drop(old)  # whoever needs it asks for it, as for one that is not there
        self._objects[key] = resource
        self._kinds[key.kind].add(key)
        before, after = (owner_of(old) if old else None), owner_of(resource)
        if before and before != after:
            self._children[before].discard(key)
        if after:
            self._children[after].add(key)
        return True

    def drop(self, resource: Manifest) -> bool:
        """Forget an object; False if that very one (uid) is not there, for example as a new one of its name is."""
        key = key_of(resource)
        old = self._objects.get(key)
        if old is None or old["metadata"].get("uid") != resource["metadata"].get("uid"):
            return False
        del self._objects[key]
        self._kinds[key.kind].discard(key)
        owner = owner_of(old)
        if owner:
            self._children[owner].discard(key)
            if not self._children[owner]:
                del self._children[owner]
        self._gone[key] = old["metadata"].get("uid"), max(_version(old), _version(resource))
        while len(self._gone) > _TOMBSTONES:
            del self._gone[next(iter(self._gone))]
        if key.kind == SECRET.name and owner in self._objects:
            lost = self._lost.setdefault(owner, {})
            lost[key] = old | {"data": {name: value for name, value in (old.get("data") or {}).items() if name != DIGEST}}
            while len(lost) > _LOST:
                del lost[next(iter(lost))]
        if key.kind in _OWN:
            for memory in (self._lost, self.failing, self.untaken):
                memory.pop(key, None)
        return True

    def known(self, kind: str) -> dict[Key, str | None]:
        """The uids of a kind's objects: to be taken before a list is asked for, and given to `replace` with its answer."""
        return {key: resource["metadata"].get("uid") for key, resource in self._objects.items() if key.kind == kind}

    def replace(self, resources: Iterable[Manifest], *, known: Mapping[Key, str | None]) -> list[Manifest]:
        """Take a full list of a kind in; returns the objects that the watches had missed: new, changed, or gone.

        Only what was there before the list was asked for can be gone by it: what was made meanwhile is in no list yet. Noise is not
        missed: a list is always a moment ahead of the watches, and in a busy fleet some lock was renewed in that moment.
        """
        listed = {key_of(resource): resource for resource in resources}
        missed = []
        for key, resource in listed.items():
            old = self._objects.get(key)
            if self.put(resource) and significant(old, resource):
                missed.append(resource)
        for key, uid in known.items():
            gone = self._objects.get(key)
            if key not in listed and gone is not None and gone["metadata"].get("uid") == uid and self.drop(gone):
                missed.append(gone)
        return missed


def significant(old: Manifest | None, new: Manifest) -> bool:
    """Whether a change of an object deserves a reconcile: a lock's renewal and a node's heartbeat do not."""
    if old is None:
        return True
    return bool(_essence(old) != _essence(slim(new)))


_POSITIONS = ("xlog_location", "receive_lsn", "replay_lsn", "lag")


def _essence(resource: Manifest) -> Any:
    metadata = resource["metadata"]
    kept = {key: metadata.get(key) for key in ("labels", "ownerReferences", "deletionTimestamp", "finalizers", "generation")}
    annotations = dict(metadata.get("annotations") or {})
    match resource["kind"]:
        case "Node":
            conditions = [
                (each["type"], each["status"]) for each in (resource.get("status") or {}).get("conditions") or []
                if each["type"] == "Ready"
            ]  # fmt: skip
            spec = resource.get("spec") or {}
            return kept["labels"], kept["deletionTimestamp"], conditions, spec.get("taints"), spec.get("unschedulable")
        case "ConfigMap":
            for noise in ("renewTime", "optime", "slots", "retain_slots"):
                annotations.pop(noise, None)
            return kept, annotations, resource.get("data")
        case "Pod":
            # Patroni notes its positions in the log here, every other second while there are writes.
            status = annotations.pop("status", "")
            told = "".join(part for part in status.split(",") if not any(each in part for each in _POSITIONS))
            live = resource.get("status") or {}
            return kept, annotations, told, live.get("phase"), live.get("podIP"), live.get("conditions"), [
                (each.get("ready"), each.get("restartCount"), each.get("state", {}).keys())
                for each in [*(live.get("initContainerStatuses") or []), *(live.get("containerStatuses") or [])]
            ]  # fmt: skip
        case _:
            return {**resource, "metadata": {**kept, "annotations": annotations}}
