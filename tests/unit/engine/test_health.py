"""The health endpoint: 200 or 503, with the sentence that says why."""

from __future__ import annotations

import socket

import aiohttp

from baas_operator.engine.health import serve


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def test_it_says_what_the_checks_say() -> None:
    port = free_port()
    told: dict[str, str | None] = {"live": None, "ready": "the API server has not been reached yet"}
    runner = await serve(port, live=lambda: told["live"], ready=lambda: told["ready"])
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def ask(path: str) -> tuple[int, str]:
                async with session.get(path) as response:
                    return response.status, await response.text()

            assert await ask("/livez") == (200, "ok\n")
            assert await ask("/readyz") == (503, "the API server has not been reached yet\n")
            told.update(live="the watches miss what happens", ready=None)
            assert await ask("/livez") == (503, "the watches miss what happens\n")
            assert await ask("/readyz") == (200, "ok\n")
            status, text = await ask("/metrics")
            assert status == 200
            assert "baas_" in text
    finally:
        await runner.cleanup()
