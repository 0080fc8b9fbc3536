"""Whether an object already is as a manifest wants it, so that an idle fleet costs no writes.

A live object has more than what we asked for: defaults, status, fields of others. So the question is whether the manifest is
*contained* in it. What we stopped asking for is not seen that way: the hash of the manifest, kept in an annotation, tells that.
"""

from __future__ import annotations

from typing import Any

from baas_operator.desired.meta import Manifest, checksum
from baas_operator.desired.quantity import parse

HASH_ANNOTATION = "baas-operator.io/manifest-hash"
_QUANTITIES = frozenset({"cpu", "memory", "storage", "sizeLimit", "ephemeral-storage"})
_AMOUNTS = frozenset({"hard"})
"""Maps of quantities, whatever they are of: a ResourceQuota's."""
_UNHASHED = frozenset({"resourceVersion"})


def with_hash(manifest: Manifest) -> Manifest:
    """The manifest with its own hash in an annotation; a precondition (resourceVersion) is no part of the hash."""
    metadata = manifest["metadata"]
    hashed = manifest | {"metadata": {key: value for key, value in metadata.items() if key not in _UNHASHED}}
    # The endpoints of a slice belong to whoever leads: they change without the manifest's own wish having changed.
    hashed.pop("endpoints", None)
    annotations = (metadata.get("annotations") or {}) | {HASH_ANNOTATION: checksum(hashed)}
    return manifest | {"metadata": metadata | {"annotations": annotations}}


def contained(wanted: Any, have: Any, key: str = "", within: str = "") -> bool:
    """Whether all of `wanted` is in `have`. Lists must match item by item, as an item more is a change; empty equals absent."""
    if isinstance(wanted, dict):
        if not isinstance(have, dict):
            return not wanted and have is None
        return all(contained(value, have.get(name), name, key) for name, value in wanted.items())
    if isinstance(wanted, list):
        have = have or []
        return len(wanted) == len(have) and all(contained(one, other) for one, other in zip(wanted, have, strict=True))
    if wanted == have:
        return True
    if wanted in ("", False, 0) and have is None:
        return True
    if (key in _QUANTITIES or within in _AMOUNTS) and isinstance(wanted, str) and isinstance(have, str):
        return _same_quantity(wanted, have)
    return False


def _same_quantity(one: str, other: str) -> bool:
    """Whether two quantities are the same number. One in a form that is not ours is whoever's it may be, not what was wanted."""
    try:
        return parse(one) == parse(other)
    except ValueError:
        return False


def up_to_date(manifest: Manifest, live: Manifest) -> bool:
    """Whether `live` needs no apply. `manifest` has its hash already."""
    wanted = manifest | {"metadata": {k: v for k, v in manifest["metadata"].items() if k not in _UNHASHED}}
    return contained(wanted, live)
