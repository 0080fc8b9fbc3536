"""How much may be asked: rates, bodies, time, and what is shed first when there is too much of everything."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from baas_operator.desired.instance.gateway import GatewaySpec, Limits, Rate
from baas_operator.desired.instance.gateway.keys import OWN_HEADERS
from tests.backend.gateway.conftest import Build, World, routes
from tests.backend.gateway.harness.keys import Key
from tests.backend.gateway.harness.load import Answer, ask
from tests.backend.gateway.harness.postgrest import ENDED

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MORE_MIB = 200
"""Twice a direction and request (KEPT_BYTES), and as much again."""


async def _times(world: World, count: int, path: str = "/rest/v1/notes", **headers: str) -> list[int]:
    return [(await ask(world.session, "GET", f"{world.gateway.url}{path}", headers=headers)).status for _ in range(count)]


async def test_each_user_has_a_rate_of_their_own(build: Build) -> None:
    world = await build(spec=GatewaySpec(replicas=1, limits=Limits(per_key=Rate(1, 5))))
    anon = world.key.token("anon")

    def user(name: str) -> dict[str, str]:
        return {"apikey": anon, "authorization": f"Bearer {world.key.token('authenticated', sub=name)}"}

    alice = await _times(world, 8, **user("alice"))
    assert alice[:5] == [200] * 5
    assert alice[-1] == 429
    assert await _times(world, 5, **user("bob")) == [200] * 5
    assert await _times(world, 3, apikey=anon, authorization=f"Bearer {anon}") == [200] * 3
    # Another token of the same user is the same user.
    assert 429 in await _times(world, 3, **user("alice"))

    refused = await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/notes", headers=user("alice"))
    if refused.status == 200:
        refused = await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/notes", headers=user("alice"))
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert '"message":"Too many requests. Try again later."' in refused.body
    await asyncio.sleep(1.2)
    assert 200 in await _times(world, 1, **user("alice"))


@pytest.mark.parametrize("who", ["key", "token", "both"])
async def test_a_key_of_nobody_is_counted_by_address(build: Build, who: str) -> None:
    world = await build(spec=GatewaySpec(replicas=1, limits=Limits(per_key=Rate(1, 3))))
    anon = world.key.token("anon")
    headers = {"key": {"apikey": anon}, "token": {"authorization": f"Bearer {anon}"}}
    headers["both"] = headers["key"] | headers["token"]
    told = await _times(world, 10, **headers[who])
    assert told[:3] == [200] * 3
    assert told.count(429) >= 4, told
    # One with a name is not among them, and what asks for no key is none of theirs.
    assert await _times(world, 1, authorization=f"Bearer {world.key.token('authenticated', sub='alice')}") == [200]
    assert await _times(world, 5, "/other/v1/open/") == [200] * 5


async def test_nobody_chooses_the_name_that_is_counted(build: Build) -> None:
    world = await build(spec=GatewaySpec(replicas=1, limits=Limits(per_key=Rate(1, 3), per_address=Rate(1, 2))))
    anon = world.key.token("anon")
    for path, headers in (("/rest/v1/notes", {"apikey": anon}), ("/other/v1/open/", {})):
        forged = [dict.fromkeys(OWN_HEADERS, f"user-{number}") for number in range(10)]
        told = [(await _times(world, 1, path, **headers, **each))[0] for each in forged]
        assert told.count(429) >= 4, told


async def test_probers_are_no_clients(build: Build, stranger: Key) -> None:
    """What one asks in a round comes at once, from one address; with as little as this for each client it was refused in every round."""
    limits = Limits(per_key=Rate(1, 2), per_address=Rate(1, 2), exempt_roles=("baas_probe",))
    world = await build(spec=GatewaySpec(replicas=1, limits=limits))
    probe, anon = world.key.token("baas_probe"), world.key.token("anon")
    tokens = {"its own": probe, "service_role": world.key.token("service_role"), "user": world.key.token("authenticated", sub="prober")}
    for who, token in tokens.items():
        assert await _times(world, 5, apikey=probe, authorization=f"Bearer {token}") == [200] * 5, who
    assert await _times(world, 5, apikey=probe) == [200] * 5
    assert await _times(world, 5, "/other/v1/open/", apikey=probe) == [200] * 5
    assert await _times(world, 5, "/pg/tables", apikey=probe, authorization=f"Bearer {tokens['service_role']}") == [200] * 5
    assert await _times(world, 1, "/pg/tables", apikey=probe) == [403], "no more than that"

    # Nobody else is one: not by a name of the gateway's own, nor by a key that the instance did not sign.
    named = dict.fromkeys(OWN_HEADERS, "baas_probe")
    for headers in ({"apikey": anon}, {"apikey": anon, "authorization": f"Bearer {tokens['user']}"}):
        assert (await _times(world, 6, **headers, **named)).count(429) >= 2
    for number, headers in enumerate(({}, {"apikey": stranger.token("baas_probe")}, {"apikey": "baas_probe"}, {"apikey": anon})):
        told = await _times(world, 6, "/other/v1/open/", **headers, **named)
        assert set(told) <= {200, 429}, "a route that asks for nothing refuses nobody"
        assert told.count(429) >= 2, number
    assert await _times(world, 1, apikey=stranger.token("baas_probe")) == [401]


async def test_the_total_counts_probers_too(build: Build) -> None:
    world = await build(spec=GatewaySpec(replicas=1, limits=Limits(total=Rate(1, 3), exempt_roles=("baas_probe",))))
    assert (await _times(world, 8, apikey=world.key.token("baas_probe"))).count(429) >= 3


async def test_the_total_is_shared_out_to_the_pods(build: Build) -> None:
    world = await build(spec=GatewaySpec(replicas=3, limits=Limits(total=Rate(3, 30))))
    users = [{"authorization": f"Bearer {world.key.token('authenticated', sub=str(number))}"} for number in range(20)]
    told = [(await _times(world, 1, **user))[0] for user in users]
    assert 10 <= told.count(200) <= 12, told
    assert told.count(429) == 20 - told.count(200)


async def test_a_body_that_is_too_long_is_refused_with_and_without_a_length(build: Build) -> None:
    world = await build(routes=routes(body_bytes=100_000))
    url = f"{world.gateway.url}/rest/v1/notes"

    async def chunks(count: int):  # type: ignore[no-untyped-def]
        for _ in range(count):
            yield b"x" * 10_000

    async with world.session.post(url, data=b"x" * 100_000, headers=world.anon) as answer:
        assert (answer.status, (await answer.json())["length"]) == (200, 100_000)
    async with world.session.post(url, data=chunks(10), headers=world.anon) as answer:
        assert answer.status == 200
    async with world.session.post(url, data=b"x" * 100_001, headers=world.anon) as answer:
        assert answer.status == 413
        assert (await answer.json())["message"] == "The request is too large."
    try:
        async with world.session.post(url, data=chunks(30), headers=world.anon) as answer:
            assert answer.status == 413
    except aiohttp.ClientConnectionError:
        pass  # answered and closed while the client was still sending
    # Another route has the gateway's own limit.
    async with world.session.post(f"{world.gateway.url}/other/v1/files", data=b"x" * 2_000_000, headers=world.anon) as answer:
        assert (await answer.json())["length"] == 2_000_000


async def test_what_takes_too_long_is_told_so(build: Build) -> None:
    world = await build(spec=GatewaySpec(limits=Limits(timeout_seconds=1)))
    for method in ("GET", "POST"):
        answer = await ask(world.session, method, f"{world.gateway.url}/rest/v1/notes?sleep=5", headers=world.anon)
        assert answer.status == 504, answer
        assert 0.9 < answer.seconds < 2
        assert "The backend did not answer in time." in answer.body
    assert len([each for each in world.rest.seen if each[0] == "POST"]) == 1
    assert len([each for each in world.rest.seen if each[0] == "GET"]) == 1


async def test_a_route_that_takes_longer_has_its_time(build: Build) -> None:
    world = await build(routes=routes(timeout_seconds=4), spec=GatewaySpec(limits=Limits(timeout_seconds=1)))
    answer = await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/notes?sleep=2", headers=world.anon)
    assert answer.status == 200
    answer = await ask(world.session, "GET", f"{world.gateway.url}/other/v1/notes?sleep=2", headers=world.anon)
    assert answer.status == 504


async def test_open_websockets_take_no_request_its_place(build: Build) -> None:
    """An upstream that matters least has 128 requests at a time; each WebSocket was one of them for as long as it was open."""
    world = await build(priorities=(0, 3))
    url = f"{world.gateway.url}/realtime/v1/socket?apikey={world.key.token('anon')}"
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        sockets = [await stack.enter_async_context(session.ws_connect(url)) for _ in range(300)]
        told = [await ask(world.session, "GET", f"{world.gateway.url}/other/v1/notes", headers=world.anon) for _ in range(20)]
        await sockets[-1].send_str("hello")
        assert (await sockets[-1].receive(timeout=5)).data == "other heard hello"
    assert [each.status for each in told] == [200] * 20


async def test_a_route_for_websockets_takes_nothing_else(build: Build) -> None:
    """It asks for no end, and counts no body."""
    world = await build()
    url = f"{world.gateway.url}/realtime/v1/socket?apikey={world.key.token('anon')}"
    for headers in ({}, {"upgrade": "h2c", "connection": "upgrade"}):
        async with world.session.post(url, data=b"x", headers=headers) as answer:
            assert answer.status in (403, 404)
    assert not world.other.seen


async def test_what_matters_least_is_shed_first_and_at_once(build: Build) -> None:
    world = await build(priorities=(0, 3))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=world.anon, connector=connector) as session:
        crowd = [asyncio.create_task(ask(session, "GET", f"{world.gateway.url}/other/v1/slow?sleep=4")) for _ in range(400)]
        await asyncio.sleep(1)
        url = f"{world.gateway.url}/rest/v1/x?sleep=0.1"
        meanwhile: list[Answer] = await asyncio.gather(*(ask(session, "GET", url) for _ in range(150)))
        told = await asyncio.gather(*crowd)
    assert [each.status for each in meanwhile] == [200] * 150
    shed = [each for each in told if each.status != 200]
    assert 64 <= len(told) - len(shed) <= 128 + 64  # under way, and waiting
    assert {(each.status, each.headers["retry-after"]) for each in shed} == {(503, "1")}
    assert max(each.seconds for each in shed) < 3, "those that were refused waited for it"


async def test_more_clients_than_a_pod_takes_do_not_hurt_those_that_are_there(build: Build) -> None:
    world = await build(spec=GatewaySpec(replicas=1, limits=replace(Limits(), connections=20)))
    url = f"{world.gateway.url}/rest/v1/notes"
    async with aiohttp.ClientSession(headers=world.anon, connector=aiohttp.TCPConnector(limit=5)) as inside:
        assert [(await ask(inside, "GET", url)).status for _ in range(5)] == [200] * 5
        async with aiohttp.ClientSession(headers=world.anon, connector=aiohttp.TCPConnector(limit=0)) as many:
            crowd = [asyncio.create_task(ask(many, "GET", f"{url}?sleep=2")) for _ in range(60)]
            began = time.monotonic()
            assert [(await ask(inside, "GET", url)).status for _ in range(10)] == [200] * 10
            assert time.monotonic() - began < 2
            told = await asyncio.gather(*crowd)
    assert 15 <= sum(each.status == 200 for each in told) <= 20, [each.status for each in told]


@pytest.mark.parametrize("held", [False, True])
async def test_large_writes_that_wait_do_not_fill_the_memory(build: Build, held: bool, figure: Callable[[str], None]) -> None:
    """Of each the gateway keeps a little, and leaves the rest to its client."""
    world = await build()
    if held:
        world.rest.says = (503, ENDED)
    else:
        world.rest.slow = 3
    before = _resident_mib(world)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        body = bytes(1024 * 1024)
        url = f"{world.gateway.url}/rest/v1/notes"
        asked = [asyncio.create_task(ask(session, "POST", url, headers=world.anon, data=body)) for _ in range(300)]
        most = before
        while not all(each.done() for each in asked):
            most = max(most, _resident_mib(world))
            await asyncio.sleep(0.1)
        answers = [each.result() for each in asked]
    figure(f"300 writes of 1 MiB {'that are held' if held else 'to a slow component'}: {most - before} MiB more than {before}")
    assert {each.status for each in answers} <= {200, 503}, "a stand-in with so much to read misses health checks"
    assert held or 200 in {each.status for each in answers}
    assert most - before < MORE_MIB


def _resident_mib(world: World) -> int:
    return int(Path(f"/proc/{world.gateway.pid}/statm").read_text().split()[1]) * PAGE_BYTES // 2**20
