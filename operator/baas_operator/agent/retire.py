"""Who may have the primary moved, over HTTP: the kubelet before it ends the pod, and the operator.

Whatever takes a pod away asks the kubelet's way, with or without an operator: an eviction, a drain, a rolling update, somebody's `kubectl
delete pod` (Kubernetes documentation, "Container lifecycle hooks"). Otherwise writes would wait until PostgreSQL has shut down and its
lock was let go of. Anybody who reaches the port may ask that, so it is done only if the API server says that the pod is being deleted.
The operator shows the password of Patroni's REST API.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable

import aiohttp
from aiohttp import web

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import KubeError
from baas_operator.agent.move import MoveError, Mover, goes, successor
from baas_operator.agent.postgres import UnavailableError

_GIVEN_UP_SECONDS = 40.0
"""A third of the time that the pod has for its end: PostgreSQL needs the rest."""
_AGAIN_SECONDS = 0.5
_AWAY_SECONDS = 5.0
"""So long the API server or Patroni may give no answer in a row. Then the pod goes: without them nothing can be handed over."""
_CALM_SECONDS = 4.0
"""How long a primary goes on before it hands over. What takes one pod away mostly takes others, and all that is started elsewhere in their
place has every processor busy for seconds: writes that wait meanwhile wait longer. They need not: this pod has a grace period."""
_CALM_PART = 1 / 30
"""Of that grace period, which somebody in a hurry has shortened."""
_AFRESH_SECONDS = 60.0
"""After so long it is another cordon that the operator asks for; until then it asks again for one that was waited for."""
_LINGER_SECONDS = 3.0
"""How long a pod stays after it led: until every node's kube-proxy has let go of it, which changes its rules once a second when it is not
busy. Who comes meanwhile is refused, and comes again; at an address that is gone it would hang."""
_PROBLEMS = (MoveError, UnavailableError, KubeError, aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError)
_log = logging.getLogger("agent.retire")


class Requests:
    """The endpoints. `credentials`: user and password that the operator shows; `end_patroni` ends Patroni where PostgreSQL has stopped."""

    def __init__(self, mover: Mover, identity: Identity, dcs: Dcs, credentials: tuple[str, str], end_patroni: Callable[[], bool]) -> None:
        self._mover = mover
        self._identity = identity
        self._dcs = dcs
        self._end_patroni = end_patroni
        self._wanted = aiohttp.encode_basic_auth(*credentials).encode()
        self._due: float | None = None
        """When the primary is to be handed over, on the monotonic clock; None while its pod is not being deleted."""
        self._asked = -_AFRESH_SECONDS
        """The same of the operator's last patient request."""

    async def retire(self, _: web.Request) -> web.Response:
        """For the kubelet: the answer comes when the pod may go. It is never refused: Patroni's own shutdown is second best."""
        # Where one standby alone confirms commits, it will wait for this member's in turn, as long as there is one.
        waited_for = len(self._dcs.state.sync.voters) == 1
        try:
            async with asyncio.timeout(_GIVEN_UP_SECONDS):
                await self._move_away()
        except _PROBLEMS as error:
            _log.warning("the primary could not be moved away: %s", str(error) or type(error).__name__)
        if self._dcs.lost_at is not None:
            if self._due is not None and not waited_for and not self._dcs.leads and self._end_patroni():
                _log.info("this member leads no more, and its pod goes: Patroni is ended")
            await asyncio.sleep(self._dcs.lost_at + _LINGER_SECONDS - time.monotonic())
        return web.Response(text="ok\n")

    async def switch_over(self, request: web.Request) -> web.Response:
        """For the operator: `{"leader": …, "candidate": …}` as Patroni's own takes it, and `"patient": true` where it had better wait for
        a calm moment; 200 when the candidate has the lock."""
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), self._wanted):
            raise web.HTTPUnauthorized(text="The password of Patroni's REST API is needed.\n")
        body = await request.json()
        if body.get("leader") != self._identity.pod or not self._dcs.leads:
            return web.Response(status=412, text=f"{self._identity.pod} does not lead.\n")
        try:
            # The node is cordoned: most likely a drain has just begun, and the pod's eviction comes by another way, sooner or later.
            if body.get("patient"):
                if time.monotonic() > self._asked + _AFRESH_SECONDS:
                    self._asked = time.monotonic() + _CALM_SECONDS
                await self._calm(self._asked)
            await self._mover.move(str(body["candidate"]))
        except _PROBLEMS as error:
            return web.Response(status=503, text=f"{str(error) or type(error).__name__}\n")
        leader = self._dcs.state.lock.leader
        return web.Response(status=200 if leader == body["candidate"] else 503, text=f"{leader} leads.\n")

    async def watches(self, _: web.Request) -> web.Response:
        """For another member's agent: 200 if this one would take the lock over now, as it hears of what it has to."""
        return web.Response(text="ok\n") if self._dcs.up_to_date else web.Response(status=503, text="no news of the lock\n")

    async def _calm(self, asked: float = 0.0) -> bool:
        """Whether there was something to wait for, which is over. What the pod's deletion says goes before what was `asked`, also if it
        comes meanwhile."""
        waited = False
        while (left := (asked if self._due is None else self._due) - time.monotonic()) > 0 and self._dcs.leads:
            await self._dcs.changed(left)
            waited = True
        return waited

    async def _move_away(self) -> None:
        failing_since: float | None = None
        while self._dcs.leads:
            try:
                if await self._may_go():
                    return
                failing_since = None
            except _PROBLEMS as error:
                # A server that restarts, or is too busy for a moment, is asked again; one that refuses will not change its mind.
                refused = isinstance(error, KubeError) and error.status in (403, 404)
                failing_since = time.monotonic() if failing_since is None else failing_since
                if refused or time.monotonic() - failing_since >= _AWAY_SECONDS:
                    raise
            await self._dcs.changed(_AGAIN_SECONDS)

    async def _may_go(self) -> bool:
        """Whether there is nothing to wait for. If there is a standby that is fit, it is asked to take over."""
        pods = await self._mover.pods()
        mine = pods.get(self._identity.pod)
        if mine is None or not goes(mine):
            return True
        # The kubelet asks again when somebody shortens the grace period.
        grace = mine["metadata"].get("deletionGracePeriodSeconds") or 0
        due = time.monotonic() + min(_CALM_SECONDS, grace * _CALM_PART)
        self._due = due if self._due is None else min(self._due, due)
        cluster = await self._mover.patroni.cluster()
        if all(goes(pods[each["name"]]) for each in cluster["members"] if each["name"] in pods):
            return True  # the last member, or all go: there is nobody to wait for
        if await self._calm():
            return False  # much may have happened
        if (candidate := successor(cluster, pods)) is None:
            _log.warning("no standby is fit to take over yet")
            return False
        try:
            await self._mover.move(candidate)
        except _PROBLEMS as error:
            _log.warning("not moved to %s, trying again: %s", candidate, str(error) or type(error).__name__)
        return False
