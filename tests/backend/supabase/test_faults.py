"""What the stand-ins say and do while what they need is away, and while they end and start."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import aiohttp
import pytest

from tests.backend.harness.backend import Backend

NOTICED_SECONDS = 12.0
MOST_SECONDS = 90


async def status(url: str) -> int:
    async with aiohttp.request("GET", url, timeout=aiohttp.ClientTimeout(total=10)) as answer:
        return answer.status


@pytest.fixture
def email() -> str:
    return f"{uuid4()}@example.com"


async def sign(backend: Backend, what: str, email: str) -> tuple[int, dict[str, object]]:
    """Sign up (`signup`) or in (`token?grant_type=password`)."""
    body, headers = {"email": email, "password": "correct horse"}, {"apikey": backend.anon}
    async with aiohttp.request("POST", f"{backend.router.url}/auth/v1/{what}", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_users_survive_the_death_of_all_that_serves_them(backend: Backend, email: str) -> None:
    assert (await sign(backend, "signup", email))[0] == 200

    for each in backend.of("auth"):
        each.end(signal.SIGKILL)
    backend.database.kill()
    backend.database.start()
    for each in backend.of("auth"):
        each.start()
    await backend.database.wait()
    await asyncio.gather(*(each.wait() for each in backend.of("auth")))

    code, said = await sign(backend, "token?grant_type=password", email)
    assert (code, said["user"]["email"]) == (200, email)  # type: ignore[index]


async def test_without_a_database_who_needs_it_is_not_ready_and_lives(backend: Backend, email: str) -> None:
    before = [each.ready for each in backend.processes.values()]
    backend.database.kill()
    try:
        await asyncio.gather(*(each.wait(503, NOTICED_SECONDS) for name in ("auth", "storage") for each in backend.of(name)))
        for url in backend.urls("auth"):
            assert await status(f"{url}/settings") == 200, "liveness does not depend on it"
        for url in backend.urls("storage"):
            assert await status(f"{url}/status") == 200, "liveness does not depend on it"
        assert (await sign(backend, "token?grant_type=password", email))[0] == 503
        await backend.of("functions")[0].wait()
    finally:
        backend.database.start()
        await backend.database.wait()
    await asyncio.gather(*(each.wait(200, NOTICED_SECONDS) for each in backend.processes.values()))
    assert before == [each.ready for each in backend.processes.values()]


async def test_a_standby_is_no_database_to_write_to(backend: Backend) -> None:
    """As after a switchover that a connection has not heard of: it answers, and takes no writes."""
    connection = await backend.connect()
    try:
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await connection.execute("SELECT pg_reload_conf()")
        await asyncio.gather(*(each.wait(503, NOTICED_SECONDS) for name in ("auth", "storage") for each in backend.of(name)))
    finally:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()
    await asyncio.gather(*(each.wait(200, NOTICED_SECONDS) for name in ("auth", "storage") for each in backend.of(name)))


async def test_without_its_object_store_storage_is_not_ready(backend: Backend) -> None:
    backend.objects.signal(signal.SIGSTOP)
    try:
        await asyncio.gather(*(each.wait(503, NOTICED_SECONDS) for each in backend.of("storage")))
        await asyncio.gather(*(each.wait() for each in backend.of("auth")))
    finally:
        backend.objects.signal(signal.SIGCONT)
    await asyncio.gather(*(each.wait(200, NOTICED_SECONDS) for each in backend.of("storage")))


async def test_an_upload_that_has_begun_is_finished(backend: Backend, email: str) -> None:
    _, said = await sign(backend, "signup", email)
    headers = {"Authorization": f"Bearer {said['access_token']}", "Content-Type": "text/plain"}
    begun = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000
            await asyncio.sleep(0.2)
            begun.set()

    storage = backend.of("storage")[0]
    url = f"{backend.urls('storage')[0]}/object/files/{said['user']['id']}/slow.txt"  # type: ignore[index]

    async def upload() -> int:
        async with aiohttp.request("POST", url, data=slowly(), headers=headers) as answer:
            return answer.status

    under_way = asyncio.create_task(upload())
    await begun.wait()
    try:
        assert await asyncio.to_thread(storage.end, signal.SIGTERM) == 0
        assert await under_way == 200
    finally:
        storage.start()


async def test_the_scenario_goes_on_while_each_copy_is_replaced(backend: Backend, figure: Callable[[str], None]) -> None:
    with backend.playing("--loop", str(MOST_SECONDS), "2") as playing:
        await asyncio.sleep(2)
        for component in ("auth", "storage"):
            for process, url in zip(backend.of(component), backend.urls(component), strict=True):
                backend.router.out.add(url)  # as its pod is no endpoint any more when it is told to end
                assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0
                process.start()
                await process.wait()
                backend.router.out.remove(url)
        assert playing.poll() is None, "all of them were replaced while it played"
        playing.terminate()
        out, error = await asyncio.to_thread(playing.communicate, timeout=60)

    assert playing.returncode == 0, error
    said = json.loads(out)
    figure(f"{said['requests']} requests, {said['failedRequests']} failed, {said['failed']} of {said['operations']} operations")
    assert said["failed"] == 0, said["errors"]
    assert said["operations"] > 20
    assert set(said["byOperation"]) >= {"sign up", "insert", "upsert", "rpc", "upload", "download", "signed URL", "function", "refresh"}
