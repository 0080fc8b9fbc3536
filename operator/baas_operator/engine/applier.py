"""Apply: bring manifests about with server-side apply, only where they differ; and prune what is no longer wanted."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Iterable
from functools import partial
from urllib.parse import urlsplit

from baas_operator.api.group import GROUP
from baas_operator.api.kinds import ALL_KINDS, OPTIONAL_KINDS, OWN_KINDS, POD, SECRET, VOLUME_CLAIM, Kind, kind_of
from baas_operator.desired.instance.keys import PUBLIC, SIGNING
from baas_operator.desired.key_set import SIGNER_ANNOTATION, WRITTEN_ANNOTATION
from baas_operator.desired.meta import DIGEST, Manifest
from baas_operator.desired.needs import needs
from baas_operator.desired.secrets import (
    CONTENT_ANNOTATION,
    EXPIRES_ANNOTATION,
    OVERLAP_ANNOTATION,
    PREPARED_ANNOTATION,
    ROTATED_ANNOTATION,
    SecretRequest,
)
from baas_operator.engine.certificates import CannotSignError
from baas_operator.engine.client import Client
from baas_operator.engine.differ import HASH_ANNOTATION, up_to_date, with_hash
from baas_operator.engine.errors import CHILD_GOING, OLD_CHILDREN_GOING, ApiError, Refused, Waiting
from baas_operator.engine.generate import build_secret, complete, outline
from baas_operator.engine.large import refuse_too_large, refuse_unkept
from baas_operator.engine.store import Key, Store, key_of, owner_of
from baas_operator.engine.unlock import end_copy, restored, unlock
from baas_operator.observe.view import secret_text

_KEPT = frozenset({POD.name, VOLUME_CLAIM.name})
"""Kinds that are never pruned: pods belong to their workload, volumes to the user's data."""

_UNWATCHED = frozenset(kind.name for kind in OPTIONAL_KINDS)
"""Kinds of which no watch tells that an object is gone."""

_TOLD = (
    EXPIRES_ANNOTATION, CONTENT_ANNOTATION, OVERLAP_ANNOTATION, PREPARED_ANNOTATION, ROTATED_ANNOTATION, SIGNER_ANNOTATION,
    WRITTEN_ANNOTATION,
)  # fmt: skip
"""Annotations of a Secret that say something about what it holds."""

_KEYS = (SIGNING, PUBLIC)
"""Recipes of Secrets that were immutable once."""

_log = logging.getLogger(__name__)


async def _ours(client: Client, store: Store, manifest: Manifest) -> Manifest | None:
    """The live object, from the store or, where it has none, from the API server.

    Raises:
        Refused: an object of that name belongs to somebody else: we never take it over.
        Waiting: it belongs to an object of ours that is being deleted.
    """
    key = key_of(manifest)
    live = store.get(*key)
    if live is None:
        live = await client.get(kind_of(manifest), key.namespace, key.name)
        if live is None:
            return None
    theirs = {each.get("uid") for each in live["metadata"].get("ownerReferences") or [] if each.get("controller") and _to_ours(each)}
    mine = {each.get("uid") for each in manifest["metadata"].get("ownerReferences") or []}
    belongs = owner_of(live)
    # One whose labels were taken off by hand is still ours by its owner reference.
    if belongs != owner_of(manifest) and (belongs is not None or not mine & theirs):
        whose = f"the {belongs.kind} {belongs.name!r}" if belongs else "somebody else"
        remedy = "create this object under another name" if belongs else "delete it or give this object another name"
        raise Refused("NameTaken", f"{key.kind} {key.name!r} exists in namespace {key.namespace} and belongs to {whose}: {remedy}.")
    if theirs and mine and theirs != mine:
        raise Waiting(OLD_CHILDREN_GOING, f"{key.kind} {key.name!r} of an earlier object is still being deleted", 2.0)
    if live["metadata"].get("deletionTimestamp"):
        raise Waiting(CHILD_GOING, f"{key.kind} {key.name!r} is being deleted", 1.0)
    store.put(live)
    return live


def _to_ours(reference: Manifest) -> bool:
    """Whether an owner reference leads to an object of ours."""
    group = str(reference.get("apiVersion")).partition("/")[0]
    return group == GROUP and reference.get("kind") in {kind.name for kind in OWN_KINDS}


async def apply(client: Client, store: Store, manifest: Manifest) -> bool:
    """Bring a manifest about; True if a write was needed."""
    wanted = with_hash(manifest)
    live = await _ours(client, store, wanted)
    if live is not None and DIGEST in (live.get("data") or {}):
        live = await client.get(kind_of(wanted), wanted["metadata"]["namespace"], wanted["metadata"]["name"])  # large: the store has a part
    if live is not None and up_to_date(wanted, live):
        refuse_unkept(store, live)
        return False
    refuse_too_large(wanted)
    written = await client.apply(kind_of(wanted), wanted)
    if not up_to_date(wanted, written):
        written = await _take_out(client, store, wanted, written)
    store.put(written)
    refuse_unkept(store, written)
    _log.info("applied", extra={"child": f"{wanted['kind']}/{wanted['metadata']['name']}"})
    return True


async def _take_out(client: Client, store: Store, wanted: Manifest, live: Manifest) -> Manifest:
    """Remove what somebody else put into our lists (a port, a container): server-side apply leaves that where it is, as its owner is
    another. In a merge patch a list is a whole. Labels, annotations and whole fields of others are no concern of ours.

    Where an admission webhook puts it back at once, that was the last time for this manifest: every round would be an event, and so
    the next round.
    """
    key, wish = key_of(wanted), wanted["metadata"]["annotations"][HASH_ANNOTATION]
    if store.contested.get(key) == wish:
        return live
    body = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    metadata = live["metadata"]
    patch = {**body, "metadata": {"resourceVersion": metadata["resourceVersion"]}}
    written = await client.merge(kind_of(wanted), metadata["namespace"], metadata["name"], patch)
    if not up_to_date(wanted, written):
        store.contested[key] = wish
        _log.warning("somebody else changes what we write, at once: left as it is", extra={"child": f"{key.kind}/{key.name}"})
    return written


async def ensure_secret(client: Client, store: Store, request: SecretRequest) -> None:
    """Make a secret if there is none, and replace the content of one that is due. One that was deleted while we watched comes back with
    what it held."""
    wanted = outline(request)
    live = await _ours(client, store, wanted)
    if live is not None:
        mutable = request.rotates and (request.recipe in _KEYS or not live.get("immutable"))
        _complete(request.random if mutable else wanted["data"], live, blank=not mutable)
        _same_place(wanted, live)
        await _adopt(client, store, wanted, live)
        await end_copy(client, store, live)
        if request.replaces == live["metadata"]["resourceVersion"]:
            if live.get("immutable"):
                await unlock(client, store, live)
            else:
                await _replace(client, store, request, live)
        elif request.recipe == "password" and request.rotates and not live.get("immutable"):
            await _follow(client, store, request, live)
        return
    if request.recipe in _KEYS and await restored(client, store, wanted):
        return
    made = await _drawn(store, request, None)
    belongs = owner_of(made)
    lost = store.last_seen(belongs, key_of(made)) if belongs else None
    if lost is not None and all(secret_text(lost, key) is not None for key in wanted["data"]):
        made["data"] = lost["data"]
        if request.certificate or request.alternate or request.recipe in ("webhook", *_KEYS):
            had = lost["metadata"].get("annotations") or {}
            made["metadata"]["annotations"] = {key: had[key] for key in _TOLD if key in had}
    else:
        lost = None
    try:
        store.put(await client.create(SECRET, made))
    except ApiError as error:
        if not error.conflict:
            raise
        # Another leader was faster: what it drew counts.
        raise Waiting("SecretExists", f"secret {request.name!r} was made by another", 0.2) from error
    _log.info("secret made", extra={"secret": request.name, "restored": lost is not None})


async def _drawn(store: Store, request: SecretRequest, live: Manifest | None) -> Manifest:
    """The secret as drawn now; `live` is the one that it replaces.

    Raises:
        Waiting: what it is made from is not there yet. Refused: that can not sign, or has no key.
    """
    source = store.get(SECRET.name, request.owner.namespace, request.source) if request.source else live
    if request.source and source is None:
        raise Waiting("SecretMissing", f"secret {request.source!r} is not there yet", 0.5)
    draw = partial(build_secret, request, source=source, now=int(time.time()), live=live)
    try:
        # An RSA key takes a tenth of a second, and on a busy node seconds, for which the others, and the Lease, do not wait.
        return await asyncio.to_thread(draw) if request.recipe == SIGNING else draw()
    except CannotSignError as error:
        name = request.source or request.name
        raise Refused(
            "SecretIncomplete",
            f"Secret {name!r} can not sign certificates: put a CA certificate (ca.crt) and its key (ca.key), both PEM, into it.",
        ) from error


async def _replace(client: Client, store: Store, request: SecretRequest, live: Manifest) -> None:
    """Draw a certificate or a password anew in its place: all that it says and its annotations in one write, to that very version."""
    made = await _drawn(store, request, live)
    annotations = made["metadata"].get("annotations") or {EXPIRES_ANNOTATION: None}
    metadata = {"resourceVersion": live["metadata"]["resourceVersion"], "annotations": annotations}
    store.put(await client.merge(SECRET, request.owner.namespace, request.name, {"metadata": metadata, "data": made["data"]}))
    _log.info("secret renewed", extra={"secret": request.name})


async def _follow(client: Client, store: Store, request: SecretRequest, live: Manifest) -> None:
    """What is said beside a password follows it, and the object: a URI of one that was written by hand."""
    drawn = {key: secret_text(live, key) or "" for key in request.random}
    wanted = {key: text for key, text in complete(request, drawn, secret_text(live, "username")).items() if secret_text(live, key) != text}
    if wanted:
        data = {key: base64.b64encode(text.encode()).decode() for key, text in wanted.items()}
        patch = {"metadata": {"resourceVersion": live["metadata"]["resourceVersion"]}, "data": data}
        store.put(await client.merge(SECRET, request.owner.namespace, request.name, patch))
        _log.info("secret completed", extra={"secret": request.name})


def _complete(keys: Iterable[str], live: Manifest, *, blank: bool) -> None:
    """A secret that was made or changed by hand under our name and labels must have what ours has. `blank`: it may be nothing; a password
    may not, as PostgreSQL would take away the one that there is.

    Raises:
        Refused: it lacks keys.
    """
    lacking = sorted(key for key in keys if (text := secret_text(live, key)) is None or not (text or blank))
    if lacking:
        name = live["metadata"]["name"]
        raise Refused("SecretIncomplete", f"Secret {name!r} lacks {', '.join(lacking)}: add them, or delete it and a new one is made.")


def _same_place(wanted: Manifest, live: Manifest) -> None:
    """A kept secret leads to where its password is known; an object that was made anew may mean another place.

    Raises:
        Refused: they differ: clients would silently go on with the old one.
    """
    here, there = _host(wanted), _host(live)
    if here and there and here != there:
        name = wanted["metadata"]["name"]
        raise Refused(
            "SecretOfAnotherPlace",
            f"Secret {name!r} is kept from an earlier object and leads to {there}, but this one uses {here}: delete the Secret, or give "
            "this object another name.",
        )


def _host(secret: Manifest) -> str | None:
    try:
        return urlsplit(base64.b64decode((secret.get("data") or {}).get("uri", "")).decode()).hostname
    except ValueError:
        return None


async def _adopt(client: Client, store: Store, wanted: Manifest, live: Manifest) -> None:
    """Labels and owner of a kept secret follow the object (another uid, another deletion policy); its content never changes. What owns it
    beside an object of ours (a SealedSecret, an ExternalSecret) still does."""
    meta, have = wanted["metadata"], live["metadata"]
    had = have.get("ownerReferences") or []
    others = [each for each in had if not _to_ours(each)]
    # The API server takes one controller.
    role = {"controller": False} if any(each.get("controller") for each in others) else {}
    references = others + [each | role for each in meta.get("ownerReferences") or []]
    same_labels = all((have.get("labels") or {}).get(key) == value for key, value in meta["labels"].items())
    if same_labels and {each["uid"] for each in references} == {each["uid"] for each in had}:
        return
    patch = {"metadata": {"resourceVersion": have["resourceVersion"], "labels": meta["labels"], "ownerReferences": references}}
    store.put(await client.merge(SECRET, meta["namespace"], meta["name"], patch))


async def prune(
    client: Client, store: Store, children: Iterable[Manifest], wanted: Iterable[Key], owner_uid: str, only: Kind | None = None
) -> int:  # fmt: skip
    """Delete the children that no manifest wants any more; only what this very object controls, and what we applied. `only`: of that
    kind. What needs others goes before them: a policy that shuts all, before those that open."""
    keep = set(wanted)
    unwanted = []
    for child in children:
        key, metadata = key_of(child), child["metadata"]
        controlled = any(each.get("controller") and each.get("uid") == owner_uid for each in metadata.get("ownerReferences") or [])
        applied = HASH_ANNOTATION in (metadata.get("annotations") or {})
        if only is not None and key.kind != only.name:
            continue
        if key in keep or key.kind in _KEPT or not controlled or not applied or metadata.get("deletionTimestamp"):
            continue
        unwanted.append(child)
    for child in sorted(unwanted, key=lambda each: not needs(each, unwanted)):
        key = key_of(child)
        await client.delete(ALL_KINDS[key.kind], key.namespace, key.name, uid=child["metadata"]["uid"])
        if key.kind in _UNWATCHED:
            store.drop(child)
        _log.info("pruned", extra={"child": f"{key.kind}/{key.name}"})
    return len(unwanted)
