"""The endpoint, a process of its own: takes events, fails, hangs, and goes away when it is told to.

`python -m bench.webhooks.endpoint JSON` with `host`, `port`, `control` (a port of loopback), `secret`, `hang_seconds`, `behaviour`.
The control port gives `GET /ledger`, what was taken since it was last begun anew, and takes `POST /anew` and `POST /away?seconds=`: it
listens no more for so long, as an endpoint that is being deployed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from bench.webhooks.behaviour import Answer, Behaviour

PATH = "/hook"


class Endpoint:
    """What it takes, and what it is asked for on its control port."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.webhook = Webhook(given["secret"])
        self.behaviour = Behaviour(**given["behaviour"])
        self.anew()
        self.site: web.TCPSite | None = None
        self.runner: web.AppRunner | None = None
        self.returning: asyncio.Task[None] | None = None

    def anew(self) -> None:
        self.attempts: Counter[int] = Counter()
        self.taken: dict[int, list[float]] = defaultdict(list)
        self.identities: dict[int, set[str]] = defaultdict(set)
        self.bad_signatures = 0
        self.away: list[list[float]] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            event = int(self.webhook.verify(body, dict(request.headers))["event"])
        except (WebhookVerificationError, ValueError, KeyError):
            self.bad_signatures += 1
            return web.Response(status=401)
        self.attempts[event] += 1
        self.identities[event].add(request.headers["webhook-id"])
        match self.behaviour.answer(event, self.attempts[event]):
            case Answer.FAIL:
                return web.Response(status=500)
            case Answer.HANG:
                await asyncio.sleep(self.given["hang_seconds"])
                return web.Response(status=504)
            case _:
                self.taken[event].append(time.monotonic())
                return web.Response(status=204)

    async def ledger(self, _: web.Request) -> web.Response:
        return web.json_response({
            "taken": {str(event): times for event, times in self.taken.items()},
            "attempts": self.attempts.total(),
            "several_ids": [event for event, ids in self.identities.items() if len(ids) > 1],
            "bad_signatures": self.bad_signatures,
            "away": self.away,
        })  # fmt: skip

    async def progress(self, _: web.Request) -> web.Response:
        return web.json_response({"taken": len(self.taken), "attempts": self.attempts.total()})

    async def begin_anew(self, _: web.Request) -> web.Response:
        self.anew()
        return web.Response()

    async def go_away(self, request: web.Request) -> web.Response:
        await self.close()
        self.returning = asyncio.create_task(self._return(float(request.query["seconds"])))
        return web.Response()

    async def _return(self, seconds: float) -> None:
        began = time.monotonic()
        await asyncio.sleep(seconds)
        await self.open()
        self.away.append([began, time.monotonic()])

    async def open(self) -> None:
        """Listen for events. A new runner each time: the old one's connections went with it."""
        app = web.Application()
        app.router.add_post(PATH, self.take)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self.runner.setup()
        await web.TCPSite(self.runner, self.given["host"], self.given["port"], reuse_address=True, backlog=1024).start()

    async def close(self) -> None:
        """Listen no more, and cut what is open."""
        if self.runner:
            await self.runner.cleanup()


async def main(given: dict[str, Any]) -> None:
    """Serve until it is ended."""
    endpoint = Endpoint(given)
    await endpoint.open()
    app = web.Application()
    app.router.add_get("/ledger", endpoint.ledger)
    app.router.add_get("/progress", endpoint.progress)
    app.router.add_post("/anew", endpoint.begin_anew)
    app.router.add_post("/away", endpoint.go_away)
    control = web.AppRunner(app, access_log=None)
    await control.setup()
    await web.TCPSite(control, "127.0.0.1", given["control"]).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
