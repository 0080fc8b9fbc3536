"""What operands are asked over HTTP."""

from __future__ import annotations

import base64
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from baas_operator.engine import monitor
from baas_operator.observe.dispatchers import DispatcherReport


async def test_patroni_is_given_the_credentials_and_nothing_that_aiohttp_is_about_to_drop() -> None:
    seen = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.update(await request.json(), sent=request.headers["Authorization"])
        return web.Response(text="Successfully switched over")

    app = web.Application()
    app.router.add_post("/switchover", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            said = await monitor.switch_over("127.0.0.1", port, leader="a", candidate="b", username="u", password="p\u00e4ss")
    finally:
        await runner.cleanup()

    assert said == (200, "Successfully switched over")
    assert seen == {"leader": "a", "candidate": "b", "sent": "Basic " + base64.b64encode("u:p\u00e4ss".encode()).decode()}


@asynccontextmanager
async def saying(body: str, path: str) -> AsyncIterator[int]:
    """Somebody who answers with that; where."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    app = web.Application()
    app.router.add_get(path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("body", "webhooks"),
    [
        ('{"connected": true, "webhooks": [{"name": "crm", "state": "Closed"}], "later": 1}', ["crm"]),
        ('{"webhooks": [{"name": "crm", "state": "Nonsense"}]}', None), ("null", None), ("<html>", None), ("[" * 100_000, None),
    ],
)  # fmt: skip
async def test_what_no_dispatcher_would_say_is_no_answer(body: str, webhooks: list[str] | None) -> None:
    async with saying(body, "/status") as port:
        said = await monitor.dispatcher_report("127.0.0.1", port)
    assert (None if said is None else [each.name for each in said.webhooks]) == webhooks
    assert await monitor.dispatcher_report("127.0.0.1", port) is None, "nobody is there any more"


@pytest.mark.parametrize(
    "body",
    [
        '{"transactions": [' + ",".join(['{"name":""}'] * 5_000) + "]}",
        '{"transactions": [], "later": "' + "x" * 65536 + '"}',
    ],
)
async def test_a_prober_that_says_far_too_much_says_nothing(body: str) -> None:
    """Six of a megabyte, made into objects, would end the operator, and with it everybody's."""

    async with saying(body, "/report") as port:
        assert await monitor.prober_report("127.0.0.1", port) is None


@pytest.mark.parametrize(
    "said",
    [
        '{"webhooks": [' + ",".join(['{"name":"","state":"Closed"}'] * 5_000) + "]}",
        '{"outboxes": [' + ",".join(['{"name":"","state":"failing"}'] * 5_000) + "]}",
        '{"webhooks": [{"name": "crm", "state": "Closed", "latencies": {"1000000": 1}}]}',
    ],
)
def test_a_dispatcher_that_says_what_none_would_is_not_understood(said: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        DispatcherReport.model_validate_json(said)
