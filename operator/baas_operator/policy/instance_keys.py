"""What is decided about the keys of a backend, and what is told of them: the Secrets that are due, and why a rotation waits.

The steps themselves are in keys.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from baas_operator.api.instance.keys import Keys, KeysPhase, KeysStatus, KeyStatus
from baas_operator.api.kinds import SECRET
from baas_operator.desired.instance.keys import API_KEYS, PUBLIC, PUBLIC_KEYS, SIGNING, SIGNING_KEYS
from baas_operator.desired.key_set import ADOPTED, NEW, KeySet, KeySetWanted, KeyState, SigningKey
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, SecretRequest
from baas_operator.observe.keys import (
    Published,
    ignorant,
    read_key_set,
    read_published,
    signers_use,
    still_given,
    untouched,
    verifiers_know,
)
from baas_operator.observe.moments import read_time, to_text, to_time
from baas_operator.observe.text import are
from baas_operator.observe.view import View
from baas_operator.policy.keys import ACCESS_TOKEN_SECONDS, LEARN_SECONDS, Seen, end_of, next_set, overlap_seconds
from baas_operator.policy.plan import Finding

Proof = Callable[[View, str], bool]
"""Whether everybody is seen to know, or use, the key of that id."""


@dataclass(frozen=True)
class KeysPlan:
    """What is decided about keys. `requests`: all that were given, where those that are due say so. `stalled`: what somebody has to put
    right, while all serves. `progress`: what a rotation waits for. `wake_seconds`: until the next step that no event would tell of."""

    requests: tuple[SecretRequest, ...]
    status: KeysStatus | None = None
    stalled: Finding | None = None
    progress: Finding | None = None
    wake_seconds: float | None = None


def plan_keys(
    view: View, keys: Keys, requests: Iterable[SecretRequest], *, token_seconds: int = ACCESS_TOKEN_SECONDS,
    learn_seconds: float = LEARN_SECONDS, known: Proof = verifiers_know, used: Proof = signers_use,
) -> KeysPlan:  # fmt: skip
    """Decide about the keys of an instance. `requests` are all of its Secrets, or just those of keys (desired/instance/keys.py).
    `token_seconds`: how long access tokens live."""
    asked = tuple(requests)
    signing = next(each for each in asked if each.recipe == SIGNING)
    live = view.child(SECRET, signing.name)
    if live is None:
        first = KeySet((SigningKey(NEW, KeyState.CURRENT, to_text(view.now)),))
        return KeysPlan(_with(asked, signing, replace(signing, keys=KeySetWanted(first))))
    try:
        held = read_key_set(live)
    except ValueError as error:
        return KeysPlan(asked, stalled=Finding(
            "KeySetUnreadable",
            f"keys.json in Secret {signing.name!r} is not as it was written: {error}. Put back what it was; or take keys.json out, and the "
            "key in private.pem is the only one that counts.",
        ))  # fmt: skip
    if held is None or live.get("immutable"):
        # One that was made before there were sets, or brought by somebody: its key goes on.
        adopted = KeySet((SigningKey(ADOPTED, KeyState.CURRENT, to_text(view.now)),))
        return KeysPlan(_with(asked, signing, _due(signing, live, KeySetWanted(held or adopted))))
    overlap = overlap_seconds(keys, token_seconds)
    wishes = _wishes(keys, held, live)
    seen = Seen(
        revoked=frozenset(keys.revoked),
        wanted=any(each <= view.now for each in wishes),
        known=held.next is not None and known(view, held.next.kid),
        used=used(view, held.current.kid),
        learn_seconds=learn_seconds,
        overlap_seconds=overlap,
    )
    then = next_set(held, seen, view.now)
    if then != held:
        by_hand = read_time(_annotations(live).get(EXPIRES_ANNOTATION))
        drawn = then.next is not None and then.next.kid == NEW and held.next is None
        wanted = KeySetWanted(then, answers=drawn and by_hand is not None and by_hand <= view.now)
        asked = _with(asked, signing, _due(signing, live, wanted))
    elif not untouched(live, SIGNING_KEYS):
        asked = _with(asked, signing, _due(signing, live, KeySetWanted(held)))
    return KeysPlan(
        _with_public(view, asked, held),
        status=_status(view, keys, held, overlap),
        stalled=_unknown(keys, held) or _no_time(signing.name, live),
        progress=_progress(view, held, then, seen),
        wake_seconds=_wake(view.now, held, seen, wishes),
    )


def _wishes(keys: Keys, held: KeySet, live: Manifest) -> list[datetime]:
    """When another key is wanted: by the schedule, and as somebody noted on the Secret."""
    by_hand = read_time(_annotations(live).get(EXPIRES_ANNOTATION))
    scheduled = to_time(held.current.since) + timedelta(days=keys.rotation_days) if keys.rotation_days else None
    return [each for each in (by_hand, scheduled) if each]


def _annotations(live: Manifest) -> dict[str, str]:
    return live["metadata"].get("annotations") or {}


def _due(request: SecretRequest, live: Manifest, wanted: KeySetWanted | None = None) -> SecretRequest:
    return replace(request, replaces=live["metadata"]["resourceVersion"], keys=wanted)


def _with(requests: tuple[SecretRequest, ...], old: SecretRequest, new: SecretRequest) -> tuple[SecretRequest, ...]:
    return tuple(new if each is old else each for each in requests)


def _with_public(view: View, requests: tuple[SecretRequest, ...], held: KeySet) -> tuple[SecretRequest, ...]:
    """The Secret of API keys and the public set is due when it does not say what follows from the signing keys."""
    request = next(each for each in requests if each.recipe == PUBLIC)
    live = view.child(SECRET, request.name)
    signer = held.current.kid
    if live is None or (read_published(live) == Published(held.kids, (signer,) * len(API_KEYS)) and untouched(live, PUBLIC_KEYS)):
        return requests
    return _with(requests, request, _due(request, live))


def _unknown(keys: Keys, held: KeySet) -> Finding | None:
    known = {*held.kids, *(each.kid for each in held.gone)}
    if not (unknown := [each for each in keys.revoked if each not in known]):
        return None
    have = ", ".join(f"{each.kid} ({each.state})" for each in held.keys)
    return Finding(
        "RevokedKeyUnknown",
        f"spec.keys.revoked names {', '.join(unknown)}, which {are(len(unknown))} no key of this backend: the keys that count are {have}. "
        "Correct the id, or take it out.",
    )


def _no_time(name: str, live: Manifest) -> Finding | None:
    text = _annotations(live).get(EXPIRES_ANNOTATION)
    if text is None or read_time(text):
        return None
    return Finding(
        "KeyNotRotated",
        f"Secret {name!r} has the annotation {EXPIRES_ANNOTATION}, but its value is no time: write one such as 2026-01-31T00:00:00Z.",
    )


def _progress(view: View, held: KeySet, then: KeySet, seen: Seen) -> Finding | None:
    if held.next:
        lack = [] if seen.known else ignorant(view, held.next.kid)
        what = f"not all know it yet: {', '.join(lack)}" if lack else "all who verify tokens are given time to load it"
        return Finding("PublishingKey", f"Key {held.next.kid} is going to sign; {what}.")
    if any(not each.proven for each in held.previous):
        return Finding("SwitchingKey", f"Key {held.current.kid} signs: the pods that still sign with the one before are being replaced.")
    return Finding("PublishingKey", "Another signing key is being made.") if then.next else None


def _status(view: View, keys: Keys, held: KeySet, overlap: float) -> KeysStatus:
    given = frozenset[str]().union(*still_given(view).values())
    revoked = sorted((each for each in held.gone if each.revoked), key=lambda each: each.kid)
    scheduled = to_time(held.current.since) + timedelta(days=keys.rotation_days)
    phase, since = _phase(held)
    return KeysStatus(
        phase=phase,
        since=since,
        set=[
            KeyStatus(kid=each.kid, state=each.state.value, since=each.since, until=to_text(end) if end else None)
            for each in held.keys
            for end in [end_of(each, overlap) if each.state is KeyState.PREVIOUS else None]
        ]
        + [KeyStatus(kid=each.kid, state="revoking", since=each.at) for each in revoked if each.kid in given],
        next_rotation=to_text(scheduled) if keys.rotation_days else None,
        revoked=[each.kid for each in revoked if each.kid not in given],
    )


def _phase(held: KeySet) -> tuple[KeysPhase, str]:
    if held.next:
        return KeysPhase.PUBLISHING, held.next.since
    if settling := [each.since for each in held.previous if not each.proven]:
        return KeysPhase.SWITCHING, settling[0]
    if held.previous:
        return KeysPhase.OVERLAPPING, held.previous[0].proven or held.previous[0].since
    left = [each.at for each in held.gone]
    return KeysPhase.STABLE, max([held.current.since, *left], key=to_time)


def _wake(now: datetime, held: KeySet, seen: Seen, wishes: list[datetime]) -> float | None:
    ahead = [end for each in held.previous if (end := end_of(each, seen.overlap_seconds))]
    if held.next and held.next.proven:
        ahead.append(to_time(held.next.proven) + timedelta(seconds=seen.learn_seconds))
    if held.next is None:
        ahead += wishes
    left = [(each - now).total_seconds() for each in ahead if each > now]
    return min(left, default=None)
