"""What Patroni keeps in the API server, as a watch brings it: the leader lock and the synchronous state, with the agents' fences.

One watch for both, so that each is at any moment as it really was, and none is older than what this agent has written itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, KubeError
from baas_operator.desired.database import names
from baas_operator.policy.failover import Fence, History, Lock, Stopped, Sync, settled

STOPPED = "baas-operator.io/stopped"
"""Annotation: the leader's PostgreSQL was shut down for a planned move."""
GIVEN = "baas-operator.io/given"
"""Annotation of the lock: the time of its acquisition, if agents gave it to the leader."""
ANYWAY = "baas-operator.io/promote-anyway"
"""Annotation that a person sets: the member that may be promoted whatever others have."""
FENCE = "fence.baas-operator.io/"
"""Prefix of the annotation that a fence is, followed by the member's name."""
NO_LOCK = Lock(leader=None, term="", version=0, position=0)
NO_SYNC = Sync(leader=None, voters=frozenset(), quorum=0, changed=0, floor=None, fences={})
_AFTER_ERROR_SECONDS = 0.5
_BROUGHT_SECONDS = 2.0
"""A watch brings what was written within milliseconds."""
_SILENT_SECONDS = 10.0
"""A primary renews the lock every 2 s. A watch that brings nothing for this long may have lost its connection without word."""
_FRESH_SECONDS = 5.0
"""Twice the time between two renewals, and a little: a watch that brought nothing for longer does not bring what is asked of it either."""
_log = logging.getLogger("agent.dcs")


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0


def version_of(found: Mapping[str, Any]) -> int:
    """An object's resource version. Those of one kind are numbers that grow (Kubernetes documentation, "Resource Versions")."""
    return _number(found["metadata"]["resourceVersion"])


def read_lock(found: Mapping[str, Any]) -> Lock:
    """The leader lock from its ConfigMap. A term ends when the leader changes or takes the lock anew."""
    said: Mapping[str, str] = found["metadata"].get("annotations") or {}
    leader = said.get("leader") or None
    acquired = said.get("acquireTime", "")
    return Lock(
        leader=leader, term=f"{leader}/{said.get('transitions', '')}/{acquired}", version=version_of(found),
        position=_number(said.get("optime")), transitions=_number(said.get("transitions")),
        given=bool(leader) and bool(acquired) and said.get(GIVEN) == acquired,
    )  # fmt: skip


def _fence(text: str) -> Fence | None:
    try:
        told = json.loads(text)
        return Fence(str(told["term"]), int(told["timeline"]), int(told["position"]), str(told["against"]), told.get("lives") is not False)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None  # made by hand, or by an agent that knew of no timelines: it counts for nobody


def _stopped(text: str | None) -> Stopped | None:
    try:
        told = json.loads(text or "")
        return Stopped(str(told["term"]), str(told["to"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_sync(found: Mapping[str, Any], before: Sync) -> Sync:
    """The synchronous state from its ConfigMap; `before` it, to know since when it has been so."""
    said: Mapping[str, str] = found["metadata"].get("annotations") or {}
    leader = said.get("leader") or None
    voters = frozenset(filter(None, (said.get("sync_standby") or "").split(",")))
    quorum = _number(said.get("quorum"))
    same = before.changed and (before.leader, before.voters, before.quorum) == (leader, voters, quorum)
    fences = {key.removeprefix(FENCE): fence for key, text in said.items() if key.startswith(FENCE) and (fence := _fence(text))}
    changed = before.changed if same else version_of(found)
    floor, earlier = (before.floor, before.earlier) if before.changed and before.leader == leader else (None, ())
    if floor is not None and not same:
        earlier = before.electorates
    return Sync(
        leader, voters, quorum, changed, floor, fences,
        stopped=_stopped(said.get(STOPPED)), anyway=said.get(ANYWAY) or None, earlier=earlier,
    )  # fmt: skip


def read_history(found: Mapping[str, Any]) -> History | None:
    """Patroni's history from the ConfigMap of its dynamic configuration; None if it does not tell who began the last timeline."""
    try:
        lines = json.loads((found["metadata"].get("annotations") or {}).get("history") or "[]")
        if not lines:
            return History()
        before, _, _, _, leader = lines[-1]
        return History(int(before) + 1, str(leader))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None


@dataclass(frozen=True)
class State:
    """What the watch last brought. `version` is that of the synchronous state, fences included."""

    lock: Lock = NO_LOCK
    sync: Sync = NO_SYNC
    version: int = 0
    history: History | None = None
    """None while it is not known."""


class Dcs:
    """Patroni's objects of one database."""

    def __init__(self, kube: Kube, identity: Identity) -> None:
        self._kube = kube
        self._identity = identity
        self._changed = asyncio.Event()
        self._since = 0
        """Version up to which the watch has brought everything."""
        self._silent = False
        """Whether the last watch has brought nothing."""
        self._redial = asyncio.Event()
        self._heard: float | None = None
        """When the watch last brought something, by the monotonic clock."""
        self.state = State()
        self.lost_at: float | None = None
        """When this member lost the lock, by the monotonic clock, if it has had it."""

    @property
    def leads(self) -> bool:
        """Whether this member has the lock."""
        return self.state.lock.leader == self._identity.pod

    @property
    def up_to_date(self) -> bool:
        """Whether the watch works: while there is a primary it brings a renewal of the lock every 2 s."""
        return self._heard is not None and time.monotonic() - self._heard < _FRESH_SECONDS

    async def run(self) -> None:
        """Watch until cancelled. A watch that ends is taken up where it was, as long as the server knows what came after."""
        while True:
            self._redial.clear()
            watching = asyncio.create_task(self._watch())
            dialling = asyncio.create_task(self._redial.wait())
            try:
                await asyncio.wait({watching, dialling}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
            except (KubeError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                if isinstance(error, KubeError) and error.status == 410:
                    self._since = 0
                _log.info("the watch of Patroni's state ended: %s", error or type(error).__name__)
                await asyncio.sleep(_AFTER_ERROR_SECONDS)
            finally:
                for each in (watching, dialling):
                    each.cancel()
                await asyncio.gather(watching, dialling, return_exceptions=True)

    async def _watch(self) -> None:
        if not self._since or self._silent:
            await self._list()
        self._silent = True  # until it says something; one that is silent may be of a server whose versions begin anew
        watch = self._kube.watch(
            self._identity.config_maps, label=self._identity.patroni_labels, since=self._since, silent_seconds=_SILENT_SECONDS
        )
        async for found in watch:
            self._silent = False
            self._heard = time.monotonic()
            self._take(found)
            self._since = max(self._since, version_of(found))

    async def _list(self) -> None:
        found = await self._kube.get(f"{self._identity.config_maps}?labelSelector={quote(self._identity.patroni_labels)}")
        version = version_of(found)
        if version < self._since:  # it was restored from a backup
            self.state = State()
        elif self._since:
            return  # the same server, and nothing has happened
        for each in found["items"]:
            self._take(each, in_order=False)
        self._since = version

    async def changed(self, seconds: float | None = None) -> None:
        """Until something changes, `seconds` at most. Several may wait, each for the next change after its call."""
        event = self._changed
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return

    def _take(self, found: dict[str, Any], *, in_order: bool = True) -> None:
        """Take an object in. Read out of order it may hide that the voters changed twice: then they count as changed just now."""
        name, version = found["metadata"]["name"], version_of(found)
        if found.get("deleted"):
            found = {"metadata": found["metadata"] | {"annotations": {}}}
        state = self.state
        if name == names.leader_config_map(self._identity.database) and version > state.lock.version:
            lock = read_lock(found)
            if self.leads and lock.leader != self._identity.pod:
                self.lost_at = time.monotonic()
            self.state = replace(state, lock=lock, sync=settled(state.sync, lock, state.history))
        elif name == names.sync_config_map(self._identity.database) and version > state.version:
            sync = read_sync(found, state.sync if in_order else NO_SYNC)
            self.state = replace(state, sync=settled(sync, state.lock, state.history), version=version)
        elif name == names.dynamic_config_map(self._identity.database):  # the watch alone brings it, in order
            if (history := read_history(found)) == state.history:
                return
            self.state = replace(state, history=history, sync=settled(state.sync, state.lock, history))
        else:
            return
        self._changed.set()
        self._changed = asyncio.Event()

    async def fresh(self) -> State:
        """Both objects as they are now. Raises as Kube.get; no lock and no synchronous state where there is none yet."""
        for path in (self._identity.sync_path, self._identity.lock_path):
            try:
                self._take(await self._kube.get(path), in_order=False)
            except KubeError as error:
                if error.status != 404:
                    raise
                if path == self._identity.sync_path:
                    self.state = replace(self.state, sync=NO_SYNC)
                else:
                    self.state = replace(self.state, lock=replace(NO_LOCK, version=self.state.lock.version))
        return self.state

    async def publish(self, fence: Fence | None) -> None:
        """Write this member's fence, or (None) take it off; returns when the watch has brought it. Raises as Kube.get, TimeoutError."""
        # The same fence said again has to be a change: it is the version of the object that counts.
        text = json.dumps(asdict(fence) | {"at": time.time_ns()}) if fence else None
        written = await self._kube.merge(self._identity.sync_path, {"metadata": {"annotations": {FENCE + self._identity.pod: text}}})
        version = version_of(written)
        async with asyncio.timeout(_BROUGHT_SECONDS):
            while self.state.version < version:
                await self.changed(_BROUGHT_SECONDS / 4)
                if self.state.version < version:
                    self._redial.set()  # it answers who writes, and not who watches: that connection may have died with a node

    async def tell_stopped(self, term: str, to: str) -> None:
        """Tell that this member's PostgreSQL was shut down in a term in which it led. Raises as Kube.get."""
        text = json.dumps({"term": term, "to": to})
        await self._kube.merge(self._identity.sync_path, {"metadata": {"annotations": {STOPPED: text}}})

    async def begin_term(self, lock: Lock) -> None:
        """Make a new term of the leader's, if the lock still is at that version. Patroni keeps what it finds as `acquireTime` (its source,
        dcs/kubernetes.py, `update_leader`). Raises as Kube.get; KubeError 409 if it is not."""
        await self._write_lock(lock, {"acquireTime": datetime.now(UTC).isoformat()})

    async def hand_over(self, lock: Lock, heir: str) -> None:
        """Make a member the leader, if the lock still is at that version. Raises as Kube.get; KubeError 409 if it is not.

        The annotations are those that Patroni writes when it takes the lock (its source, dcs/kubernetes.py); the heir's renews them.
        """
        now = datetime.now(UTC).isoformat()
        said = {"leader": heir, "acquireTime": now, "renewTime": now, "transitions": str(lock.transitions + 1), GIVEN: now}
        await self._write_lock(lock, said)

    async def _write_lock(self, lock: Lock, said: Mapping[str, str]) -> None:
        body = {"metadata": {"resourceVersion": str(lock.version), "annotations": said}}
        self._take(await self._kube.merge(self._identity.lock_path, body))
