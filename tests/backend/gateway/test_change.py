"""A gateway takes on another configuration while it serves: nobody who has a connection notices."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from baas_operator.desired.instance.gateway import GatewayInput, GatewaySpec, Limits, Rate, Route, gateway_files, in_effect
from tests.backend.gateway.conftest import Build, World, routes
from tests.backend.gateway.harness.envoy import until
from tests.backend.gateway.harness.keys import ISSUER, Key, key_set
from tests.backend.gateway.harness.load import ask, load
from tests.backend.gateway.harness.upstream import StandIn

IN_EFFECT_SECONDS = 1.0
Figure = Callable[[str], None]


async def _status(world: World, path: str, key: Key | None = None) -> int:
    headers = {"apikey": key.token("anon")} if key else {}
    return (await ask(world.session, "GET", f"{world.gateway.url}{path}", headers=headers)).status


async def _told(world: World) -> dict[str, object]:
    return dict(json.loads((await ask(world.session, "GET", f"{world.gateway.health_url}/config")).body))


async def _has(world: World, key: Key) -> bool:
    """Whether the gateway proves that it lets a key in."""
    answer = await ask(world.session, "GET", f"{world.gateway.health_url}/config/keys", headers={"apikey": key.token("anon")})
    assert answer.status in (200, 401)
    return answer.status == 200


async def _change(world: World, given: GatewayInput, *checks: Callable[[], Awaitable[bool]]) -> float:
    """Make the change; seconds until the last of the checks held."""
    began = time.monotonic()
    world.gateway.change(given)
    for check in checks:
        await until(check, seconds=5, what="the new configuration is in effect", told=world.gateway.log)
    return time.monotonic() - began


async def test_keys_and_routes_and_limits_change_under_load(build: Build, figure: Figure) -> None:
    world = await build()
    new, second = Key("second"), world.key

    async def newer() -> bool:
        return await _status(world, "/rest/v1/x", new) == 200

    async def there() -> bool:
        return await _status(world, "/added/v1/x", second) == 200

    async def gone() -> bool:
        return await _status(world, "/added/v1/x", second) == 404

    async with load(f"{world.gateway.url}/rest/v1/notes", headers=world.anon, reads=50, writes=25) as made:
        await asyncio.sleep(0.5)
        assert await _status(world, "/rest/v1/x", new) == 401
        more = replace(
            world.given, jwks=key_set(world.key, new), routes=(*world.given.routes, Route("/added/v1/", "other", "api-key")),
            spec=replace(world.given.spec, limits=Limits(total=Rate(1000, 2000), per_key=Rate(1000, 1000))),
        )  # fmt: skip
        took = [await _change(world, more, newer, there)]
        for turn in range(4):
            took.append(await _change(world, world.given if turn % 2 == 0 else more, gone if turn % 2 == 0 else there))
        await asyncio.sleep(0.5)
    figure(f"{len(made.answers)} requests over {len(took)} changes, in effect after {max(took):.2f} s at most")
    assert len(made.answers) > 50
    assert not made.bad(), made.bad()[:3]
    assert max(took) < IN_EFFECT_SECONDS, took
    statistics = await world.gateway.statistics()
    assert sum(value for name, value in statistics.items() if name.startswith("envoy_listener_manager_listener_modified")) == 0


async def test_a_key_that_is_revoked_is_refused_at_once_on_open_connections_too(build: Build, figure: Figure) -> None:
    world = await build()
    new = Key("second")
    headers = {"apikey": world.key.token("anon")}
    assert (await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/x", headers=headers)).status == 200

    async def refused() -> bool:
        return await _status(world, "/rest/v1/x", world.key) == 401

    took = await _change(world, replace(world.given, jwks=key_set(new)), refused)
    figure(f"revoked after {took:.2f} s")
    assert took < IN_EFFECT_SECONDS
    # A token that was verified before is not remembered: the same session, the same text.
    assert (await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/x", headers=headers)).status == 401
    assert await _status(world, "/rest/v1/x", new) == 200


async def test_the_gateway_tells_which_configuration_is_in_effect(build: Build) -> None:
    world = await build()

    new = Key("second")
    assert await _told(world) == in_effect(world.gateway.given)
    assert (await _told(world))["kids"] == ["first"]
    assert (await _has(world, world.key), await _has(world, new)) == (True, False)
    world.gateway.change(replace(world.given, jwks=key_set(new)))

    async def all_told() -> bool:
        return await _told(world) == in_effect(world.gateway.given) and await _has(world, new) and not await _has(world, world.key)

    await until(all_told, seconds=IN_EFFECT_SECONDS, what="the new keys", told=world.gateway.log)
    assert (await _told(world))["kids"] == ["second"]


async def test_what_envoy_refuses_leaves_the_keys_as_they_were(build: Build) -> None:
    world = await build()
    assert not await _has(world, Key("second"))
    files = gateway_files(replace(world.gateway.given, jwks=key_set(Key("second"))))
    files["filter-jwt.yaml"] = (
        files["filter-jwt.yaml"].replace(ISSUER, "another").replace('"inline_string": "', '"inline_string": "no keys ')
    )
    world.gateway.mount.write(files)

    async def rejected() -> bool:
        return "rejected" in world.gateway.log()

    await until(rejected, seconds=5, what="Envoy refuses a key set that is none")
    assert await _status(world, "/rest/v1/x", world.key) == 200
    assert await _has(world, world.key)


@pytest.mark.parametrize("what", ["upstream", "listener", "several"])
async def test_upstreams_and_listeners_change_without_a_failed_request(build: Build, what: str, figure: Figure) -> None:
    world = await build()
    async with StandIn("rest").running() as elsewhere:
        moved = tuple(
            replace(each, port=elsewhere.port, health_port=elsewhere.port) if each.name == "rest" else each
            for each in world.given.upstreams
        )
        new = {
            "upstream": replace(world.given, upstreams=moved),
            "listener": replace(world.given, routes=routes(body_bytes=12_345)),  # a limit of its own is a filter of its own
            "several": replace(world.given, upstreams=moved, routes=routes(body_bytes=12_345), jwks=key_set(world.key, Key("second")),
                               spec=GatewaySpec(replicas=1, cors_origins=("https://shop.example",))),
        }[what]  # fmt: skip
        async with load(f"{world.gateway.url}/rest/v1/notes?sleep=0.05", headers=world.anon, reads=40, writes=20) as made:
            await asyncio.sleep(0.5)
            for turn in range(4):
                world.gateway.change(world.given if turn % 2 else new)
                await asyncio.sleep(1)
            world.gateway.change(new)
            await asyncio.sleep(1.5)
        figure(f"{what}: {len(made.answers)} requests over 5 changes, {len(made.bad())} failed")
        assert not made.bad(), made.bad()[:3]
        assert (what != "listener") is bool(elsewhere.seen)
        statistics = await world.gateway.statistics()
        modified = sum(value for name, value in statistics.items() if "listener_in_place_updated" in name or "listener_modified" in name)
        assert (modified > 0) is (what != "upstream")
        assert not [each for each in world.gateway.log().splitlines() if "rejected" in each]
