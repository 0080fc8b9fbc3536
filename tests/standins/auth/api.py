"""The HTTP API (GoTrue's openapi.yaml)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.standins.auth import sessions, users
from tests.standins.auth.passwords import matches
from tests.standins.auth.refusal import RefusalError
from tests.standins.auth.schema import migrate
from tests.standins.auth.settings import Settings
from tests.standins.database import AwayError, Database
from tests.standins.service import Remembered
from tests.standins.tokens import BadTokenError, bearer

LOG = logging.getLogger("standin")
VERSION = "stand-in"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Auth:
    """What anybody may ask, and users of themselves."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self.database = settings, database
        self._ready = Remembered(database.writable)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health", self.health), web.get("/settings", self.show_settings), web.get("/.well-known/jwks.json", self.jwks),
            web.post("/signup", self.signup), web.post("/token", self.token), web.post("/logout", self.logout),
            web.get("/user", self.user), web.put("/user", self.change_user),
        ]  # fmt: skip

    async def health(self, _: web.Request) -> web.Response:
        """Stricter than GoTrue, whose answer never depends on the database."""
        ready = await self._ready()
        said = {"version": VERSION, "name": "GoTrue", "description": "stand-in of GoTrue, for tests" if ready else "the database is away"}
        return web.json_response(said, status=200 if ready else 503)

    async def show_settings(self, _: web.Request) -> web.Response:
        external = {"anonymous_users": self.settings.anonymous, "email": True, "phone": False}
        said = {"external": external, "disable_signup": not self.settings.signup, "mailer_autoconfirm": self.settings.autoconfirm,
                "phone_autoconfirm": False, "sms_provider": "", "saml_enabled": False}  # fmt: skip
        return web.json_response(said)

    async def jwks(self, _: web.Request) -> web.Response:
        return web.json_response(self.settings.keys.public, headers={"Cache-Control": "public, max-age=600"})

    async def signup(self, request: web.Request) -> web.Response:
        body = await json_of(request)
        settings, data = self.settings, body.get("data") or {}
        if not settings.signup:
            raise RefusalError(422, "signup_disabled", "Signups not allowed for this instance")
        email = password = None
        if body.get("email") or body.get("password"):
            password = users.check_password(settings, body.get("password"))
            email = users.email_of(body)
        elif not settings.anonymous:
            raise RefusalError(422, "anonymous_provider_disabled", "Anonymous sign-ins are disabled")

        async def work(connection: Any) -> dict[str, Any]:
            confirmed = settings.autoconfirm and email is not None
            user = await users.create(connection, settings, email=email, password=password, data=data, confirmed=confirmed)
            await audit(connection, "user_signedup", user["id"], request)
            if email is None or settings.autoconfirm:
                return await sessions.start(connection, settings, user, agent=request.headers.get("User-Agent"))
            return await users.shown(connection, user)

        return web.json_response(await self.database.run(work))

    async def token(self, request: web.Request) -> web.Response:
        body = await json_of(request)
        match request.query.get("grant_type"):
            case "password":
                return web.json_response(await self._by_password(request, body))
            case "refresh_token":
                if not (token := body.get("refresh_token")):
                    raise RefusalError(400, "validation_failed", "refresh_token required")
                said = await self.database.run(lambda connection: sessions.refresh(connection, self.settings, str(token)))
                if isinstance(refused := said.get("refused"), RefusalError):
                    raise refused
                return web.json_response(said)
        raise RefusalError(400, "invalid_credentials", "unsupported_grant_type")

    async def _by_password(self, request: web.Request, body: dict[str, Any]) -> dict[str, Any]:
        email = users.email_of(body)
        user = await self.database.run(lambda connection: connection.fetchrow("SELECT * FROM auth.users WHERE email = $1", email))
        # Outside of a transaction: it takes a while.
        if not await matches(str(body.get("password") or ""), user and user["encrypted_password"]):
            raise RefusalError(400, "invalid_credentials", "Invalid login credentials")
        if user["email_confirmed_at"] is None:
            raise RefusalError(400, "email_not_confirmed", "Email not confirmed")

        async def work(connection: Any) -> dict[str, Any]:
            await audit(connection, "login", user["id"], request)
            return await sessions.start(connection, self.settings, user, agent=request.headers.get("User-Agent"))

        return await self.database.run(work)

    async def user(self, request: web.Request) -> web.Response:
        claims = claims_of(self.settings, request)

        async def work(connection: Any) -> dict[str, Any]:
            return await users.shown(connection, await _signed_in(connection, claims))

        return web.json_response(await self.database.run(work))

    async def change_user(self, request: web.Request) -> web.Response:
        claims, body = claims_of(self.settings, request), await json_of(request)

        async def work(connection: Any) -> dict[str, Any]:
            user = await _signed_in(connection, claims)
            if body.get("password") and await matches(body["password"], user["encrypted_password"]):
                raise RefusalError(422, "same_password", "New password should be different from the old password.")
            changed = await users.change(connection, self.settings, user, body, admin=False)
            await audit(connection, "user_modified", user["id"], request)
            return await users.shown(connection, changed)

        return web.json_response(await self.database.run(work))

    async def logout(self, request: web.Request) -> web.Response:
        claims, scope = claims_of(self.settings, request), request.query.get("scope", "global")
        if scope not in ("global", "local", "others"):
            raise RefusalError(400, "validation_failed", f'Unsupported logout scope "{scope}"')

        async def work(connection: Any) -> None:
            user = await _signed_in(connection, claims)
            await sessions.end(connection, claims, scope)
            await audit(connection, "logout", user["id"], request)

        await self.database.run(work)
        return web.Response(status=204)


async def json_of(request: web.Request) -> dict[str, Any]:
    """The body of a request."""
    try:
        body = await request.json()
    except ValueError as error:
        raise RefusalError(400, "bad_json", "Could not parse request body as JSON") from error
    if not isinstance(body, dict):
        raise RefusalError(400, "bad_json", "Could not parse request body as JSON")
    return body


def claims_of(settings: Settings, request: web.Request) -> dict[str, Any]:
    """The claims of the request's token."""
    token = bearer(request.headers.get("Authorization"))
    if token is None:
        raise RefusalError(401, "no_authorization", "This endpoint requires a valid Bearer token")
    try:
        return settings.keys.verify(token)
    except BadTokenError as error:
        raise RefusalError(403, "bad_jwt", f"invalid JWT: unable to parse or verify signature, {error}") from error


async def _signed_in(connection: Any, claims: dict[str, Any]) -> Any:
    """The user of a token, whose session goes on."""
    if "sub" not in claims:
        raise RefusalError(403, "bad_jwt", "invalid claim: missing sub claim")
    user = await connection.fetchrow("SELECT * FROM auth.users WHERE id = $1::text::uuid", claims["sub"])
    if user is None:
        raise RefusalError(403, "user_not_found", "User from sub claim in JWT does not exist")
    session = claims.get("session_id")
    if session and not await connection.fetchval("SELECT true FROM auth.sessions WHERE id = $1::text::uuid", session):
        raise RefusalError(403, "session_not_found", "Session from session_id claim in JWT does not exist")
    return user


async def audit(connection: Any, action: str, actor: Any, request: web.Request) -> None:
    """Note what was done."""
    payload = {"action": action, "actor_id": str(actor), "request_id": request.headers.get("X-Request-Id", "")}
    await connection.execute("INSERT INTO auth.audit_log_entries (payload) VALUES ($1)", payload)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals and lost databases as answers."""
    try:
        return await handler(request)
    except RefusalError as refusal:
        return refusal.answer(request)
    except AwayError as error:
        LOG.warning("%s %s: the database is away: %s", request.method, request.path, error)
        return RefusalError(503, "unexpected_failure", "The database is away.").answer(request)
    except web.HTTPNotFound:
        return RefusalError(404, "not_found", "The stand-in has no such endpoint.").answer(request)


def application(settings: Settings) -> web.Application:
    """All of it."""
    from tests.standins.auth.admin import Admin

    database = Database(settings.database_url, name="auth-standin", size=settings.pool, migrate=migrate)
    made = web.Application(middlewares=[errors], client_max_size=1024 * 1024)
    made.add_routes([*Auth(settings, database).routes(), *Admin(settings, database).routes()])

    async def started(_: web.Application) -> None:
        await database.start()

    async def ended(_: web.Application) -> None:
        await database.stop()

    made.on_startup.append(started)
    made.on_cleanup.append(ended)
    return made
