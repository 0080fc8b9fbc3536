"""Signing in to Parse, before a stand-in whose cloud code refuses. tests/backend/prober has the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from baas_operator.prober.client import Client, Gateway
from baas_operator.prober.config import ConfigError, Secrets
from baas_operator.prober.failure import Failure
from baas_operator.prober.transactions import ENGINES, Transactions

KEYS = ("masterKey", "restAPIKey", "probe", "username", "password")


class Users:
    """What stands in for Parse's users. `refuses`: paths, each with the code and the words that a trigger refuses with."""

    def __init__(self) -> None:
        self.there = False
        self.sessions = 0
        self.refuses: dict[str, tuple[int, str]] = {}
        self.slow = False
        """Whether nobody is told in time who a session is of."""

    async def answer(self, request: web.Request) -> web.Response:
        """One request."""
        method, path = request.method, request.path.removeprefix("/parse")
        if refused := self.refuses.get(f"{method} {path}"):
            return said({"code": refused[0], "error": refused[1]}, 400)
        if path == "/users/me" and self.slow:
            await asyncio.sleep(3600)
        match method, path:
            case "POST", "/login" if not self.there:
                return said({"code": 101, "error": "Invalid username/password."}, 404)
            case "POST", "/login":
                self.sessions += 1
                return said({"sessionToken": "r:1"})
            case "POST", "/users":
                self.there = True
                return said({"objectId": "1"}, 201)
            case "GET", "/users":
                return said({"results": [{"objectId": "1"}] if self.there else []})
            case "POST", "/logout":
                self.sessions -= 1
        return said({"username": "username"})


def said(what: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(what, status=status)


@asynccontextmanager
async def parse(folder: Path) -> AsyncIterator[tuple[Users, Transactions, Client]]:
    made = Users()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (folder / "keys").mkdir()
    for name in KEYS:
        (folder / "keys" / name).write_text(name)
    try:
        gateway = Gateway("127.0.0.1", runner.addresses[0][1], "shop.example")
        yield made, ENGINES["parse"](Secrets(folder), 7, {"appId": "shop"}), Client(gateway)
    finally:
        await runner.cleanup()


async def test_the_user_is_made_and_logs_out(tmp_path: Path) -> None:
    async with parse(tmp_path) as (there, engine, client):
        await engine.all()["sign-in"](client)
        assert (there.there, there.sessions) == (True, 0)


@pytest.mark.parametrize(("where", "code"), [("POST /users", 142), ("POST /login", 141), ("POST /logout", 141)])
async def test_a_trigger_that_refuses_the_user_is_no_failure_of_the_backend(where: str, code: int, tmp_path: Path) -> None:
    async with parse(tmp_path) as (there, engine, client):
        there.refuses[where] = (code, "only with a phone number")
        with pytest.raises(ConfigError, match=r"cloud code refuses the probe's user.*only with a phone number"):
            await engine.all()["sign-in"](client)


async def test_a_session_is_ended_also_where_the_deadline_comes_first(tmp_path: Path) -> None:
    async with parse(tmp_path) as (there, engine, client):
        there.slow = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await engine.all()["sign-in"](client)
        await engine.clean_up(client)
        assert there.sessions == 0


async def test_what_else_is_refused_is_one(tmp_path: Path) -> None:
    async with parse(tmp_path) as (there, engine, client):
        there.refuses["POST /login"] = (1, "Internal server error.")
        with pytest.raises(Failure, match="400: Internal server error"):
            await engine.all()["sign-in"](client)
