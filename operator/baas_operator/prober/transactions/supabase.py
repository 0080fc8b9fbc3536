"""Transactions of the supabase engine, as supabase-js asks for them.

Rows are read and written by a role that is for this alone (desired/templates/probe.sql.j2). Only the users of auth and the buckets of
storage need the service key: to make the one user and the one bucket, and to use the bucket, which is private.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from typing import Any

from baas_operator.prober.client import Answer, Client
from baas_operator.prober.config import ConfigError, Secrets
from baas_operator.prober.failure import Failure
from baas_operator.prober.transactions.common import LEFT_OVER, Afterwards, Result, all_of, drawn

_SCHEMA = "baas_probe"
_TABLE = "/rest/v1/beats"
_BUCKET = "baas-probe"
_FILE_BYTES = 1024
_RULES = {"email_provider_disabled": "GOTRUE_EXTERNAL_EMAIL_ENABLED is false", "captcha_failed": "GOTRUE_SECURITY_CAPTCHA_ENABLED is true"}
"""GoTrue's codes of what its settings refuse to everybody who does as a prober does."""


class Supabase:
    """They."""

    def __init__(self, secrets: Secrets, slot: int, settings: Mapping[str, str]) -> None:
        self._secrets, self._slot = secrets, slot
        self._swept = False
        self._uploads = False
        """Whether there may be a file of this prober."""
        self._afterwards = Afterwards()

    def all(self) -> Mapping[str, Callable[[Client], Awaitable[Result | None]]]:
        """See `Transactions`."""
        return {"read": self.read, "write": self.write, "sign-in": self.sign_in, "upload": self.upload}

    def _by(self, key: str, token: str | None = None) -> dict[str, str]:
        """A key, or a token, says who asks; and the probe's own, that it is a prober, whom the gateway counts as no client."""
        return {"apikey": self._secrets["probe"], "Authorization": f"Bearer {token or self._secrets[key]}"}

    # --- rows -----------------------------------------------------------------------------------------------------------

    async def read(self, client: Client) -> Result:
        """This prober's row, if it has one yet. A standby may answer while there is no primary."""
        answer = await self._row(client)
        return Result.DEGRADED if "baas-degraded" in answer.headers else Result.OK

    async def write(self, client: Client) -> None:
        """This prober's row gets a value that nobody else writes, and has it."""
        value = drawn()
        headers = self._by("probe") | {"Content-Profile": _SCHEMA, "Prefer": "resolution=merge-duplicates,return=minimal"}
        row = {"slot": self._slot, "value": value, "at": "now"}
        await client.expect("POST", f"{_TABLE}?on_conflict=slot", headers, row, status=(200, 201, 204))
        if (await self._row(client)).json() != [{"value": value}]:
            raise client.failure("value", "another value was read than had just been written")
        if not self._swept:
            await self._sweep(client)

    async def _row(self, client: Client) -> Answer:
        headers = self._by("probe") | {"Accept-Profile": _SCHEMA}
        answer = await client.expect("GET", f"{_TABLE}?slot=eq.{self._slot}&select=value", headers)
        if not isinstance(answer.json(), list):
            raise client.failure("value", "what was read is no list of rows")
        return answer

    async def _sweep(self, client: Client) -> None:
        """Once: rows of probers that ended without removing theirs."""
        before = (datetime.now(UTC) - LEFT_OVER).isoformat(timespec="seconds").replace("+00:00", "Z")
        await client.expect("DELETE", f"{_TABLE}?at=lt.{before}", self._by("probe") | {"Content-Profile": _SCHEMA}, status=(200, 204))
        self._swept = True

    async def clean_up(self, client: Client) -> None:
        """Remove this prober's row and its file, and end what sessions it has."""
        await all_of(self._remove_row(client), self._remove_file(copy(client)), self._afterwards.done())

    async def _remove_row(self, client: Client) -> None:
        await client.expect("DELETE", f"{_TABLE}?slot=eq.{self._slot}", self._by("probe") | {"Content-Profile": _SCHEMA}, status=(200, 204))

    async def _remove_file(self, client: Client) -> None:
        if self._uploads:
            await client.expect("DELETE", self._file, self._by("service_role"), status=(200, 400, 404))

    # --- users ----------------------------------------------------------------------------------------------------------

    async def sign_in(self, client: Client) -> None:
        """The probe's user signs in by password, is known by the token, and signs out again, which ends the session.

        Raises:
            ConfigError: GoTrue is told to let nobody in that way. That keeps this prober from its work, and no client.
        """
        answer = await self._token(client)
        if _is_unknown(answer):
            await self._make_user(client)
            answer = await self._token(client)
        if (code := _error_code(answer)) in _RULES:
            raise ConfigError(f"GoTrue lets nobody in who has a password alone: {_RULES[code]}")
        if answer.status != 200:
            raise client.refused(answer)
        token = _field(answer, "access_token")
        try:
            try:
                known = await client.expect("GET", "/auth/v1/user", self._by("anon", token))
                if _field(known, "email") != self._secrets["username"]:
                    raise client.failure("value", "the token is another user's")
            except Failure:
                with suppress(Failure):
                    await self._sign_out(client, token)
                raise
            await self._sign_out(client, token)
        except asyncio.CancelledError:  # the deadline
            self._afterwards.begin(self._sign_out(copy(client), token))
            raise

    async def _sign_out(self, client: Client, token: str) -> None:
        await client.expect("POST", "/auth/v1/logout?scope=local", self._by("anon", token), status=(200, 204))

    async def _token(self, client: Client) -> Answer:
        who = {"email": self._secrets["username"], "password": self._secrets["password"]}
        return await client.ask("POST", "/auth/v1/token?grant_type=password", self._by("anon"), who)

    async def _make_user(self, client: Client) -> None:
        """Or give the one that is there the password that counts."""
        email, password = self._secrets["username"], self._secrets["password"]
        wanted = str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{email}"))
        user = {"id": wanted, "email": email, "password": password, "email_confirm": True}
        made = await client.ask("POST", "/auth/v1/admin/users", self._by("service_role"), user)
        if made.status in (409, 422):
            await client.expect("PUT", f"/auth/v1/admin/users/{wanted}", self._by("service_role"), {"password": password})
        elif made.status not in (200, 201):
            raise client.refused(made)

    # --- files ----------------------------------------------------------------------------------------------------------

    @property
    def _file(self) -> str:
        return f"/storage/v1/object/{_BUCKET}/{self._slot}"

    async def upload(self, client: Client) -> None:
        """A file goes up, comes down as it was, and is removed."""
        content, headers = os.urandom(_FILE_BYTES), self._by("service_role")
        path, self._uploads = self._file, True
        to_upload = headers | {"Content-Type": "application/octet-stream", "x-upsert": "true"}
        answer = await client.ask("POST", path, to_upload, content)
        if answer.status in (400, 404) and b"Bucket not found" in answer.body:
            bucket: dict[str, Any] = {"id": _BUCKET, "name": _BUCKET, "public": False, "file_size_limit": _FILE_BYTES}
            # 409, or 400 with that code in it: another prober has just made it.
            await client.expect("POST", "/storage/v1/bucket", headers, bucket, status=(200, 201, 400, 409))
            answer = await client.ask("POST", path, to_upload, content)
        if answer.status != 200:
            raise client.refused(answer)
        got = await client.expect("GET", path, headers)
        if got.body != content:
            raise client.failure("value", "another file came down than had just gone up")
        await client.expect("DELETE", path, headers)


def _field(answer: Answer, name: str) -> str:
    said = answer.json()
    return str(said.get(name, "")) if isinstance(said, dict) else ""


def _error_code(answer: Answer) -> str:
    """GoTrue's code of a refusal: in `error_code`, or in `code`, which is the HTTP status in earlier versions of its API."""
    return _field(answer, "error_code") or _field(answer, "code")


def _is_unknown(answer: Answer) -> bool:
    """Whether GoTrue knows no such user, or another password. Versions before codes said so in words alone."""
    words = [_field(answer, each) for each in ("msg", "message", "error_description")]
    return _error_code(answer) == "invalid_credentials" or (answer.status == 400 and "Invalid login credentials" in words)
