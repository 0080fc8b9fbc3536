"""A database or a zone that goes breaks all that was under way at once: reads are answered elsewhere, writes are told what is known."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from baas_operator.desired.instance.gateway import GatewayInput, Route, Upstream
from baas_operator.desired.instance.gateway.postgrest import WAITING
from tests.backend.gateway.conftest import Build, World, upstream
from tests.backend.gateway.harness.backend import Backend, backend
from tests.backend.gateway.harness.envoy import Gateway, running, until
from tests.backend.gateway.harness.keys import ISSUER, Key, key_set
from tests.backend.gateway.harness.load import Answer, ask, load
from tests.backend.gateway.harness.names import names
from tests.backend.gateway.harness.postgrest import ENDED
from tests.backend.gateway.harness.upstream import StandIn
from tests.jetstream.harness.servers import free_ports

EMPTY = '{"code":"","details":null,"hint":null,"message":""}'
NO_CONNECTION = (
    '{"code":"PGRST000","details":"connection to server at \\"shop-db-rw.shop.svc\\" failed","hint":null,'
    '"message":"Database connection error. Retrying the connection."}'
)
CLIENT_ERROR = '{"code":"PGRST001","details":"no connection to the server\\n","hint":null,"message":"Database client error."}'
RAISED = '{"code":"PT503","details":"\\"code\\":\\"PGRST000\\"","hint":null,"message":"closed today"}'
WRONG = '{"code":"22P02","details":null,"hint":null,"message":"invalid input syntax for type integer: \\"x\\""}'
TOLD_AGAIN = (503, "1")
TOLD_UNKNOWN = (502, None)
DONE = (200, None)
HOW = {"under way": DONE, "with BEGIN": TOLD_UNKNOWN, "with COMMIT": TOLD_UNKNOWN}


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ((400, EMPTY), TOLD_UNKNOWN),
        ((503, CLIENT_ERROR), TOLD_AGAIN),
        ((503, CLIENT_ERROR.replace("no connection to", "lost synchronization with")), TOLD_UNKNOWN),
        ((503, NO_CONNECTION), TOLD_AGAIN),
        ((503, ENDED), TOLD_AGAIN),
        ((504, '{"code":"PGRST003","details":null,"hint":null,"message":"Timed out acquiring connection"}'), TOLD_AGAIN),
    ],
)
async def test_a_write_is_told_what_is_known_and_a_read_goes_elsewhere(build: Build, says: tuple[int, str], told: tuple[int, str]) -> None:
    world = await build()
    url = f"{world.gateway.url}/rest/v1/notes"
    world.rest.says = says
    write = await ask(world.session, "POST", url, headers=world.anon, data=b"{}")
    assert (write.status, write.headers.get("retry-after")) == told
    assert (write.headers["content-type"], "x-request-id" in write.headers) == ("application/json", True)
    assert f'"code":{told[0]}' in write.body
    assert "PGRST" not in write.body and "svc" not in write.body  # noqa: PT018
    held = told == TOLD_AGAIN and "PGRST003" not in says[1]
    assert (len(world.rest.seen) > 1) == held, "what may be done is not sent twice, and who has waited for a connection not again"
    read = await ask(world.session, "GET", url, headers=world.anon)
    assert (read.status, read.headers.get("baas-degraded")) == (200, "reads-from-standby")
    world.reads.says = says
    read = await ask(world.session, "GET", url, headers=world.anon)
    assert (read.status, read.headers.get("retry-after")) == TOLD_AGAIN


@pytest.mark.parametrize("says", [(503, RAISED), (400, WRONG), (400, EMPTY + " "), (409, EMPTY), (500, NO_CONNECTION), (200, EMPTY)])
async def test_what_a_user_raises_is_not_touched(build: Build, says: tuple[int, str]) -> None:
    world = await build()
    world.rest.says = says
    answer = await ask(world.session, "POST", f"{world.gateway.url}/rest/v1/rpc/of_mine", headers=world.anon, data=b"{}")
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (*says, "0")


@pytest.mark.parametrize("code", ["57P01", "PGRST000"])
async def test_what_a_user_raises_with_our_codes_is_not_asked_for_again(build: Build, code: str) -> None:
    world = await build()
    world.rest.says = said = (503, f'{{"code":"{code}","details":null,"hint":null,"message":"closed today"}}')
    answer = await ask(world.session, "POST", f"{world.gateway.url}/rest/v1/rpc/of_mine", headers=world.anon, data=b"{}")
    assert (answer.status, answer.body, len(world.rest.seen)) == (*said, 1)


async def test_who_calls_a_function_that_says_no_stops_nobody_else(build: Build) -> None:
    """Functions answer with what status they like. Were a pod put out for that, everybody's writes would wait for it to come back."""
    world = await build()
    url = f"{world.gateway.url}/rest/v1/notes"
    world.rest.says = (503, RAISED)
    for _ in range(12):
        assert (await ask(world.session, "POST", f"{world.gateway.url}/rest/v1/rpc/of_mine", headers=world.anon, data=b"{}")).status == 503
    world.rest.says = None
    write = await ask(world.session, "POST", url, headers=world.anon, data=b"{}")
    read = await ask(world.session, "GET", url, headers=world.anon)
    assert (write.status, read.status, read.headers.get("baas-degraded")) == (200, 200, None)
    assert write.seconds < 0.3


async def test_all_reads_under_way_may_break_at_once(build: Build, figure: Callable[[str], None]) -> None:
    world = await build()
    asked = [asyncio.create_task(_read(world)) for _ in range(90)]
    world.rest.slow = 20
    await until(lambda: len(world.rest.seen) == 90, seconds=10, what="all are under way")
    world.rest.slow = 0
    world.rest.abort()
    answers = await asyncio.gather(*asked)
    figure(f"90 reads broken at once: {dict(Counter(each.status for each in answers))}")
    assert {each.status for each in answers} == {200}


async def _read(world: World) -> Answer:
    return await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/notes", headers=world.anon)


async def test_the_last_who_answers_reads_is_not_put_out_for_its_answers(build: Build) -> None:
    """Half of its own connections lead to the zone that went: so many answers in a row are errors."""
    world = await build()
    world.rest.well = False
    await until(lambda: _degraded(world), seconds=3, what="reads come from the fallback")
    world.reads.says, world.reads.says_times = (400, EMPTY), 12
    for _ in range(10):
        answers = await asyncio.gather(*[_read(world) for _ in range(8)])
        assert {each.status for each in answers} == {200}
    assert world.reads.says is None


async def _degraded(world: World) -> bool:
    return (await _read(world)).headers.get("baas-degraded") is not None


async def _serving(data: Backend, session: aiohttp.ClientSession, url: str) -> None:
    """Until PostgREST has found its database again, and has connections in its pool that nothing is wrong with."""

    async def writable() -> bool:
        answers = await asyncio.gather(*[ask(session, "POST", f"{url}/rpc/nap", json={}) for _ in range(6)])
        return {each.status for each in answers} == {200}

    await until(writable, seconds=15, what="writes are taken", told=data.rest.log)
    await asyncio.sleep(1)  # it empties its pool once more when it has read the schema
    await until(writable, seconds=5, what="writes go on", told=data.rest.log)


async def test_connections_to_a_real_database_break(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Real PostgREST and PostgreSQL; the network between them is a stand-in, as nothing else breaks without a word on loopback."""
    key = Key("first")
    async with backend(tmp_path, key_set(key), relayed=True) as data:
        given = GatewayInput(
            upstreams=data.upstreams, routes=(Route("/rest/v1/", "rest", "api-key"),), jwks=key_set(key), issuer=ISSUER
        )  # fmt: skip
        headers = {"apikey": key.token("anon")}
        with running(tmp_path / "gateway", given) as gateway:
            await gateway.wait()
            async with aiohttp.ClientSession(headers=headers) as session:
                url, direct = f"{gateway.url}/rest/v1", f"http://127.0.0.1:{data.rest.port}"
                await _serving(data, session, url)
                for how in HOW:
                    await _serving(data, session, direct)
                    said = await _broken(session, "GET", f"{direct}/rpc/nap", data, how)
                    figure(f"PostgREST itself, broken {how}: {dict(Counter((each.status, each.body[:18]) for each in said))}")
                    assert (400, EMPTY) in {(each.status, each.body) for each in said} or how == "under way", "nothing to put in order"
                    await _serving(data, session, url)
                    reads = await _broken(session, "GET", f"{url}/rpc/nap", data, how)
                    assert {each.status for each in reads} == {200}, reads
                    await _serving(data, session, url)
                    before = await data.written(data.primary)
                    writes = await _broken(session, "POST", f"{url}/rpc/write_slowly", data, how)
                    done = await data.written(data.primary) - before
                    told = Counter((each.status, each.headers.get("retry-after")) for each in writes)
                    figure(f"writes through the gateway, broken {how}: {dict(told)}, {done} done")
                    assert HOW[how] in told
                    assert set(told) <= {HOW[how], TOLD_AGAIN, DONE}
                    assert told[DONE] <= done <= told[DONE] + told[TOLD_UNKNOWN], "who is told to come again, has done nothing"
                await _serving(data, session, url)
                before = await data.written(data.primary)
                assert await _ended_at_commit(session, f"{url}/notes", data) == [TOLD_UNKNOWN] * 3
                assert await data.written(data.primary) == before + 3, "done, and once: 57P01 is not told of what is committed"
                await _serving(data, session, url)

            before = await data.written(data.primary)
            async with load(f"{url}/notes?limit=1", headers=headers, reads=60, writes=20) as made:
                killer = await data.primary.connect()
                for _ in range(4):
                    await asyncio.sleep(1)
                    await killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'authenticator'")
                await asyncio.sleep(1)
                await killer.close()
            bad = Counter((each.method, each.status, each.headers.get("retry-after")) for each in made.answers if each.status >= 400)
            written = await data.written(data.primary) - before
    figure(f"sessions ended four times: of {len(made.answers)} failed {dict(bad)}")
    acknowledged = sum(each.status == 201 for each in made.answers)
    unknown = sum(times for (_, status, _), times in bad.items() if status == 502)
    assert not made.bad("GET"), made.bad("GET")[:3]
    assert {(status, later) for _, status, later in bad} <= {TOLD_AGAIN, TOLD_UNKNOWN}
    assert not [each for each in made.answers if re.search("PGRST|57P01", each.body)]
    assert acknowledged <= written <= acknowledged + unknown


async def _ended_at_commit(session: aiohttp.ClientSession, url: str, data: Backend) -> list[tuple[int, str | None]]:
    """What writes are told whose session is ended, as by a server that is stopped, while the server makes their COMMIT last."""
    found = []
    connection = await data.primary.connect()
    try:
        for statement in ("SET commit_delay = 100000", "SET commit_siblings = 0"):
            await connection.execute(f"ALTER SYSTEM {statement}")
        await connection.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.2)
        while len(found) < 3:
            written = asyncio.create_task(ask(session, "POST", url, json={"title": "written"}))
            ended = 0
            while not written.done() and not ended:
                ended = await connection.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'"
                )
            answer = await written
            found.append((answer.status, answer.headers.get("retry-after")))
            await _serving(data, session, url.removesuffix("/notes"))
        for setting in ("commit_delay", "commit_siblings"):
            await connection.execute(f"ALTER SYSTEM RESET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()
    return found


async def _broken(session: aiohttp.ClientSession, method: str, url: str, data: Backend, how: str) -> list[Answer]:
    """Answers to requests whose connections to the database break under the statement, or with the word before or after it."""
    if how == "with BEGIN":
        data.relay.cut()
    asked = [asyncio.create_task(ask(session, method, url, **({"json": {}} if method == "POST" else {}))) for _ in range(6)]
    await asyncio.sleep(0.25)
    if how == "under way":
        data.relay.break_all()
    if how == "with COMMIT":
        data.relay.cut()
    return list(await asyncio.gather(*asked))


async def test_what_a_function_has_done_is_not_done_again_whatever_it_says(tmp_path: Path) -> None:
    """Status and body of an answer are a function's to choose, also those by which the gateway knows that nothing was done."""
    key = Key("first")
    async with backend(tmp_path, key_set(key)) as data:
        given = GatewayInput(
            upstreams=data.upstreams, routes=(Route("/rest/v1/", "rest", "api-key"),), jwks=key_set(key), issuer=ISSUER
        )  # fmt: skip
        with running(tmp_path / "gateway", given) as gateway:
            await gateway.wait()
            async with aiohttp.ClientSession(headers={"apikey": key.token("anon")}) as session:
                await _serving(data, session, f"{gateway.url}/rest/v1")
                url, headers = f"{gateway.url}/rest/v1/rpc/write_and_say", {"content-type": "application/json"}
                for status, said in ((503, WAITING), (503, NO_CONNECTION), (503, CLIENT_ERROR), (504, WAITING), (400, EMPTY)):
                    before = await data.written(data.primary)
                    body = f'{{"status": "{status}", "said": {said}}}'.encode()
                    answer = await ask(session, "POST", url, data=body, headers=headers)
                    assert (answer.status, answer.body) == (status, said)
                    assert await data.written(data.primary) == before + 1


async def test_two_pods_that_go_one_after_the_other_are_both_out_at_once(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Envoy tells of changes that follow each other within a second when that is over, if it is let."""
    key, (port,), took = Key("first"), free_ports(1), []
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(names("127.0.0.2", "127.0.0.3"))
        first, second = [await stack.enter_async_context(StandIn(at, port, address=at).running()) for at in dns.addresses]
        reads = await stack.enter_async_context(StandIn("reads").running())
        given = GatewayInput(
            upstreams=(Upstream("rest", "rest.ns.svc", port, port, "/health", "reads", 0), upstream(reads)),
            routes=(Route("/rest/v1/", "rest", "api-key"),), jwks=key_set(key), issuer=ISSUER,
        )  # fmt: skip
        gateway = Gateway(tmp_path, given, bootstrap=dns.asked_by)
        gateway.start()
        stack.callback(gateway.stop)
        await gateway.wait()
        session = await stack.enter_async_context(aiohttp.ClientSession(headers={"apikey": key.token("anon")}))

        async def healthy(count: int) -> bool:
            return (await gateway.statistics())['envoy_cluster_membership_healthy{envoy_cluster_name="rest"}'] == count

        async def elsewhere() -> bool:
            return "baas-degraded" in (await ask(session, "GET", f"{gateway.url}/rest/v1/notes")).headers

        for _ in range(4):
            first.well = second.well = True
            await until(lambda: healthy(2), seconds=5, what="both are in")
            await asyncio.sleep(1.5)
            first.well = False
            await until(lambda: healthy(1), seconds=3, what="the first is out")
            second.well = False
            took.append(await until(elsewhere, seconds=3, what="reads go elsewhere"))
    figure(f"the second pod of two is out after {sorted(round(each, 2) for each in took)} s")
    assert max(took) < 1


async def test_postgrest_ends_with_what_it_has_under_way(tmp_path: Path) -> None:
    """Why its pods are told to go later than a statement may take (desired/instance/supabase.py). One that waits could be told sooner."""
    key = Key("first")
    async with (
        backend(tmp_path, key_set(key)) as data,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key.token('anon')}"}) as session,
    ):
        url = f"http://127.0.0.1:{data.rest.port}"
        await _serving(data, session, url)
        under_way = asyncio.create_task(session.get(f"{url}/rpc/nap"))
        await asyncio.sleep(0.2)
        os.kill(data.rest.pid, signal.SIGTERM)
        with pytest.raises(aiohttp.ClientConnectionError):
            await under_way
