"""Without a primary: reads go on from a standby and say so, writes are told at once, and no write is sent twice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from baas_operator.desired.instance.gateway import GatewayInput, Route
from tests.backend.gateway.conftest import Build, routes
from tests.backend.gateway.harness.backend import backend
from tests.backend.gateway.harness.envoy import running, until
from tests.backend.gateway.harness.keys import ISSUER, Key, key_set
from tests.backend.gateway.harness.load import ask, load

READS_AWAY_SECONDS = 2.0
AT_ONCE_SECONDS = 0.1
TRY_SECONDS = 2.5
DEGRADED = "reads-from-standby"


async def test_reads_fall_back_and_writes_are_told_at_once(build: Build) -> None:
    world = await build()
    url = f"{world.gateway.url}/rest/v1/notes"
    normal = await ask(world.session, "GET", url, headers=world.anon)
    assert (normal.status, normal.headers.get("baas-degraded")) == (200, None)
    world.rest.well = False

    async def degraded() -> bool:
        return (await ask(world.session, "GET", url, headers=world.anon)).headers.get("baas-degraded") == DEGRADED

    await until(degraded, seconds=3, what="reads come from the fallback")
    before = len(world.rest.seen)
    for method in ("GET", "HEAD"):
        answer = await ask(world.session, method, url, headers=world.anon)
        assert (answer.status, answer.headers["baas-degraded"]) == (200, DEGRADED)
    for method, path in (("POST", ""), ("PATCH", ""), ("DELETE", ""), ("PUT", ""), ("POST", "/../rpc/add")):
        answer = await ask(world.session, method, url + path, headers=world.anon, data=b"{}")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1"), method
        assert '"message":"The backend can not answer this at the moment. Try again."' in answer.body
        assert answer.seconds < AT_ONCE_SECONDS, f"{method} waited {answer.seconds:.3f} s"
    assert len(world.rest.seen) == before
    assert {method for method, _ in world.reads.seen} == {"GET", "HEAD"}

    world.reads.well = False
    await until(lambda: _is(world, url, 503), seconds=3, what="nobody is left")
    world.rest.well = world.reads.well = True

    async def back() -> bool:
        read, write = [await ask(world.session, method, url, headers=world.anon) for method in ("GET", "POST")]
        return (read.status, write.status) == (200, 200) and "baas-degraded" not in read.headers

    assert await until(back, seconds=3, what="all is as before") < 2


async def _is(world: object, url: str, status: int) -> bool:
    return bool((await ask(world.session, "GET", url, headers=world.anon)).status == status)  # type: ignore[attr-defined]


async def test_a_write_that_was_broken_off_is_not_sent_again_and_a_read_is(build: Build) -> None:
    world = await build()
    url = f"{world.gateway.url}/rest/v1/notes"
    world.rest.breaks = 1
    answer = await ask(world.session, "POST", url, headers=world.anon, data=b"{}")
    assert (answer.status, answer.headers.get("retry-after")) == (502, None), "it may be done: nobody is told to send it again"
    assert "not known" in answer.body
    assert [method for method, _ in world.rest.seen] == ["POST"]

    world.rest.breaks = 1
    answer = await ask(world.session, "GET", url, headers=world.anon)
    assert (answer.status, answer.headers.get("baas-degraded")) == (200, None), "the second try is where it belongs"
    world.rest.breaks = 2
    answer = await ask(world.session, "GET", url, headers=world.anon)
    assert (answer.status, answer.headers.get("baas-degraded")) == (200, DEGRADED), "and then it is the fallback's"
    assert {method for method, _ in world.reads.seen} == {"GET"}


async def test_a_read_without_answer_goes_elsewhere_when_its_try_is_over(build: Build) -> None:
    world = await build(routes=routes(read_try_seconds=0.5))
    answer = await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/notes?sleep=0.2", headers=world.anon)
    assert (answer.status, answer.headers.get("baas-degraded")) == (200, None)
    world.rest.slow = 20
    answer = await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/notes", headers=world.anon)
    assert (answer.status, answer.headers.get("baas-degraded")) == (200, DEGRADED)
    assert 0.5 <= answer.seconds < 2


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_a_primary_goes_and_reads_stay(fault: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    key = Key("first")
    async with backend(tmp_path, key_set(key)) as data:
        given = GatewayInput(
            upstreams=data.upstreams, routes=(Route("/rest/v1/", "rest", "api-key", read_try_seconds=TRY_SECONDS),),
            jwks=key_set(key), issuer=ISSUER,
        )  # fmt: skip
        with running(tmp_path / "gateway", given) as gateway:
            await gateway.wait()
            url, headers = f"{gateway.url}/rest/v1/notes?limit=1", {"apikey": key.token("anon")}
            async with aiohttp.ClientSession(headers=headers) as session:

                async def writable() -> bool:
                    return (await ask(session, "POST", url, json={"title": "first"})).status == 201

                await until(writable, seconds=15, what="writes are taken", told=gateway.log)
            async with load(url, headers=headers, reads=30, writes=15) as made:
                await asyncio.sleep(1.5)
                assert not made.bad(), made.bad()[:3]
                broke = time.monotonic()
                frozen = data.freeze() if fault == "frozen" else []
                if not frozen:
                    data.primary.kill()
                await asyncio.sleep(4)
                promoted = time.monotonic()
                for pid in frozen:
                    os.kill(pid, signal.SIGKILL)
                data.standby.promote()
                await asyncio.sleep(3)
            written = await data.written(data.standby)

    away = made.longest_without("GET", since=broke)
    acknowledged = [each for each in made.answers if each.method == "POST" and each.status == 201]
    back = min(each.ended for each in acknowledged if each.ended > promoted)
    late = [each for each in made.answers if broke + READS_AWAY_SECONDS < each.began < promoted]
    writes = [each for each in late if each.method == "POST"]
    failed = made.bad("GET")
    longest = max(each.seconds for each in writes)
    figure(f"{fault}: reads away {away:.2f} s, {len(failed)} of them failed; writes refused after {longest:.3f} s at most")
    figure(f"{fault}: writes back {back - promoted:.2f} s after the promotion")
    assert away < READS_AWAY_SECONDS
    assert {each.headers.get("baas-degraded") for each in late if each.method == "GET"} == {DEGRADED}
    assert {(each.status, each.headers.get("Retry-After")) for each in writes} == {(503, "1")}
    assert longest < AT_ONCE_SECONDS * 5
    assert not failed, failed[:3]
    assert max(each.seconds for each in made.answers if each.method == "GET") < TRY_SECONDS + 1
    assert back - promoted < 3
    # No write twice: what is there is what was acknowledged, and at most what nobody knows of.
    unknown = [each for each in made.bad("POST") if broke - 0.5 < each.began < broke + READS_AWAY_SECONDS]
    assert len(acknowledged) <= written <= len(acknowledged) + len(unknown)
