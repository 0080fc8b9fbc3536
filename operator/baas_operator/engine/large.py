"""Objects that the store does not keep, as they are too large: each would be as if it were not there, made and never seen, for good and
without a word. So they are refused."""

from __future__ import annotations

from baas_operator.desired.meta import Manifest
from baas_operator.engine.errors import ObjectRefused
from baas_operator.engine.store import LARGEST_CHILD, Store, key_of, size, slim

_LARGEST = LARGEST_CHILD * 3 // 4
"""Characters of a manifest: the API server adds defaults and a status to it, and has to leave it below what the store keeps."""
_KIB = 1024


def refuse_too_large(wanted: Manifest) -> None:
    """Raises ObjectRefused: it would be too large."""
    found, key = size(slim(wanted)), key_of(wanted)
    if found > _LARGEST:
        raise ObjectRefused(
            "TooLarge",
            f"{key.kind} {key.name!r} would have {found // _KIB} KiB, and may have {_LARGEST // _KIB}: say less in the part of the spec "
            "that it is made of. Long values of env can be in a ConfigMap or a Secret, and files in a volume.",
        )


def refuse_unkept(store: Store, live: Manifest) -> None:
    """Raises ObjectRefused: the store does not keep one that is there, as it is too large."""
    key = key_of(live)
    if store.get(*key) is None and (found := size(slim(live))) > LARGEST_CHILD:
        raise ObjectRefused(
            "TooLarge",
            f"{key.kind} {key.name!r} has {found // _KIB} KiB, more than the {LARGEST_CHILD // _KIB} that the operator looks at: somebody "
            "else has added to it. Take that out, or say less in the part of the spec that it is made of.",
        )
