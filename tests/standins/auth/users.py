"""Users in the database, and how they are shown."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

import asyncpg

from tests.standins.auth.passwords import hashed
from tests.standins.auth.refusal import RefusalError
from tests.standins.auth.settings import Settings

_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")


def email_of(body: dict[str, Any]) -> str:
    """The email address of a request."""
    email = str(body.get("email") or "").strip().lower()
    if not _EMAIL.match(email):
        raise RefusalError(400, "validation_failed", "Unable to validate email address: invalid format")
    return email


def check_password(settings: Settings, password: Any) -> str:
    """A password that is good enough."""
    if not isinstance(password, str) or not password:
        raise RefusalError(400, "validation_failed", "Signup requires a valid password")
    if len(password) < settings.password_length:
        raise RefusalError(
            422,
            "weak_password",
            f"Password should be at least {settings.password_length} characters.",
            weak_password={"reasons": ["length"]},
        )
    if len(password.encode()) > 72:  # bcrypt's, which GoTrue uses
        raise RefusalError(422, "validation_failed", "Password cannot be longer than 72 characters")
    return password


async def create(
    connection: Any, settings: Settings, *, email: str | None, password: str | None, data: dict[str, Any], confirmed: bool,
    app: dict[str, Any] | None = None, role: str | None = None, user_id: str | None = None,
) -> asyncpg.Record:  # fmt: skip
    """A new user; RefusalError when the address is taken."""
    made = uuid.UUID(user_id) if user_id else uuid.uuid4()
    provider = {"provider": "email", "providers": ["email"]} if email else {}
    try:
        user = await connection.fetchrow(
            "INSERT INTO auth.users (instance_id, id, aud, role, email, encrypted_password, email_confirmed_at, raw_app_meta_data,"
            " raw_user_meta_data, is_anonymous) VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $7 THEN now() END, $8, $9, $10) RETURNING *",
            uuid.UUID(int=0), made, settings.audience, role or settings.group, email, await hashed(password) if password else None,
            confirmed, provider | (app or {}), data, email is None,
        )  # fmt: skip
    except asyncpg.UniqueViolationError as error:
        raise RefusalError(422, "user_already_exists", "User already registered") from error
    if email:
        identity = {"sub": str(made), "email": email, "email_verified": confirmed, "phone_verified": False} | data
        await connection.execute(
            "INSERT INTO auth.identities (provider_id, user_id, identity_data, provider, last_sign_in_at)"
            " VALUES ($1, $2, $3, 'email', now())",
            str(made), made, identity,
        )  # fmt: skip
    return user


async def change(connection: Any, settings: Settings, user: asyncpg.Record, body: dict[str, Any], *, admin: bool) -> asyncpg.Record:
    """A user as the request wants it. Who is no administrator confirms nothing and changes no role."""
    columns: dict[str, Any] = {}
    if body.get("password"):
        columns["encrypted_password"] = await hashed(check_password(settings, body["password"]))
    if body.get("email") and email_of(body) != user["email"]:
        if not (admin or settings.autoconfirm):
            raise RefusalError(500, "unexpected_failure", "The stand-in sends no mail: it can not have a new address confirmed.")
        columns["email"] = email_of(body)
    data = body.get("user_metadata" if admin else "data")
    if isinstance(data, dict):
        columns["raw_user_meta_data"] = _merged(user["raw_user_meta_data"], data)
    if admin:
        if isinstance(body.get("app_metadata"), dict):
            columns["raw_app_meta_data"] = _merged(user["raw_app_meta_data"], body["app_metadata"])
        if body.get("email_confirm"):
            columns["email_confirmed_at"] = datetime.now(UTC)
        if body.get("role"):
            columns["role"] = body["role"]
    sets = "".join(f", {name} = ${index}" for index, name in enumerate(columns, start=2))
    try:
        return await connection.fetchrow(
            f"UPDATE auth.users SET updated_at = now(){sets} WHERE id = $1 RETURNING *", user["id"], *columns.values()  # noqa: S608 - our names
        )  # fmt: skip
    except asyncpg.UniqueViolationError as error:
        raise RefusalError(422, "email_exists", "A user with this email address has already been registered") from error


def _merged(before: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Metadata with some keys changed; null takes one out."""
    return {key: value for key, value in (before | change).items() if value is not None}


async def shown(connection: Any, user: asyncpg.Record) -> dict[str, Any]:
    """A user as the API shows it."""
    identities = await connection.fetch("SELECT * FROM auth.identities WHERE user_id = $1 ORDER BY created_at", user["id"])
    return {
        "id": str(user["id"]), "aud": user["aud"], "role": user["role"], "email": user["email"] or "", "phone": user["phone"] or "",
        "email_confirmed_at": _moment(user["email_confirmed_at"]), "confirmed_at": _moment(user["confirmed_at"]),
        "last_sign_in_at": _moment(user["last_sign_in_at"]), "app_metadata": user["raw_app_meta_data"],
        "user_metadata": user["raw_user_meta_data"], "created_at": _moment(user["created_at"]), "updated_at": _moment(user["updated_at"]),
        "is_anonymous": user["is_anonymous"],
        "identities": [{
            "identity_id": str(each["id"]), "id": each["provider_id"], "user_id": str(each["user_id"]), "provider": each["provider"],
            "identity_data": each["identity_data"], "email": each["email"], "last_sign_in_at": _moment(each["last_sign_in_at"]),
            "created_at": _moment(each["created_at"]), "updated_at": _moment(each["updated_at"]),
        } for each in identities],
    }  # fmt: skip


def _moment(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None
