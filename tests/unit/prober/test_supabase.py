"""Signing in and uploading, before a stand-in of auth and storage that misbehaves to order. tests/backend/prober has more of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from baas_operator.prober.client import Client, Gateway
from baas_operator.prober.config import ConfigError, Secrets
from baas_operator.prober.failure import Failure
from baas_operator.prober.transactions import ENGINES, Transactions

EMAIL = "prober@baas-operator.invalid"
Change = Callable[[web.Request], web.Response | None]


class Parts:
    """What stands in for auth and storage. `passwords`: of users; `change` may answer in their place; `asked` is all that came."""

    def __init__(self) -> None:
        self.passwords: dict[str, str] = {}
        self.sessions = 0
        self.buckets: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.change: Change = lambda request: None
        self.slow = ""
        """A path that is not answered in time."""
        self.asked: list[str] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        """One request."""
        path, method = request.path, request.method
        self.asked.append(f"{method} {path}")
        if path == self.slow:
            await asyncio.sleep(3600)
        if changed := self.change(request):
            return changed
        assert request.headers["apikey"] == "key-of-probe", "the gateway would count it as a client"
        admin = request.headers["Authorization"] == "Bearer key-of-service_role"
        if path.startswith("/auth/v1/admin/"):
            return self._admin(method, await request.json()) if admin else web.json_response({"msg": "User not allowed"}, status=403)
        match path:
            case "/auth/v1/token":
                said = await request.json()
                if self.passwords.get(said["email"]) != said["password"]:
                    return web.json_response({"code": 400, "msg": "Invalid login credentials"}, status=400)
                self.sessions += 1
                return web.json_response({"access_token": "token"})
            case "/auth/v1/user":
                return web.json_response({"email": EMAIL})
            case "/auth/v1/logout":
                self.sessions -= 1
                return web.Response(status=204)
            case "/rest/v1/beats":
                return web.Response(status=204)
            case "/storage/v1/bucket":
                self.buckets.add((await request.json())["id"])
                return web.json_response({"name": "baas-probe"})
        return self._file(method, path, await request.read())

    def _admin(self, method: str, said: dict[str, Any]) -> web.Response:
        if method == "POST" and EMAIL in self.passwords:
            return web.json_response({"msg": "A user with this email address has already been registered"}, status=422)
        self.passwords[EMAIL] = said["password"]
        return web.json_response({})

    def _file(self, method: str, path: str, content: bytes) -> web.Response:
        if not self.buckets:
            return web.json_response({"statusCode": "404", "error": "Bucket not found", "message": "Bucket not found"}, status=400)
        if method == "POST":
            self.files[path] = content
        elif method == "DELETE":
            del self.files[path]
        return web.Response(body=self.files.get(path, b""))


@asynccontextmanager
async def parts(folder: Path) -> AsyncIterator[tuple[Parts, Transactions, Client]]:
    made = Parts()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    keys = folder / "api"
    keys.mkdir()
    for name in ("anon", "service_role", "probe"):
        (keys / name).write_text(f"key-of-{name}")
    (keys / "username").write_text(EMAIL)
    (keys / "password").write_text("first")
    try:
        gateway = Gateway("127.0.0.1", runner.addresses[0][1], "shop.example")
        yield made, ENGINES["supabase"](Secrets(folder), 7, {}), Client(gateway)
    finally:
        await runner.cleanup()


async def do(engine: Transactions, name: str, client: Client) -> None:
    await engine.all()[name](client)


async def test_the_user_is_made_once_and_signs_out_each_time(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        for _ in range(3):
            await do(engine, "sign-in", client)
        assert there.asked.count("POST /auth/v1/admin/users") == 1
        assert there.sessions == 0


async def test_a_password_that_was_drawn_anew_is_given_to_the_user_that_is_there(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        await do(engine, "sign-in", client)
        (tmp_path / "api" / "password").write_text("second")
        await do(engine, "sign-in", client)
        assert there.passwords == {EMAIL: "second"}


@pytest.mark.parametrize("code", [401, 429, 500, 503])
async def test_auth_that_refuses_for_another_reason_is_asked_once_and_makes_nobody(code: int, tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        there.change = lambda request: web.json_response({"msg": "no"}, status=code)
        with pytest.raises(Failure, match=f"POST /auth/v1/token: {code}: no"):
            await do(engine, "sign-in", client)
        assert there.asked == ["POST /auth/v1/token"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (400, {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}),
        (400, {"code": "invalid_credentials", "message": "Invalid login credentials"}),
        (400, {"error": "invalid_grant", "error_description": "Invalid login credentials"}),
    ],
)
async def test_a_user_that_is_not_there_is_made_whichever_way_gotrue_says_so(code: int, said: dict[str, Any], tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        there.change = lambda request: (
            web.json_response(said, status=code) if request.path == "/auth/v1/token" and not there.passwords else None
        )
        await do(engine, "sign-in", client)
        assert there.asked.count("POST /auth/v1/admin/users") == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (422, {"code": 422, "error_code": "email_provider_disabled", "msg": "Email logins are disabled"}),
        (400, {"code": 400, "error_code": "captcha_failed", "msg": "captcha protection: request disallowed (no captcha_token found)"}),
    ],
)
async def test_settings_that_let_no_prober_in_are_no_failure_and_nobody_is_made(code: int, said: dict[str, Any], tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        there.change = lambda request: web.json_response(said, status=code)
        with pytest.raises(ConfigError, match="GOTRUE_"):
            await do(engine, "sign-in", client)
        assert there.asked == ["POST /auth/v1/token"]


async def test_what_is_refused_for_another_reason_makes_nobody(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        there.change = lambda request: web.json_response({"error_code": "user_banned", "msg": "User is banned"}, status=400)
        with pytest.raises(Failure, match="400: User is banned"):
            await do(engine, "sign-in", client)
        assert there.asked == ["POST /auth/v1/token"]


async def test_a_token_of_somebody_else_is_a_failure_and_its_session_is_ended(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        there.change = lambda request: web.json_response({"email": "other@shop.example"}) if request.path == "/auth/v1/user" else None
        with pytest.raises(Failure, match="the token is another user's"):
            await do(engine, "sign-in", client)
        assert there.sessions == 0


@pytest.mark.parametrize("hangs", ["/auth/v1/user", "/auth/v1/logout"])
async def test_a_session_is_ended_also_where_the_deadline_comes_first(hangs: str, tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        await do(engine, "sign-in", client)
        there.slow = hangs
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await do(engine, "sign-in", client)
        there.slow = ""
        await engine.clean_up(client)
        assert there.sessions == 0


async def test_a_file_that_was_left_is_removed_at_the_end(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        there.change = lambda request: web.Response(status=503) if request.method == "GET" else None
        with pytest.raises(Failure):
            await do(engine, "upload", client)
        assert there.files
        await engine.clean_up(client)
        assert there.files == {}


async def test_where_no_file_is_probed_none_is_removed(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        await engine.clean_up(client)
        assert there.asked == ["DELETE /rest/v1/beats"]


async def test_the_bucket_is_made_once_and_no_file_stays(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        await do(engine, "upload", client)
        await do(engine, "upload", client)
        assert there.asked.count("POST /storage/v1/bucket") == 1
        assert there.files == {}


async def test_another_file_than_went_up_is_a_failure(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        there.change = lambda request: web.Response(body=b"other") if request.method == "GET" else None
        with pytest.raises(Failure, match="another file came down"):
            await do(engine, "upload", client)


async def test_storage_that_is_full_is_told_in_its_own_words(tmp_path: Path) -> None:
    async with parts(tmp_path) as (there, engine, client):
        full = json.dumps({"statusCode": "413", "message": "The object store is full"})
        there.change = lambda request: web.Response(status=413, text=full)
        with pytest.raises(Failure, match="POST /storage/v1/object/baas-probe/7: 413: The object store is full"):
            await do(engine, "upload", client)
        assert len(there.asked) == 1
