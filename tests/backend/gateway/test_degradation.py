"""Without a primary reads go on from a standby and say so; writes wait for one that moves, and are refused at once if it stays away.
No write is done twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from baas_operator.desired.instance.gateway import GatewayInput, Route
from baas_operator.desired.instance.gateway.model import WAITED_HEADER
from tests.backend.gateway.conftest import Build, routes
from tests.backend.gateway.harness.backend import Backend, backend
from tests.backend.gateway.harness.envoy import running, until
from tests.backend.gateway.harness.keys import ISSUER, Key, key_set
from tests.backend.gateway.harness.load import Load, ask, load
from tests.backend.gateway.harness.postgrest import ENDED

READS_AWAY_SECONDS = 2.0
AT_ONCE_SECONDS = 0.1
HELD_SECONDS = 4.8
"""After so long a component that says that it takes no writes is given up."""
SILENT_SECONDS = 7.2
"""The same of one that says nothing."""
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

    async def given_up() -> bool:
        return (await ask(world.session, "POST", url, headers=world.anon, data=b"{}")).status == 503

    await until(given_up, seconds=HELD_SECONDS + 1, what="nobody waits for it any more")
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


async def test_a_write_that_was_not_done_waits_for_a_moment(build: Build) -> None:
    """The component's check says at once that there is no primary, and the component that nothing was done."""
    world = await build()
    url = f"{world.gateway.url}/rest/v1/notes"
    await asyncio.sleep(1)  # the gateway has just begun to ask who is well
    world.rest.says, world.rest.well = (503, ENDED), False
    asked = [asyncio.create_task(ask(world.session, "POST", url, headers=world.anon, data=b'{"title": "held"}')) for _ in range(40)]
    await asyncio.sleep(1.5)
    assert not [each for each in asked if each.done()], "all of them wait, also those that come when it is known"
    before = len(world.rest.seen)
    asked += [asyncio.create_task(ask(world.session, "POST", url, headers=world.anon, data=b'{"title": "held"}')) for _ in range(10)]
    await asyncio.sleep(1)
    assert len(world.rest.seen) == before, "in the gateway: who is becoming the next primary is not asked"
    world.rest.says, world.rest.well = None, True
    answers = await asyncio.gather(*asked)
    assert {each.status for each in answers} == {200}
    assert {json.loads(each.body)["length"] for each in answers} == {len(b'{"title": "held"}')}, "sent whole each time"
    assert not [each for each in answers if "baas-degraded" in each.headers or "baas-undone" in each.headers]

    world.rest.says, world.rest.well = (503, ENDED), False
    small, large = [ask(world.session, "POST", url, headers=world.anon, data=data) for data in (b"1" * 100_000, b"1" * 300_000)]
    answer, told = await asyncio.gather(small, large)
    for each in (answer, told):
        assert (each.status, each.headers.get("retry-after"), each.headers.get("baas-undone")) == (503, "1", None)
    assert told.seconds < 1, "nobody keeps what is as large as that"
    assert 1 < answer.seconds < HELD_SECONDS + 1, "and not for ever"

    world.rest.well = True
    await asyncio.sleep(1)
    world.rest.well = False
    await asyncio.sleep(1)
    slow = await ask(world.session, "POST", url, headers=world.anon, data=_pieces(10, 30_000))
    assert (slow.status, slow.headers.get("retry-after")) == (503, "1"), "also where it outgrows what is kept while its request waits"


async def _pieces(many: int, size: int) -> AsyncIterator[bytes]:
    """A body that comes as over a network."""
    for _ in range(many):
        yield b"1" * size
        await asyncio.sleep(0.03)


async def test_what_comes_while_no_pod_is_well_waits_for_a_moment_and_is_sent_to_none(build: Build, figure: Callable[[str], None]) -> None:
    """Of a component that does not tell what was done. Its check says at once that it is not well, and requests wait in the gateway."""
    world = await build(waits=True)
    url = f"{world.gateway.url}/other/v1/things"

    def asked(method: str, body: bytes | None = None, **headers: str) -> Any:
        return asyncio.create_task(ask(world.session, method, url, headers=world.anon | headers, data=body))

    async def out() -> bool:
        return (
            await ask(world.session, "POST", f"{world.gateway.url}/other/v1/out", headers=world.anon, data=b"1" * 300_000)
        ).status == 503

    assert (await asked("POST", b"{}")).status == 200
    world.other.well = False
    await until(out, seconds=3, what="no pod is well: what is too large to be kept is told at once")
    before = len(world.other.seen)
    many = [asked(method, b"{}" if method == "POST" else None) for method in ("POST", "GET") for _ in range(20)]
    await asyncio.sleep(0.8)
    assert not [each for each in many if each.done()]
    assert len(world.other.seen) == before, "nothing was sent"
    world.other.well = True
    answers = await asyncio.gather(*many)
    assert {(each.status, each.headers.get("baas-undone")) for each in answers} == {(200, None)}
    assert len(world.other.seen) == before + len(many), "each once"

    await asyncio.sleep(1.2)  # all checks see it well
    world.other.well = False
    await until(out, seconds=3, what="no pod is well again")
    answer = await asked("POST", b"{}", **{WAITED_HEADER: "other"})  # not the gateway's own question, whatever it says
    assert (answer.status, answer.headers.get("retry-after"), answer.headers.get("baas-undone")) == (503, "1", None)
    assert 1 < answer.seconds < HELD_SECONDS + 1.5, "and not for ever"
    figure(f"a request without a pod that is well was refused after {answer.seconds:.1f} s")
    await asyncio.sleep(1)
    again = await asyncio.gather(asked("POST", b"{}"), asked("GET"))
    assert {each.status for each in again} == {503}
    assert max(each.seconds for each in again) < AT_ONCE_SECONDS, "from then on at once"
    world.other.well = True

    async def back() -> bool:
        return (await asked("POST", b"{}")).status == 200

    await until(back, seconds=3, what="it is back")


async def test_a_function_can_not_have_a_write_done_twice(build: Build) -> None:
    """A user's function sets headers of its answer (PostgREST, `response.headers`)."""
    world = await build()
    world.rest.more_headers = {"baas-undone": "1"}
    answer = await ask(world.session, "POST", f"{world.gateway.url}/rest/v1/rpc/of_mine", headers=world.anon, data=b"{}")
    assert (answer.status, len(world.rest.seen), answer.headers.get("baas-undone")) == (200, 1, None)
    world.rest.status = 503
    answer = await ask(world.session, "POST", f"{world.gateway.url}/rest/v1/rpc/of_mine", headers=world.anon, data=b"{}")
    assert (answer.status, len(world.rest.seen), answer.headers.get("baas-undone")) == (503, 2, None)


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
    known = SILENT_SECONDS if fault == "frozen" else HELD_SECONDS
    async with _loaded(tmp_path) as (data, made):
        assert not made.bad(), made.bad()[:3]
        broke = time.monotonic()
        frozen = data.freeze() if fault == "frozen" else []
        if not frozen:
            data.primary.kill()
        await asyncio.sleep(known + 2)
        promoted = time.monotonic()
        for pid in frozen:
            os.kill(pid, signal.SIGKILL)
        await data.standby.promote()
        await asyncio.sleep(3)
    written = made.written

    away = made.longest_without("GET", since=broke)
    acknowledged = [each for each in made.answers if each.method == "POST" and each.status == 201]
    back = min(each.ended for each in acknowledged if each.ended > promoted)
    late = [each for each in made.answers if broke + known < each.began < promoted]
    writes = [each for each in late if each.method == "POST"]
    failed = made.bad("GET")
    longest = max(each.seconds for each in writes)
    held = max(each.seconds for each in made.answers if each.method == "POST" and each.status == 503)
    figure(f"{fault}: reads away {away:.2f} s, {len(failed)} of them failed")
    figure(f"{fault}: writes refused after {held:.1f} s at most, and after {longest:.3f} s once it is known")
    figure(f"{fault}: writes back {back - promoted:.2f} s after the promotion")
    assert away < READS_AWAY_SECONDS
    assert {each.headers.get("baas-degraded") for each in late if each.method == "GET"} == {DEGRADED}
    assert {(each.status, each.headers.get("Retry-After")) for each in writes} == {(503, "1")}
    assert longest < AT_ONCE_SECONDS * 5
    assert not failed, failed[:3]
    assert max(each.seconds for each in made.answers if each.method == "GET") < TRY_SECONDS + 1
    assert back - promoted < 3
    # No write twice: what is there is what was acknowledged, and at most what nobody knows of.
    unknown = [each for each in made.bad("POST") if broke - 0.5 < each.began < broke + known]
    assert len(acknowledged) <= written <= len(acknowledged) + len(unknown)


async def test_a_primary_moves_and_no_write_fails(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """As the agents move it: stopped in good order, and a standby is promoted then."""
    async with _loaded(tmp_path) as (data, made):
        began = time.monotonic()
        await asyncio.to_thread(data.primary.stop)
        await asyncio.sleep(max(0, began + 1.5 - time.monotonic()))
        await data.standby.promote()
        await asyncio.sleep(4)
    bad, writes = made.bad(), [each for each in made.answers if each.method == "POST"]
    figure(f"moved: {len(bad)} of {len(made.answers)} failed, the longest write took {max(each.seconds for each in writes):.2f} s")
    assert not bad, bad[:3]
    assert made.written == len(writes), "each once"


class _Made(Load):
    written = 0


@asynccontextmanager
async def _loaded(tmp_path: Path) -> AsyncIterator[tuple[Backend, _Made]]:
    """A backend under load, which has gone well for a while. When the block ends, so does the load; its rows are counted on the standby."""
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
            made = _Made()
            async with load(url, headers=headers, reads=30, writes=15, into=made):
                await asyncio.sleep(1.5)
                yield data, made
            made.written = await data.written(data.standby)
