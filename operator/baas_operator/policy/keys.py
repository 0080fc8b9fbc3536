"""The keys that a backend signs tokens with, from one rotation to the next.

A token that was issued by the key that signed then is taken by everybody until it ends. So a rotation has steps, each of which is one write
to the Secret of signing keys, and the set that is published, the API keys, and what pods load all follow from that Secret:

1. Publish: a next key is drawn. The public set has both.
2. Prove: everybody who verifies tokens was seen to know it.
3. Switch, some time later, as who loads the set again from a mounted file may need that long: the next key signs. API keys are issued anew.
4. Settle: everybody who signs was seen to use it. From then on no token of the key before is issued.
5. Retire: the overlap later that key leaves the set.

A revoked key leaves the set at once. Which step is due follows from the Secret and from what is seen, so an operator that dies between any
two goes on where it was; a write names the version that was judged, so of two leaders one takes the step.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from baas_operator.api.instance.keys import Keys
from baas_operator.desired.key_set import MAX_GONE, MAX_PREVIOUS, NEW, GoneKey, KeySet, KeyState, SigningKey
from baas_operator.observe.moments import to_text, to_time

LEARN_SECONDS = 180.0
"""A kubelet brings what a pod mounts within its sync period of a minute plus as much for its cache (Kubernetes documentation, "Secrets"),
and a pod that is going, which no Deployment's status counts, may be sent requests for half a minute more."""
ACCESS_TOKEN_SECONDS = 3600
"""GoTrue's own default for how long an access token lives (GOTRUE_JWT_EXP)."""


@dataclass(frozen=True)
class Seen:
    """What a step depends on beside the set: ids to revoke, whether another key is asked for, what was seen of who verifies the next key
    and who signs with the current one, and how long things take, in seconds."""

    revoked: frozenset[str] = frozenset()
    wanted: bool = False
    known: bool = False
    used: bool = False
    learn_seconds: float = LEARN_SECONDS
    overlap_seconds: float = 168 * 3600


def next_set(held: KeySet, seen: Seen, now: datetime) -> KeySet:
    """The set after the one step that is due, or the same. What is revoked does not wait for anything."""
    if seen.revoked & set(held.kids):
        return _without_revoked(held, seen, now)
    retired = [each.kid for each in held.previous if (end := end_of(each, seen.overlap_seconds)) and now >= end]
    if retired:
        return _without(held, retired, revoked=False, keep=seen.revoked, now=now)
    coming = held.next
    if coming and seen.known and coming.proven and now >= to_time(coming.proven) + timedelta(seconds=seen.learn_seconds):
        return _switched(held, coming, now)
    if coming and seen.known and not coming.proven:
        return _replaced(held, replace(coming, proven=to_text(now)))
    settling = next((each for each in held.previous if not each.proven), None)
    if settling and seen.used:
        return _replaced(held, replace(settling, proven=to_text(now)))
    if seen.wanted and coming is None and settling is None and len(held.previous) < MAX_PREVIOUS:
        return replace(held, keys=(*held.keys, SigningKey(NEW, KeyState.NEXT, to_text(now))))
    return held


def _switched(held: KeySet, coming: SigningKey, now: datetime) -> KeySet:
    before = replace(held.current, state=KeyState.PREVIOUS, since=to_text(now), proven=None)
    return replace(held, keys=(_current(coming.kid, now), before, *held.previous))


def _without_revoked(held: KeySet, seen: Seen, now: datetime) -> KeySet:
    """One that signed is followed by the next one, which may be known already, or by one that is drawn at once: nobody waits for who
    verifies, as tokens of the one before are to be refused. A next one is followed by another, as it was asked for."""
    kept = _without(held, [each for each in held.kids if each in seen.revoked], revoked=True, keep=seen.revoked, now=now)
    coming = held.next
    if coming and coming.kid in seen.revoked:
        coming = SigningKey(NEW, KeyState.NEXT, to_text(now))
    if held.current.kid not in seen.revoked:
        return replace(kept, keys=(held.current, *([coming] if coming else []), *kept.previous))
    follows = coming.kid if coming else NEW
    return replace(kept, keys=(_current(follows, now), *kept.previous))


def _without(held: KeySet, kids: Collection[str], *, revoked: bool, keep: Collection[str], now: datetime) -> KeySet:
    """A set without these keys, but with its current one in any case. Of those that left, what is still named as revoked is remembered."""
    left = tuple(GoneKey(each.kid, to_text(now), revoked) for each in held.keys if each.kid in kids)
    gone = sorted((*left, *held.gone), key=lambda each: each.kid not in keep)[:MAX_GONE]
    return KeySet(tuple(each for each in held.keys if each.kid not in kids or each is held.current), tuple(gone))


def _replaced(held: KeySet, by: SigningKey) -> KeySet:
    return replace(held, keys=tuple(by if each.kid == by.kid else each for each in held.keys))


def _current(kid: str, now: datetime) -> SigningKey:
    return SigningKey(kid, KeyState.CURRENT, to_text(now))


def overlap_seconds(keys: Keys, token_seconds: float = ACCESS_TOKEN_SECONDS) -> float:
    """How long a key counts once nobody signs with it any more. Pods that are going may have done so for a moment longer."""
    return max(keys.overlap_hours * 3600, token_seconds + LEARN_SECONDS)


def retires_at(keys: Keys, key: SigningKey) -> datetime | None:
    """When a previous key is retired; None while somebody may still sign with it."""
    return end_of(key, overlap_seconds(keys))


def end_of(key: SigningKey, overlap_seconds: float) -> datetime | None:
    """The same, for a number of seconds that is known."""
    return to_time(key.proven) + timedelta(seconds=overlap_seconds) if key.proven else None
