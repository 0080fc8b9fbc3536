"""Agents beside the servers of a test, in its own process, with the files that a pod would mount."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.test_utils import TestClient, TestServer

from baas_operator.desired.queue import names
from baas_operator.jetstream.tasks import end
from baas_operator.queue_agent.main import Agent
from baas_operator.queue_agent.server import Place
from tests.jetstream.users.secured import HOST, Secured


def bring_users(servers: Secured, name: str) -> None:
    """The Secrets of the agent's users, as they are now."""
    for user in (names.AGENT, names.AGENT_SYSTEM):
        folder = servers.home(name) / "users" / user
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "username").write_text(servers.logins[user][0].username)
        (folder / "password").write_text(servers.logins[user][0].password)


def agent_of(servers: Secured, name: str) -> Agent:
    """An agent that does not run yet."""
    bring_users(servers, name)
    home = servers.home(name)
    place = Place(name, HOST, servers.client_ports[name], home / "users", home / "tls" / "ca.crt")
    return Agent(place, (home / "config", home / "tls"), home / "run")


class Beside:
    """An agent that runs, and what it says over HTTP."""

    def __init__(self, agent: Agent, client: TestClient[Any, Any]) -> None:
        self.agent = agent
        self._client = client

    async def get(self, path: str) -> tuple[int, str]:
        async with self._client.get(path) as response:
            return response.status, await response.text()

    async def ready(self, wanted: int) -> bool:
        """Whether the kubelet would be answered so: 200, or 503."""
        return (await self.get(names.CAUGHT_UP_PATH))[0] == wanted

    async def status(self) -> dict[str, Any]:
        async with self._client.get(names.STATUS_PATH) as response:
            found: dict[str, Any] = await response.json()
            return found


@asynccontextmanager
async def beside(servers: Secured, name: str) -> AsyncIterator[Beside]:
    """The agent of a server, until the block ends."""
    agent = agent_of(servers, name)
    running = asyncio.create_task(agent.run())
    client = TestClient(TestServer(agent.app()), timeout=aiohttp.ClientTimeout(total=5))
    await client.start_server()
    try:
        yield Beside(agent, client)
    finally:
        died = running.exception() if running.done() else None
        await end([running])
        await agent.server.close()
        await client.close()
        if died:
            raise died


async def until(true: Callable[[], Awaitable[bool]], what: str, seconds: float = 30.0) -> float:
    """Wait for something; the seconds that it took."""
    started = asyncio.get_running_loop().time()
    while not await true():
        took = asyncio.get_running_loop().time() - started
        assert took < seconds, f"{what}: not within {seconds:.0f} s"
        await asyncio.sleep(0.1)
    return asyncio.get_running_loop().time() - started
