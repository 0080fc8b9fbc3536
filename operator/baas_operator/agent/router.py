"""Routes `-rw` to this member while it leads.

Two things must agree before the EndpointSlice is written: the member's PostgreSQL shows all that was ever acknowledged, and the lock in
the API server, read just before, names this member. A primary that was frozen and wakes up still believes the first; the second tells
it better. The write carries the version that was read, so that it can not undo a newer one.

A primary shows all. So does the heir of a failover that is cut off from the old primary and has replayed what it received, half a second
before it is promoted. Clients are let in then: they are told that it takes no writes yet, at once, where they would run into the old
one and wait. And kube-proxy, which changes its rules once a second at most, has done it by the time of the promotion.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp

from baas_operator.agent.credentials import Credentials
from baas_operator.agent.dcs import Dcs, version_of
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, KubeError
from baas_operator.agent.postgres import Postgres, UnavailableError
from baas_operator.desired.database import names
from baas_operator.desired.database.routing import Endpoint, endpoints
from baas_operator.policy.failover import hindrance

_LOOK_SECONDS = 0.1
"""How often PostgreSQL is asked, from the moment that the lock names this member."""
_AFTER_ERROR_SECONDS = 1.0
_log = logging.getLogger("agent.router")


def leads_here(found: dict[str, Any], identity: Identity) -> bool:
    """Whether an EndpointSlice leads to this member and to nobody else."""
    present = found.get("endpoints") or []
    return len(present) == 1 and present[0].get("addresses") == [identity.ip]


class Router:
    """Keeps the slice right while this member is the primary. `postgres`: a connection of its own."""

    def __init__(self, kube: Kube, identity: Identity, dcs: Dcs, credentials: Credentials, postgres: Postgres) -> None:
        self._kube = kube
        self._identity = identity
        self._dcs = dcs
        self._credentials = credentials
        self._postgres = postgres
        self._slice: dict[str, Any] | None = None
        self._due = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_slice())
            tasks.create_task(self._watch_lock())
            tasks.create_task(self._keep())

    @property
    def routed(self) -> bool:
        """Whether `-rw` leads to this member."""
        return self._slice is not None and leads_here(self._slice, self._identity)

    async def _shows_all(self) -> bool:
        try:
            look = await self._postgres.look()
            if not look.standby:
                return True
            reach = await self._postgres.reach()
        except UnavailableError:
            return False
        state = self._dcs.state
        may = not hindrance(state.sync, state.lock, self._identity.pod, reach)
        return may and look.replayed and look.silence is None and not self._credentials.connected

    async def _watch_slice(self) -> None:
        """A person or a late writer may change the slice: the watch brings it within the moment, without a request a second."""
        while True:
            try:
                field = f"metadata.name={names.rw_service(self._identity.database)}"
                async for found in self._kube.watch(self._identity.slices, field=field):
                    self._slice = found
                    self._due.set()
            except (KubeError, aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                _log.info("the watch of the slice ended: %s", error or type(error).__name__)
                await asyncio.sleep(_AFTER_ERROR_SECONDS)

    async def _watch_lock(self) -> None:
        term = ""
        while True:
            if self._dcs.state.lock.term != term:
                term = self._dcs.state.lock.term
                self._due.set()
            await self._dcs.changed()

    async def _keep(self) -> None:
        """Whenever the lock or the slice changed: until the slice leads here, or the lock names another."""
        while True:
            self._due.clear()
            if self._dcs.leads and not self.routed:
                if await self._shows_all():
                    await self._claim()
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                self._postgres.close()  # it may be hours
                await self._due.wait()

    async def _claim(self) -> None:
        identity, found = self._identity, self._slice
        try:
            # In this order: whoever freezes between the two finds the slice changed by its successor, and can not overwrite it.
            # What the watch brought last will do, and saves a request: a write that is based on an older version is refused.
            found = found or await self._kube.get(identity.slice_path)
            lock = await self._kube.get(identity.lock_path)
            holder = (lock["metadata"].get("annotations") or {}).get("leader")
            if holder != identity.pod:
                _log.warning("not routing here: the leader lock is held by %s", holder)
                return
            if not leads_here(found, identity):
                here = Endpoint(pod=identity.pod, ip=identity.ip, node=identity.node)
                patch = {
                    "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
                    "endpoints": endpoints(here, identity.namespace),
                }
                found = await self._kube.merge(identity.slice_path, patch)
                _log.info("%s leads here", names.rw_service(identity.database))
            self._keep_newest(found)
        except KubeError as error:
            if self._slice is found:
                self._slice = None  # the next try reads it
            if error.status not in (404, 409):
                _log.warning("could not route: %s", error)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("could not route, the API server does not answer as it does: %r", error)

    def _keep_newest(self, found: dict[str, Any]) -> None:
        """While an answer was on its way, the watch may have brought what somebody wrote after it: that is told once, and must stay."""
        if self._slice is None or version_of(found) >= version_of(self._slice):
            self._slice = found
