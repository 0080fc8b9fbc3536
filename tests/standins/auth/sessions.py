"""Sessions: an access token that soon expires, and a refresh token that gives the next one, once."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import asyncpg

from tests.standins.auth import users
from tests.standins.auth.refusal import RefusalError
from tests.standins.auth.settings import Settings
from tests.standins.tokens import now


async def start(connection: Any, settings: Settings, user: asyncpg.Record, *, agent: str | None) -> dict[str, Any]:
    """A new session of a user, as the API answers it."""
    session = uuid.uuid4()
    await connection.execute("INSERT INTO auth.sessions (id, user_id, user_agent) VALUES ($1, $2, $3)", session, user["id"], agent)
    user = await connection.fetchrow("UPDATE auth.users SET last_sign_in_at = now() WHERE id = $1 RETURNING *", user["id"])
    token = await _next_token(connection, user["id"], session, parent=None)
    return await answer(connection, settings, user, session, token)


async def refresh(connection: Any, settings: Settings, token: str) -> dict[str, Any]:
    """The next access token of a session.

    A token that was used already counts once more while its successor was not used: the answer with it may have been lost. Anything
    else ends the session, as somebody else has the token (GoTrue documentation, "Sessions: reuse detection").
    """
    held = await connection.fetchrow(
        "SELECT token.*, age(now(), token.updated_at) < make_interval(secs => $2) AS fresh FROM auth.refresh_tokens token"
        " JOIN auth.sessions session ON session.id = token.session_id WHERE token.token = $1 FOR UPDATE OF session",
        token, settings.reuse_seconds,
    )  # fmt: skip
    if held is None:
        raise RefusalError(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
    # Anew, now that the session is ours alone: another request may have used it in between.
    held = {**held, "revoked": await connection.fetchval("SELECT revoked FROM auth.refresh_tokens WHERE id = $1", held["id"])}
    session = held["session_id"]
    user = await connection.fetchrow("SELECT * FROM auth.users WHERE id = $1", uuid.UUID(held["user_id"]))
    issued = token
    if held["revoked"]:
        active = await connection.fetchrow("SELECT * FROM auth.refresh_tokens WHERE session_id = $1 AND NOT revoked", session)
        if active is None or (active["parent"] != token and not held["fresh"]):
            await connection.execute("UPDATE auth.refresh_tokens SET revoked = true WHERE session_id = $1", session)
            return {"refused": RefusalError(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")}
        issued = active["token"]
    elif settings.rotate:
        await connection.execute("UPDATE auth.refresh_tokens SET revoked = true, updated_at = now() WHERE id = $1", held["id"])
        issued = await _next_token(connection, user["id"], session, parent=token)
    await connection.execute("UPDATE auth.sessions SET refreshed_at = now(), updated_at = now() WHERE id = $1", session)
    return await answer(connection, settings, user, session, issued)


async def end(connection: Any, claims: dict[str, Any], scope: str) -> None:
    """End sessions of a user: all of them (`global`), the token's (`local`), or all but that (`others`)."""
    user, session = uuid.UUID(claims["sub"]), uuid.UUID(claims["session_id"])
    which = {"global": "true", "local": "id = $2", "others": "id <> $2"}[scope]
    await connection.execute(f"DELETE FROM auth.sessions WHERE user_id = $1 AND $2::uuid IS NOT NULL AND {which}", user, session)  # noqa: S608


async def answer(connection: Any, settings: Settings, user: asyncpg.Record, session: uuid.UUID, refresh_token: str) -> dict[str, Any]:
    """A session as the API answers it."""
    issued = now()
    claims = {
        "iss": settings.issuer, "sub": str(user["id"]), "aud": user["aud"], "exp": issued + settings.token_seconds, "iat": issued,
        "email": user["email"] or "", "phone": user["phone"] or "", "app_metadata": user["raw_app_meta_data"],
        "user_metadata": user["raw_user_meta_data"], "role": user["role"], "aal": "aal1",
        "amr": [{"method": "password" if user["email"] else "anonymous", "timestamp": issued}], "session_id": str(session),
        "is_anonymous": user["is_anonymous"],
    }  # fmt: skip
    return {
        "access_token": settings.keys.sign(claims), "token_type": "bearer", "expires_in": settings.token_seconds,
        "expires_at": issued + settings.token_seconds, "refresh_token": refresh_token, "user": await users.shown(connection, user),
    }  # fmt: skip


async def _next_token(connection: Any, user: uuid.UUID, session: uuid.UUID, *, parent: str | None) -> str:
    token = secrets.token_urlsafe(16)
    await connection.execute(
        "INSERT INTO auth.refresh_tokens (instance_id, token, user_id, session_id, parent) VALUES ($1, $2, $3, $4, $5)",
        uuid.UUID(int=0), token, str(user), session, parent,
    )  # fmt: skip
    return token
