"""What whoever has the service key may do with users."""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from tests.standins.auth import users
from tests.standins.auth.api import audit, claims_of, json_of
from tests.standins.auth.refusal import RefusalError
from tests.standins.auth.settings import Settings
from tests.standins.database import Database


class Admin:
    """`/admin/users`."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database

    def routes(self) -> list[web.RouteDef]:
        one = "/admin/users/{id}"
        return [
            web.get("/admin/users", self.list_users), web.post("/admin/users", self.create),
            web.get(one, self.show), web.put(one, self.change), web.delete(one, self.delete),
        ]  # fmt: skip

    def _allowed(self, request: web.Request) -> dict[str, Any]:
        claims = claims_of(self.settings, request)
        if claims.get("role") not in self.settings.admin_roles:
            raise RefusalError(403, "not_admin", "User not allowed")
        return claims

    async def list_users(self, request: web.Request) -> web.Response:
        self._allowed(request)
        page, size = int(request.query.get("page") or 1), min(1000, int(request.query.get("per_page") or 50))

        async def work(connection: Any) -> tuple[list[dict[str, Any]], int]:
            found = await connection.fetch("SELECT * FROM auth.users ORDER BY created_at DESC LIMIT $1 OFFSET $2", size, (page - 1) * size)
            return [await users.shown(connection, each) for each in found], await connection.fetchval("SELECT count(*) FROM auth.users")

        shown, total = await self.database.run(work)
        return web.json_response({"users": shown, "aud": self.settings.audience}, headers={"X-Total-Count": str(total)})

    async def create(self, request: web.Request) -> web.Response:
        claims, body = self._allowed(request), await json_of(request)
        email = users.email_of(body)
        password = users.check_password(self.settings, body["password"]) if body.get("password") else None

        async def work(connection: Any) -> dict[str, Any]:
            if await connection.fetchval("SELECT true FROM auth.users WHERE email = $1", email):
                raise RefusalError(422, "email_exists", "A user with this email address has already been registered")
            user = await users.create(
                connection, self.settings, email=email, password=password, data=body.get("user_metadata") or {},
                confirmed=bool(body.get("email_confirm")), app=body.get("app_metadata"), role=body.get("role"), user_id=body.get("id"),
            )  # fmt: skip
            await audit(connection, "user_created", claims.get("sub", claims["role"]), request)
            return await users.shown(connection, user)

        return web.json_response(await self.database.run(work))

    async def show(self, request: web.Request) -> web.Response:
        self._allowed(request)

        async def work(connection: Any) -> dict[str, Any]:
            return await users.shown(connection, await _user(connection, request))

        return web.json_response(await self.database.run(work))

    async def change(self, request: web.Request) -> web.Response:
        claims, body = self._allowed(request), await json_of(request)

        async def work(connection: Any) -> dict[str, Any]:
            changed = await users.change(connection, self.settings, await _user(connection, request), body, admin=True)
            await audit(connection, "user_modified", claims.get("sub", claims["role"]), request)
            return await users.shown(connection, changed)

        return web.json_response(await self.database.run(work))

    async def delete(self, request: web.Request) -> web.Response:
        claims = self._allowed(request)

        async def work(connection: Any) -> None:
            user = await _user(connection, request)
            await connection.execute("DELETE FROM auth.users WHERE id = $1", user["id"])
            await audit(connection, "user_deleted", claims.get("sub", claims["role"]), request)

        await self.database.run(work)
        return web.json_response({})


async def _user(connection: Any, request: web.Request) -> Any:
    try:
        wanted = uuid.UUID(request.match_info["id"])
    except ValueError as error:
        raise RefusalError(404, "validation_failed", "user_id must be an UUID") from error
    user = await connection.fetchrow("SELECT * FROM auth.users WHERE id = $1", wanted)
    if user is None:
        raise RefusalError(404, "user_not_found", "User not found")
    return user
