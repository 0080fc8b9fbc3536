"""Before a primary's pod goes, another member takes over: the kubelet asks here first and ends PostgreSQL only after the answer.

Clients of the pooler wait meanwhile, and see no error.

Whatever takes a pod away takes this way, with or without an operator: an eviction, a drain, a rolling update, somebody's `kubectl
delete pod` (Kubernetes documentation, "Container lifecycle hooks"). Otherwise writes would wait until PostgreSQL has shut down and its
lock was let go of; a switchover keeps the primary until a standby has all of its log.

Anybody who reaches the port may ask. So it is done only if the API server says that the pod is being deleted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from baas_operator.agent.dcs import Dcs
from baas_operator.agent.identity import Identity
from baas_operator.agent.kube import Kube, KubeError
from baas_operator.desired.database import names
from baas_operator.desired.meta import COMPONENT_LABEL

_GIVEN_UP_SECONDS = 40.0
"""A third of the time that the pod has for its end: PostgreSQL needs the rest."""
_AGAIN_SECONDS = 0.5
_ASK_SECONDS = 3.0
_SWITCHOVER_SECONDS = 20.0
_PAUSE_SECONDS = 8.0
"""A pooler waits 5 s for transactions to end before it says that some still run."""
_MOST_LAG_BYTES = 16 * 1024 * 1024
_SYNCHRONOUS = ("quorum_standby", "sync_standby")
_log = logging.getLogger("agent.retire")


def successor(cluster: Mapping[str, Any], pods: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The standby that should take over, of those that lack nothing that was acknowledged (with durability async: little) and are to stay.
    The youngest pod, so that a rolling update meets the primary once; None if there is none.

    `cluster`: what Patroni's REST API says on /cluster; `pods`: the members' pods by name.
    """
    members = [each for each in cluster.get("members") or [] if each.get("name") in pods and each.get("role") != "leader"]
    synchronous = [each for each in members if each.get("role") in _SYNCHRONOUS]
    fit = [
        each["name"]
        for each in synchronous or members
        if each.get("state") == "streaming" and isinstance(lag := each.get("lag"), int) and lag <= _MOST_LAG_BYTES
    ]
    staying = [name for name in fit if not _goes(pods[name])]
    return max(staying, key=lambda name: (pods[name]["metadata"]["creationTimestamp"], name), default=None)


def _goes(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def poolers(pods: Iterable[Mapping[str, Any]]) -> list[str]:
    """Addresses of the pooler's pods that run."""
    found = [each for each in pods if (each["metadata"].get("labels") or {}).get(COMPONENT_LABEL) == names.POOLER]
    return [address for each in found if (address := (each.get("status") or {}).get("podIP"))]


class Retirement:
    """Moves the primary away from this member when its pod is to go."""

    def __init__(
        self, kube: Kube, session: aiohttp.ClientSession, identity: Identity, dcs: Dcs, credentials: tuple[str, str], *, token: Path,
    ) -> None:  # fmt: skip
        self._kube = kube
        self._session = session
        self._identity = identity
        self._dcs = dcs
        self._headers = {"Authorization": aiohttp.encode_basic_auth(*credentials)}
        self._token = token
        self._turn = asyncio.Lock()

    async def answer(self, _: web.Request) -> web.Response:
        """For the kubelet: the answer comes when the pod may go. It is never refused: Patroni's own shutdown is second best."""
        async with self._turn:
            try:
                async with asyncio.timeout(_GIVEN_UP_SECONDS):
                    await self._move_away()
            except (KubeError, aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError) as error:
                _log.warning("the primary could not be moved away: %s", str(error) or type(error).__name__)
        return web.Response(text="ok\n")

    @property
    def _leads(self) -> bool:
        return self._dcs.state.lock.leader == self._identity.pod

    async def _move_away(self) -> None:
        while self._leads:
            pods = {each["metadata"]["name"]: each for each in await self._kube.list(self._identity.pods, label=self._identity.scope_label)}
            mine = pods.get(self._identity.pod)
            if mine is None or not _goes(mine):
                return
            cluster = await self._cluster()
            if all(_goes(pods[each["name"]]) for each in cluster["members"] if each["name"] in pods):
                return  # the last member, or all go: there is nobody to wait for
            candidate = successor(cluster, pods)
            if candidate is None:
                _log.warning("no standby is fit to take over yet")
            elif await self._switch_over(candidate, poolers(pods.values())):
                return
            await self._dcs.changed(_AGAIN_SECONDS)

    async def _cluster(self) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
        async with self._session.get(f"http://127.0.0.1:{names.PATRONI_PORT}/cluster", timeout=timeout) as response:
            found: dict[str, Any] = json.loads(await response.text())
            return found

    async def _switch_over(self, candidate: str, addresses: list[str]) -> bool:
        """Whether this member leads no more."""
        await self._ask_poolers("pause", addresses)
        started = time.monotonic()
        body = {"leader": self._identity.pod, "candidate": candidate}
        timeout = aiohttp.ClientTimeout(total=_SWITCHOVER_SECONDS)
        url = f"http://127.0.0.1:{names.PATRONI_PORT}/switchover"
        async with self._session.post(url, json=body, headers=self._headers, timeout=timeout) as response:
            said = (await response.text()).strip()[:300]
        _log.warning("switchover to %s: %d %s, after %.1f s", candidate, response.status, said, time.monotonic() - started)
        if response.status != 200:
            await self._ask_poolers("resume", addresses)
        return not self._leads

    async def _ask_poolers(self, what: str, addresses: list[str]) -> None:
        """Let clients wait, or go on. A pooler that does not answer loses its clients what they would have lost without it."""
        try:
            headers = {"Authorization": f"Bearer {self._token.read_text().strip()}"}
        except OSError:
            return  # there is no pooler
        timeout = aiohttp.ClientTimeout(total=_PAUSE_SECONDS)

        async def ask(address: str) -> None:
            url = f"http://{f'[{address}]' if ':' in address else address}:{names.POOLER_AGENT_PORT}/{what}"
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._session.post(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
                    _log.info("asked the pooler at %s to %s: %d", address, what, response.status)

        await asyncio.gather(*map(ask, addresses))
