"""Patroni's REST API: that of the member beside this agent and, for a sign of life alone, that of others."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from baas_operator.desired.database import names
from baas_operator.observe.addresses import authority

_ASK_SECONDS = 3.0
_SWITCHOVER_SECONDS = 20.0
_RESTART_SECONDS = 60.0
_MOST_CHARACTERS = 300
_HERE = "127.0.0.1"


def _url(path: str, address: str = _HERE) -> str:
    return f"http://{authority(address, names.PATRONI_PORT)}{path}"


class Patroni:
    """`credentials`: user and password of its REST API, for what changes something.

    All requests raise aiohttp.ClientError, TimeoutError and OSError where there is no answer, ValueError where it is none of use.
    """

    def __init__(self, session: aiohttp.ClientSession, credentials: tuple[str, str]) -> None:
        self._session = session
        self._headers = {"Authorization": aiohttp.encode_basic_auth(*credentials)}

    async def knock(self, address: str = _HERE, *, seconds: float) -> None:
        """Returns when it answers, whatever it says, within so many seconds."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self._session.get(_url("/liveness", address), timeout=timeout, allow_redirects=False):
            return

    async def cluster(self) -> dict[str, Any]:
        """What it knows of all members (its documentation, "GET /cluster")."""
        return await self._get("/cluster")

    async def config(self) -> dict[str, Any]:
        """The dynamic configuration that it goes by."""
        return await self._get("/config")

    async def switch_over(self, leader: str, candidate: str) -> tuple[int, str]:
        """Its own switchover: HTTP status and what it says."""
        return await self._post("/switchover", {"leader": leader, "candidate": candidate}, _SWITCHOVER_SECONDS)

    async def restart(self) -> tuple[int, str]:
        """Restart PostgreSQL in its place. Not with a role in the request: Patroni compares it with what may be wrong."""
        return await self._post("/restart", {}, _RESTART_SECONDS)

    async def _get(self, path: str) -> dict[str, Any]:
        async with self._session.get(_url(path), timeout=aiohttp.ClientTimeout(total=_ASK_SECONDS), allow_redirects=False) as response:
            response.raise_for_status()
            found: dict[str, Any] = json.loads(await response.text())
            return found

    async def _post(self, path: str, body: dict[str, Any], seconds: float) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self._session.post(_url(path), json=body, headers=self._headers, timeout=timeout, allow_redirects=False) as response:
            return response.status, (await response.text()).strip()[:_MOST_CHARACTERS]
