"""The dispatcher of functions: whom it lets call, what a function may do to others, and how it ends. Deno is the real one."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest
import pytest_asyncio

from tests.backend.harness.backend import Backend
from tests.backend.harness.keys import KeySet

SOON_SECONDS = 5.0


class Configure(Protocol):
    """Name -> text of functions, and what config.json is to say of some."""

    def __call__(self, config: dict[str, dict[str, object]] | None = None, **functions: str) -> None: ...


@pytest_asyncio.fixture
async def client(backend: Backend) -> AsyncIterator[aiohttp.ClientSession]:
    """A client behind the gateway, with a good token."""
    headers = {"Authorization": f"Bearer {backend.anon}"}
    async with aiohttp.ClientSession(backend.urls("functions")[0], headers=headers, timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def configure(backend: Backend) -> Configure:
    """Write functions, and what config.json says of them, in the place of what was there."""

    def write(config: dict[str, dict[str, object]] | None = None, **functions: str) -> None:
        for name, text in functions.items():
            (backend.functions / f"{name}.ts").write_text(text)
        if config is not None:
            file: Path = backend.functions / "config.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | config))

    return write


async def until(client: aiohttp.ClientSession, path: str, status: int, **headers: str) -> str:
    """Ask until the answer has this status; its text."""
    deadline = asyncio.get_running_loop().time() + SOON_SECONDS
    while True:
        async with client.get(path, headers=headers) as answer:
            said = await answer.text()
            if answer.status == status:
                return said
        assert asyncio.get_running_loop().time() < deadline, f"{path}: {answer.status} {said}"
        await asyncio.sleep(0.1)


def unsigned(token: str) -> str:
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


async def test_only_with_a_token_of_ours(backend: Backend, client: aiohttp.ClientSession) -> None:
    expired = backend.keys.token("anon", seconds=-60)
    stranger = KeySet().token("service_role")
    anon, service = backend.anon.split("."), backend.service.split(".")
    for what, token in {
        "none": None, "nonsense": "x", "unsigned": unsigned(backend.service), "expired": expired, "a stranger's": stranger,
        "changed": ".".join([anon[0], service[1], anon[2]]), **backend.keys.confused("service_role"),
    }.items():  # fmt: skip
        async with aiohttp.request(
            "POST",
            f"{backend.urls('functions')[0]}/hello",
            json={"name": "x"},
            headers={"Authorization": f"Bearer {token}"} if token else {},
        ) as answer:
            assert answer.status == 401, f"{what}: {answer.status} {await answer.text()}"
    async with client.post("/hello", json={"name": "x"}) as answer:
        assert answer.status == 200
    async with aiohttp.request("OPTIONS", f"{backend.urls('functions')[0]}/ping") as answer:
        assert answer.status == 200


async def test_a_new_key_counts_as_soon_as_it_is_published(backend: Backend, client: aiohttp.ClientSession) -> None:
    kid = backend.keys.add()
    token = {"Authorization": f"Bearer {backend.keys.token('anon', kid=kid)}"}
    async with client.post("/hello", json={"name": "x"}, headers=token) as answer:
        assert answer.status == 401

    backend.publish()
    await until(client, "/hello", 500, **token)  # it is let in, and has no body to read

    backend.keys.remove(kid)
    backend.publish()
    await until(client, "/hello", 401, **token)
    async with client.post("/hello", json={"name": "x"}) as answer:
        assert answer.status == 200


async def test_one_that_breaks_takes_no_other_with_it(client: aiohttp.ClientSession, configure: Configure) -> None:
    configure(
        {"waits": {"timeout_seconds": 1}, "loops": {"timeout_seconds": 1}},
        broken="throw new Error('no')",
        nothing="export const x = 1",
        throws="export default { fetch() { throw new Error('no') } }",
        crashes="export default { fetch() { setTimeout(() => { throw new Error('later') }); return new Promise(() => {}) } }",
        waits="export default { fetch() { return new Promise(() => {}) } }",
        loops="export default { fetch() { while (true); } }",
    )
    seen = {}
    for name in ("broken", "nothing", "throws", "crashes", "waits", "loops", "nowhere", "..%2fmain", "_x"):
        async with client.get(f"/{name}") as answer:
            seen[name] = (answer.status, (await answer.json())["code"])
        async with client.post("/hello", json={"name": "x"}) as answer:
            assert answer.status == 200, f"after {name}"
    assert seen == {
        "broken": (503, "BOOT_ERROR"), "nothing": (503, "BOOT_ERROR"), "throws": (500, "WORKER_ERROR"), "crashes": (500, "WORKER_ERROR"),
        "waits": (504, "TIMEOUT"), "loops": (504, "TIMEOUT"), "nowhere": (404, "NOT_FOUND"), "..%2fmain": (404, "NOT_FOUND"),
        "_x": (404, "NOT_FOUND"),
    }  # fmt: skip


async def test_calls_that_are_late_together_end_no_worker_that_is_well(client: aiohttp.ClientSession, configure: Configure) -> None:
    """Both are late while the worker is busy, and it says that it is well 0.4 s later. What it then has to do takes it longer than the
    second after which one that says nothing is ended."""
    configure(
        {"busy": {"timeout_seconds": 2}},
        busy="""
        const after = (ms: number) => new Promise((go) => setTimeout(go, ms));
        Deno.serve(async (request) => {
          const path = new URL(request.url).pathname;
          if (path === "/busy/turns") for (const until = Date.now() + 2400; Date.now() < until;);
          if (path === "/busy/turns" || path === "/busy/waits") return await new Promise(() => {});
          if (path === "/busy/works") await after(900);
          return new Response("done");
        });""",
    )
    await until(client, "/busy", 200)

    async def status(path: str) -> int:
        async with client.get(path) as answer:
            return answer.status

    assert await asyncio.gather(status("/busy/turns"), status("/busy/waits"), status("/busy/waits")) == [504, 504, 504]
    assert await status("/busy/works") == 200


async def test_an_answer_that_is_being_read_outlasts_a_change(client: aiohttp.ClientSession, configure: Configure) -> None:
    configure(
        streams="""
        Deno.serve(() => new Response(new ReadableStream({
          async start(to) {
            for (let part = 0; part < 20; part++) {
              to.enqueue(new TextEncoder().encode(`${part} `));
              await new Promise((go) => setTimeout(go, 100));
            }
            to.close();
          },
        })));"""
    )
    async with client.get("/streams") as answer:
        first = await answer.content.readuntil(b" ")
        configure(streams='Deno.serve(() => new Response("changed", { status: 201 }))')
        await until(client, "/streams", 201)
        assert (first + await answer.read()).split() == [str(part).encode() for part in range(20)]


async def test_a_change_is_taken_up_and_bodies_pass_unharmed(client: aiohttp.ClientSession, configure: Configure) -> None:
    configure(echo="export default { fetch: (request: Request) => new Response(request.body, { status: 201, headers: { 'x-a': 'b' } }) }")
    content = bytes(range(256)) * 8000
    async with client.put("/echo/any/path", data=content) as answer:
        assert (answer.status, answer.headers["x-a"], await answer.read() == content) == (201, "b", True)

    configure(echo="Deno.serve((request) => new Response(new URL(request.url).pathname))")
    assert await until(client, "/echo/any/path", 200) == "/echo/any/path"


async def test_it_reads_and_knows_what_is_its_own_alone(backend: Backend, client: aiohttp.ClientSession, configure: Configure) -> None:
    configure(
        nosy="""
        const tried = async (work: () => unknown) => { try { await work(); return true } catch (e) { return (e as Error).name } };
        Deno.serve(async () => Response.json({
          passwd: await tried(() => Deno.readTextFile("/etc/passwd")), path: await tried(() => Deno.env.get("PATH")),
          run: await tried(() => new Deno.Command("sh").output()), metadata: await tried(() => fetch("http://169.254.169.254/")),
          write: await tried(() => Deno.writeTextFile("/functions/x", "")), own: await tried(() => Deno.env.get("SUPABASE_URL")),
        }));"""
    )
    async with client.get("/nosy") as answer:
        assert await answer.json() == {
            "passwd": "NotCapable", "path": "NotCapable", "run": "NotCapable", "metadata": "NotCapable", "write": "NotCapable", "own": True,
        }  # fmt: skip


async def test_it_finishes_what_is_under_way(backend: Backend, client: aiohttp.ClientSession, configure: Configure) -> None:
    configure(forever="export default { fetch: () => new Promise(() => {}) }")
    configure(slow="export default { async fetch() { await new Promise((go) => setTimeout(go, 1500)); return new Response('done') } }")
    (functions,) = backend.of("functions")
    async with client.post("/hello", json={"name": "x"}) as answer:
        assert answer.status == 200
    with pytest.raises(TimeoutError):  # whoever went away is not waited for
        async with client.get("/forever", timeout=aiohttp.ClientTimeout(total=1)):
            pass
    call = asyncio.create_task(until(client, "/slow", 200))
    await asyncio.sleep(0.7)

    ended = asyncio.create_task(asyncio.to_thread(functions.end, signal.SIGTERM))
    try:
        assert await call == "done"
        assert await ended == 0
    finally:
        functions.start()


async def test_what_a_function_answers_or_posts_ends_no_other(client: aiohttp.ClientSession, configure: Configure) -> None:
    """`Response.error()` has no status that can be sent, and a function may post to the dispatcher what it likes."""
    configure(
        broken="Deno.serve(() => Response.error());",
        posts='self.postMessage(null); Deno.serve(() => { self.postMessage({ id: 99, status: 7 }); return new Response("ok"); });',
        fine='Deno.serve(() => new Response("fine"));',
    )
    await until(client, "/fine", 200)

    assert "WORKER_ERROR" in await until(client, "/broken", 500)
    assert await until(client, "/posts", 200) == "ok"
    assert await until(client, "/fine", 200) == "fine"
