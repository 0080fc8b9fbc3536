"""Tests of the gateway with a real Envoy on loopback; what is behind it is real where it matters, and a stand-in that says so elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from baas_operator.desired.instance.gateway import GatewayInput, GatewaySpec, Route, Upstream
from tests.backend.gateway.harness.envoy import Gateway, running
from tests.backend.gateway.harness.keys import ISSUER, Key, key_set
from tests.backend.gateway.harness.upstream import StandIn


def upstream(of: StandIn, **how: Any) -> Upstream:
    """A stand-in as the gateway reaches it."""
    return Upstream(of.name, "127.0.0.1", of.port, of.port, "/health", **{"priority": 0} | how)


@dataclass
class World:
    """A gateway before two stand-ins, `rest` and its fallback `reads`, and one named `other`."""

    gateway: Gateway
    rest: StandIn
    reads: StandIn
    other: StandIn
    key: Key
    session: aiohttp.ClientSession
    given: GatewayInput

    @property
    def anon(self) -> dict[str, str]:
        return {"apikey": self.key.token("anon")}

    @property
    def seen(self) -> int:
        return sum(len(each.seen) for each in (self.rest, self.reads, self.other))


def routes(**of_rest: Any) -> tuple[Route, ...]:
    return (
        Route("/rest/v1/", "rest", "api-key", **of_rest),
        Route("/other/v1/", "other", "api-key"),
        Route("/other/v1/open/", "other", "public", rewrite="/open/"),
        Route("/.well-known/jwks.json", "other", "public", rewrite="/jwks"),
        Route("/pg/", "other", "service-key"),
        Route("/realtime/v1/", "other", "upgrade", websocket=True),
    )


Build = Callable[..., Any]


@pytest_asyncio.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    """Makes a world: `await build(spec=…, routes=…, hosts=…)`."""
    async with AsyncExitStack() as stack:

        async def make(
            *,
            certificate: dict[str, str] | None = None,
            priorities: tuple[int, int] = (0, 2),
            more: tuple[Upstream, ...] = (),
            waits: bool = False,
            **given: Any,
        ) -> World:
            rest, reads, other = [await stack.enter_async_context(StandIn(name).running()) for name in ("rest", "reads", "other")]
            key = Key("first")
            upstreams = (
                upstream(rest, fallback="reads", priority=priorities[0], postgrest=True, waits=True),
                upstream(reads, priority=priorities[0], postgrest=True),
                upstream(other, priority=priorities[1], waits=waits),
                *more,
            )
            wanted = GatewayInput(
                **{"routes": routes(), "spec": GatewaySpec(replicas=1), "jwks": key_set(key), "drain_key": "of-this-pod"} | given,
                upstreams=upstreams, issuer=ISSUER,
            )  # fmt: skip
            gateway = stack.enter_context(running(tmp_path, wanted, certificate=certificate))
            await gateway.wait()
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return World(gateway, rest, reads, other, key, session, wanted)

        yield make


@pytest.fixture
def stranger() -> Key:
    """Another's key, of the same name."""
    return Key("first")
