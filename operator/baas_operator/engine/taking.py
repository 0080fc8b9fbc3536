"""What the API server takes of a plan: an object that it does not take holds up nothing but what needs it.

It may refuse one for good (a quota, an admission webhook, a value that is none) or be unable to take it now (a webhook that is down, or
hangs). Either is remembered in the store until it is taken, and tried again with back-off, after all the others: time that is lost on
it is not theirs. What an object of somebody else stands in the way of, or what has to wait, still stops all that comes after it, as it is
about the whole, but for what is urgent: a key that leaked is taken for as long as that is not applied.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Coroutine, Iterable, Sequence
from typing import Any

from baas_operator.api.kinds import DEPLOYMENT, SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.desired.needs import Ref, needs, with_needs
from baas_operator.desired.secrets import SecretRequest
from baas_operator.engine import applier
from baas_operator.engine.client import Client
from baas_operator.engine.errors import ApiError, Failing, ObjectRefused, Refused, Waiting
from baas_operator.engine.store import Key, Store, key_of
from baas_operator.observe.text import sentence, shorten

_PATIENCE_SECONDS = 10.0
"""So long is spent on a plan once something of it was not taken. One that hangs takes 42 s (client.py), and a whole reconcile 60."""
_MAX_WORDS = 400
"""Characters of what the API server says of one object: the cause comes first, and another may be told of beside it."""
_log = logging.getLogger(__name__)


class Taking:
    """One round of it, for one object of ours. `held`: what was left as it is, as it needs something that was not taken. `put_off`: whether
    something is for the next round, which is to come at once."""

    def __init__(self, client: Client, store: Store, owner: Key, *, again: bool = True) -> None:
        """`again`: whether what was not taken is tried again. Not in turns that come ten times a second to look for an answer."""
        self._again = again
        self._client = client
        self._store = store
        self._owner = owner
        self._failing = store.failing.setdefault(owner, {})
        self._impatient_at: float | None = None
        self.held: list[Key] = []
        self.put_off = False
        self._late: list[SecretRequest] = []
        self._undrawn: set[Key] = set()

    @property
    def problems(self) -> list[Refused | Failing]:
        """What is not taken, as of the last time that it was tried."""
        return list(self._failing.values())

    @property
    def held_back(self) -> str:
        """What waits for what is not taken, as a sentence; empty when nothing does."""
        what = ", ".join(f"{each.kind} {each.name!r}" for each in self.held)
        return f"Left as it is until then, as it needs that: {what}." if what else ""

    def forget_others(self, secrets: Iterable[SecretRequest], manifests: Iterable[Manifest]) -> None:
        """Nothing is to be told of what is not wanted any more."""
        wanted = {_key(each) for each in secrets} | {key_of(each) for each in manifests}
        for each in self._failing.keys() - wanted:
            del self._failing[each]

    async def draw(self, requests: Sequence[SecretRequest]) -> None:
        """Have the secrets, as `applier.ensure_secret` does; one that is there, and could not be renewed the last time, in `draw_late`.

        Raises:
            Refused, Failing: one is not there. A plan without it lacks what others need.
            Refused, Waiting: one is somebody else's, or has to wait, the first of them. The others are had all the same.
        """
        stopped: Refused | Waiting | None = None
        for request in requests:
            if self._impatient:
                break
            if self._has_time(_key(request)):
                self._late.append(request)
                continue
            try:
                await self._try(_key(request), applier.ensure_secret(self._client, self._store, request))
            except (Refused, Waiting) as met:
                self._undrawn.add(_key(request))
                stopped = stopped or met
        lacking = [key for key in map(_key, requests) if self._store.get(*key) is None]
        self._undrawn.update(lacking)
        if stopped is not None:
            raise stopped
        if failing := [self._failing[key] for key in lacking if key in self._failing] or (
            self.problems if lacking and self._impatient else []
        ):
            raise failing[0]

    async def draw_late(self) -> bool:
        """Have those that were left until all else was tried. True where one is another now: what is made of it is to follow."""
        renewed = False
        for request in self._late:
            if not self._impatient:
                before = self._store.get(*_key(request))
                await self._try(_key(request), applier.ensure_secret(self._client, self._store, request))
                renewed = renewed or self._store.get(*_key(request)) is not before
        return renewed

    async def apply(self, manifests: Sequence[Manifest], urgent: Collection[Ref] = ()) -> None:
        """Have the manifests, in their order but for those that were not taken the last time, and for the `urgent` ones, which come first.

        Of the Deployments that waited, each of which was given its turn for that (one_at_a_time.py), one is changed a round: what they
        waited for may have been the same.

        Raises:
            Refused, Waiting: one is somebody else's, or has to wait, the first of them. Of the others the urgent ones are had all the same.
        """
        waited, turn_over = self._store.untaken.get(self._owner, frozenset()), False
        stopped: Refused | Waiting | None = None
        stopping = set(self._undrawn)
        first = set(map(key_of, with_needs(urgent, manifests)))
        wanted = {(key.kind, key.name): key for key in (*stopping, *map(key_of, manifests))}
        secrets = [{"kind": key.kind, "metadata": {"name": key.name}} for key in stopping]
        needed = {key_of(each): {wanted[ref] for ref in needs(each, [*manifests, *secrets])} for each in manifests}
        late = {key: place for place, key in enumerate(self._failing)}

        def turn(manifest: Manifest) -> tuple[int, int]:
            key = key_of(manifest)
            return (2, late[key]) if key in late else (3 if needed[key] & late.keys() else int(key not in first), 0)

        for manifest in sorted(manifests, key=turn):
            key = key_of(manifest)
            if stopped is not None and key not in first:
                continue
            if needed[key] & (self._failing.keys() | stopping):
                self.held.append(key)
            elif self._impatient:
                continue
            elif turn_over and self._waited(key, waited) and key not in first:
                self.put_off = True
            else:
                before = self._store.get(*key)
                try:
                    await self._try(key, applier.apply(self._client, self._store, manifest))
                except (Refused, Waiting) as met:
                    stopping.add(key)
                    stopped = stopped or met
                turn_over = turn_over or (self._waited(key, waited) and before is not None and self._store.get(*key) is not before)
        if stopped is not None:
            raise stopped
        if self._store.get(*self._owner) is not None:  # else it was deleted just now, and one of its name begins anew
            self._store.untaken[self._owner] = frozenset((*self._failing, *self.held))

    def _has_time(self, key: Key) -> bool:
        """Whether a secret may be renewed after all else. One of several that are not taken for now has its turn before them, too."""
        first = next(iter(self._failing), None)
        return (
            isinstance(self._failing.get(key), Failing) and self._store.get(*key) is not None and (key != first or len(self._failing) == 1)
        )

    def _waited(self, key: Key, waited: Collection[Key]) -> bool:
        return key.kind == DEPLOYMENT.name and key in waited

    @property
    def _impatient(self) -> bool:
        return self._impatient_at is not None and time.monotonic() >= self._impatient_at

    async def _try(self, key: Key, step: Coroutine[Any, Any, object]) -> None:
        if key in self._failing and not self._again:
            step.close()
            return
        begun = time.monotonic()
        problem: ObjectRefused | Failing
        try:
            await step
        except ObjectRefused as refused:
            problem = refused
        except TimeoutError:  # the deadline of the whole reconcile is none: that cancels
            problem = Failing(
                f"The API server did not answer about {key.kind} {key.name!r}, which an admission webhook that hangs may be the cause of. "
                "It is tried again."
            )
        except ApiError as error:
            if error.conflict or error.terminating:
                raise
            problem = _problem(key, error)
        else:
            self._failing.pop(key, None)
            return
        if str(self._failing.pop(key, None)) != str(problem):
            _log.warning("%s", problem, extra={"child": f"{key.kind}/{key.name}"})
        self._failing[key] = problem  # the last of them to be tried again
        if self._impatient_at is None:
            self._impatient_at = begun + _PATIENCE_SECONDS


def _key(request: SecretRequest) -> Key:
    return Key(SECRET.name, request.owner.namespace, request.name)


def _problem(key: Key, error: ApiError) -> ObjectRefused | Failing:
    said = sentence(shorten(error.message, _MAX_WORDS))
    if error.invalid:
        return ObjectRefused("Rejected", f"The API server refused {key.kind} {key.name!r}: {said}")
    return Failing(f"The API server did not take {key.kind} {key.name!r} ({error.status} {error.reason}): {said} It is tried again.")
