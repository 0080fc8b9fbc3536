"""What operands are asked over HTTP."""

from __future__ import annotations

import base64
import warnings

from aiohttp import web

from baas_operator.engine import monitor


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
