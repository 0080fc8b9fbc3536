"""What runs while this replica leads: a store that the watches fill, a queue of objects to reconcile, and its workers."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid

import aiohttp

from baas_operator.api.kinds import BAAS_INSTANCE, CHILD_KINDS, NAMESPACE, NODE, OPERATION, OPTIONAL_KINDS, OWN_KINDS, Kind
from baas_operator.desired.meta import KIND_LABEL, Manifest
from baas_operator.engine.client import Client
from baas_operator.engine.config import Config
from baas_operator.engine.errors import ApiError
from baas_operator.engine.gather import dependents, referred, supplied_by
from baas_operator.engine.optional import serves
from baas_operator.engine.reconcile import Outcome, Reconciler
from baas_operator.engine.store import Key, Store, key_of, owner_of, significant
from baas_operator.engine.workqueue import WorkQueue
from baas_operator.jetstream.tasks import together
from baas_operator.telemetry.logs import object_key, reconcile_id
from baas_operator.telemetry.metrics import QUEUE_DEPTH, WATCH_AGE

_OWN = frozenset(kind.name for kind in OWN_KINDS)
_MISSED_LIMIT = 3
"""Full lists in a row that found what the watches had missed, before the watches are taken for dead."""
_RECHECK_SECONDS = 30.0
"""A list is ahead of the watches: what they bring within so long was on its way, or its watch just being renewed."""
_RECONCILE_SECONDS = 60.0
"""What a whole reconcile may take. The longest that is well waits for the API server: for operands none waits."""
_DISCOVER_SECONDS = 60.0
"""How long it takes at most until a kind of others that somebody installs, or takes away, is known."""
_log = logging.getLogger(__name__)


def _unjudged(resource: Manifest) -> bool:
    """Whether an object of ours has a spec that no status speaks of yet. One that an instance made is in the store by the answer of
    that very write, so that its first event is no news; it must be reconciled all the same."""
    judged = (resource.get("status") or {}).get("observedGeneration")
    return resource["kind"] in _OWN and judged != resource["metadata"].get("generation")


def _respecified(old: Manifest | None, new: Manifest) -> bool:
    return old is None or old["metadata"].get("generation") != new["metadata"].get("generation")


class Runtime:
    """Takes events in, reconciles what they concern."""

    def __init__(self, client: Client, config: Config) -> None:
        self.store = Store()
        self.queue: WorkQueue[Key] = WorkQueue(config.workers, lambda key: key.namespace)
        self._client = client
        self._config = config
        self._reconciler = Reconciler(client, self.store, config)
        self._missed = 0
        self._unseen: set[Key] = set()
        """What the last full list found, and no watch has told of so far."""
        self.last_progress = time.monotonic()

    # --- events ---------------------------------------------------------------------------------------------------

    def event(self, resource: Manifest, *, deleted: bool) -> None:
        """A watch saw an object, or that it is gone."""
        self.last_progress = time.monotonic()
        self._unseen.discard(key_of(resource))
        old = self.store.get(*key_of(resource))
        taken = self.store.drop(resource) if deleted else self.store.put(resource)
        if taken and (deleted or significant(old, resource)):
            self._touch(resource)
            if deleted or _respecified(old, resource):
                for each in supplied_by(resource):
                    self.queue.add(each)
        elif not deleted and _unjudged(resource):
            self.queue.add(key_of(resource))

    def _touch(self, resource: Manifest) -> None:
        key = key_of(resource)
        if key.kind == NODE.name:
            for own in OWN_KINDS:
                for each in self.store.of_kind(own.name):
                    self.queue.add(key_of(each))
            return
        if key.kind in _OWN:
            self.queue.add(key)
        if key.kind == OPERATION.name:
            for target in referred(resource):  # what takes its members away waits for an Operation to be over
                self.queue.add(target)
        owner = owner_of(resource)
        for target in filter(None, (owner, key if key.kind in _OWN else None)):
            if target != key:
                self.queue.add(target)
            for dependent in dependents(self.store, target):
                self.queue.add(dependent)

    # --- lists ----------------------------------------------------------------------------------------------------

    async def resync(self, *, everything: bool) -> None:
        """List all kinds afresh; what the watches have not told of is reconciled, or `everything`."""
        self._unseen.clear()
        for kind in (NODE, *CHILD_KINDS, *OWN_KINDS):
            known = self.store.known(kind.name)
            found = self.store.replace(await self._list(kind), known=known)
            for each in found:
                self._unseen.add(key_of(each))
                self._touch(each)
        await self._look_at_optional()
        if everything:
            for own in OWN_KINDS:
                for each in self.store.of_kind(own.name):
                    self.queue.add(key_of(each))
        self.last_progress = time.monotonic()

    async def discover(self) -> None:
        """Learn which of the optional kinds the API server has now. Where that is another, backends are reconciled."""
        served = frozenset([kind.name for kind in OPTIONAL_KINDS if await self._serves(kind)])
        if served != self.store.served:
            _log.info("optional kinds", extra={"served": sorted(served)})
            self.store.served = served
            await self._look_at_optional()
            for each in self.store.of_kind(BAAS_INSTANCE.name):
                self.queue.add(key_of(each))

    async def _serves(self, kind: Kind) -> bool:
        try:
            return await serves(self._client, kind)
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            _log.warning("whether an optional kind is there can not be asked: %s", error, extra={"kind": kind.name})
            return kind.name in self.store.served

    async def _look_at_optional(self) -> None:
        """List children of optional kinds, which no watch tells of: what was changed by hand is put back by the next resync. Nothing waits
        for a list that fails: what is applied is looked up, and what is to go goes later."""
        for kind in OPTIONAL_KINDS:
            known = self.store.known(kind.name)
            try:
                there = await self._list(kind) if kind.name in self.store.served else []
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                _log.warning("optional kind can not be listed: %s", error, extra={"kind": kind.name})
                continue
            for each in self.store.replace(there, known=known):
                self._touch(each)

    async def _discover_loop(self) -> None:
        while True:
            await asyncio.sleep(_DISCOVER_SECONDS)
            await self.discover()

    async def _list(self, kind: Kind) -> list[Manifest]:
        selector = KIND_LABEL if kind in (*CHILD_KINDS, *OPTIONAL_KINDS) else ""
        if not self._config.namespaces or not kind.namespaced:
            return await self._client.list(kind, selector=selector)
        found = []
        for namespace in self._config.namespaces:
            try:
                found += await self._client.list(kind, namespace, selector=selector)
            except ApiError as error:
                if error.status not in (403, 404) or not await self._is_going(namespace):
                    raise
        return found

    async def _is_going(self, namespace: str) -> bool:
        """Whether a namespace is gone, or being deleted: what lets the operator in there goes with it, and the others are seen to all the
        same."""
        found = await self._client.get(NAMESPACE, None, namespace)
        return found is None or bool(found["metadata"].get("deletionTimestamp"))

    async def _resync_loop(self) -> None:
        await asyncio.sleep(min(10.0, self._config.resync_seconds))  # what vanished between our first list and kopf's
        recheck = min(_RECHECK_SECONDS, self._config.resync_seconds)
        while True:
            try:
                await self.resync(everything=True)
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                _log.warning("resync failed: %s", error)
                await asyncio.sleep(recheck)
            else:
                await asyncio.sleep(recheck)
                self._judge_watches()
            await asyncio.sleep(self._config.resync_seconds - recheck)

    def _judge_watches(self) -> None:
        self._missed = self._missed + 1 if self._unseen else 0
        if self._unseen:
            _log.warning("the watches had missed objects", extra={"count": len(self._unseen)})

    # --- work -----------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Run until cancelled. The store must have been filled by `resync` before."""
        await together(
            self.queue.run_delays(), self._resync_loop(), self._discover_loop(), *(self._worker() for _ in range(self._config.workers))
        )

    async def _worker(self) -> None:
        while True:
            key = await self.queue.get()
            QUEUE_DEPTH.set(len(self.queue))
            object_key.set(str(key))
            reconcile_id.set(uuid.uuid4().hex[:12])
            try:
                outcome = await self._reconcile(key)
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                _log.warning("reconcile failed, again in %.1f s: %s", self.queue.add_failed(key), error)
            except Exception:  # noqa: BLE001 - one object's bug must not stop the others; it is told, and tried again
                _log.exception("reconcile failed by an error of ours, again in %.1f s", self.queue.add_failed(key))
            else:
                if outcome.failed:
                    _log.warning("the status tells what failed, again in %.1f s", self.queue.add_failed(key))
                else:
                    self.queue.forget(key)
                if outcome.after is not None:
                    self.queue.add_after(key, outcome.after)
                for dependent in dependents(self.store, key) if outcome.told else ():
                    self.queue.add(dependent)
            finally:
                self.queue.done(key)
                reconcile_id.set("")
                object_key.set("")

    async def _reconcile(self, key: Key) -> Outcome:
        """One reconcile, which ends in time. To be cut off is no other than to crash between any two steps: the next one begins from
        what is there. (controller-runtime's `ReconciliationTimeout`.)"""
        try:
            async with asyncio.timeout(_RECONCILE_SECONDS) as deadline:
                return await self._reconciler.reconcile(key)
        except TimeoutError as error:
            if deadline.expired():
                raise TimeoutError(f"it was not over after {_RECONCILE_SECONDS:.0f} s, and was cut off") from error
            raise

    @property
    def alive(self) -> bool:
        """Whether the watches bring what happens. One broken object does not matter here."""
        WATCH_AGE.set(time.monotonic() - self.last_progress)
        return self._missed < _MISSED_LIMIT
