"""Transactions of the parse engine, as Parse's SDKs ask for them (Parse Server's REST API guide).

Objects are of a class that only the master key may use. Parse keeps names that begin with `_` for itself, so it is `BaasProbe`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from baas_operator.prober.client import Answer, Client
from baas_operator.prober.config import ConfigError, Secrets
from baas_operator.prober.failure import Failure
from baas_operator.prober.transactions.common import LEFT_OVER, Afterwards, Result, all_of, drawn

_CLASS = "BaasProbe"
_OBJECTS = f"/parse/classes/{_CLASS}"
_FIELDS = {"slot": {"type": "Number"}, "value": {"type": "String"}}
_NOBODY: dict[str, dict[str, bool]] = {each: {} for each in ("find", "count", "get", "create", "update", "delete", "addField")}
"""Class-level permissions of whom it is for: nobody but the master key."""
_FORBIDDEN = 119
"""Parse.Error.OPERATION_FORBIDDEN."""
_NO_SUCH_USER = 101
"""Parse's code of an object that is not there, a login that is wrong included (Parse.Error.OBJECT_NOT_FOUND)."""
_TRIGGER = (141, 142)
"""Codes of what a trigger of cloud code refuses (Parse.Error.SCRIPT_FAILED and VALIDATION_ERROR)."""


class Parse:
    """They. `settings`: `appId`."""

    def __init__(self, secrets: Secrets, slot: int, settings: Mapping[str, str]) -> None:
        self._secrets, self._slot = secrets, slot
        self._app = settings["appId"]
        self._object: str | None = None
        """Id of this prober's object."""
        self._made = False
        """Whether the class is known to be there."""
        self._swept = False
        self._afterwards = Afterwards()

    def all(self) -> Mapping[str, Callable[[Client], Awaitable[Result | None]]]:
        """See `Transactions`."""
        return {"read": self.read, "write": self.write, "sign-in": self.sign_in}

    def _headers(self, **more: str) -> dict[str, str]:
        """The probe's key is for the gateway, which counts who has it as no client, and hands it on to nobody."""
        keys = {"X-Parse-REST-API-Key": self._secrets["restAPIKey"], "apikey": self._secrets["probe"]}
        return {"X-Parse-Application-Id": self._app, **keys, **more}

    async def _ask(self, client: Client, method: str, path: str, body: Mapping[str, Any] | bytes = b"") -> Answer:
        """A request with the master key.

        Raises:
            ConfigError: the server does not take it, as from an address that spec.components.server.masterKeyIps does not have. That keeps
            this prober from its work, and no client.
        """
        answer = await client.ask(method, path, self._headers(**{"X-Parse-Master-Key": self._secrets["masterKey"]}), body)
        if answer.status == 403 or _code(answer) == _FORBIDDEN:  # what somebody without the key is told, too
            raise ConfigError(
                "Parse Server does not take the master key from this pod: have server.masterKeyIps include the pods' addresses"
            )
        return answer

    async def _expect(
        self, client: Client, method: str, path: str, body: Mapping[str, Any] | bytes = b"", *, status: tuple[int, ...] = (200,)
    ) -> Answer:
        """One that has to be answered so. Raises as above, and Failure where it was not."""
        answer = await self._ask(client, method, path, body)
        if answer.status not in status:
            raise client.refused(answer)
        return answer

    # --- objects --------------------------------------------------------------------------------------------------------

    async def read(self, client: Client) -> None:
        """This prober's object, if it has one yet."""
        await self._find(client)

    async def write(self, client: Client) -> None:
        """This prober's object gets a value that nobody else writes, and has it."""
        await self._make_class(client)
        value = drawn()
        if self._object is None:
            found = await self._find(client)
            self._object = str(found[0]["objectId"]) if found else None
        if self._object is not None:
            answer = await self._ask(client, "PUT", f"{_OBJECTS}/{self._object}", {"value": value})
            if answer.status == 404:  # somebody removed it
                self._object = None
            elif answer.status != 200:
                raise client.refused(answer)
        if self._object is None:
            made = await self._expect(client, "POST", _OBJECTS, {"slot": self._slot, "value": value, "ACL": {}}, status=(200, 201))
            self._object = _field(made, "objectId")
        got = await self._expect(client, "GET", f"{_OBJECTS}/{self._object}")
        if _field(got, "value") != value:
            raise client.failure("value", "another value was read than had just been written")
        if not self._swept:
            await self._sweep(client)

    async def _sweep(self, client: Client) -> None:
        """Once: objects of probers that ended without removing theirs."""
        before = (datetime.now(UTC) - LEFT_OVER).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for each in await self._find(client, {"updatedAt": {"$lt": {"__type": "Date", "iso": before}}}):
            await self._expect(client, "DELETE", f"{_OBJECTS}/{quote(str(each['objectId']))}", status=(200, 404))
        self._swept = True

    async def _find(self, client: Client, wanted: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """This prober's, or others; not many at a time."""
        where = quote(json.dumps(wanted or {"slot": self._slot}))
        answer = await self._expect(client, "GET", f"{_OBJECTS}?where={where}&limit=10")
        found = answer.json()
        if not isinstance(found, dict) or not isinstance(found.get("results"), list):
            raise client.failure("value", "what was read is no list of objects")
        return [each for each in found["results"] if isinstance(each, dict) and "objectId" in each]

    async def _make_class(self, client: Client) -> None:
        """Once: before it is there anybody may make it, with permissions of their own."""
        if self._made:
            return
        schema = {"className": _CLASS, "fields": _FIELDS, "classLevelPermissions": _NOBODY}
        if (await self._ask(client, "GET", f"/parse/schemas/{_CLASS}")).status != 200:
            # 400: another prober has just made it.
            await self._expect(client, "POST", f"/parse/schemas/{_CLASS}", schema, status=(200, 201, 400))
        self._made = True

    async def clean_up(self, client: Client) -> None:
        """Remove this prober's object, and end what sessions it has."""
        await all_of(self._remove_object(client), self._afterwards.done())

    async def _remove_object(self, client: Client) -> None:
        if self._object is not None:
            await self._expect(client, "DELETE", f"{_OBJECTS}/{self._object}", status=(200, 404))

    # --- users ----------------------------------------------------------------------------------------------------------

    async def sign_in(self, client: Client) -> None:
        """The probe's user logs in by password, is known by the session, and logs out again, which ends it.

        Raises:
            ConfigError: a trigger of the user's cloud code does not have that user. It may be right to: it keeps this prober from its work.
        """
        answer = await self._login(client)
        if _code(answer) == _NO_SUCH_USER:
            await self._make_user(client)
            answer = await self._login(client)
        if answer.status != 200:
            raise _refused_by_code(client, answer) or client.refused(answer)
        session = self._headers(**{"X-Parse-Session-Token": _field(answer, "sessionToken")})
        try:
            try:
                known = await client.expect("GET", "/parse/users/me", session)
                if _field(known, "username") != self._secrets["username"]:
                    raise client.failure("value", "the session is another user's")
            except Failure:
                with suppress(Failure, ConfigError):
                    await self._log_out(client, session)
                raise
            await self._log_out(client, session)
        except asyncio.CancelledError:  # the deadline
            self._afterwards.begin(self._log_out(copy(client), session))
            raise

    async def _log_out(self, client: Client, session: Mapping[str, str]) -> None:
        answer = await client.ask("POST", "/parse/logout", session, {})
        if answer.status != 200:
            raise _refused_by_code(client, answer) or client.refused(answer)

    async def _login(self, client: Client) -> Answer:
        who = {"username": self._secrets["username"], "password": self._secrets["password"]}
        return await client.ask("POST", "/parse/login", self._headers(**{"X-Parse-Revocable-Session": "1"}), who)

    async def _make_user(self, client: Client) -> None:
        """Or give the one that is there the password that counts. Without the master key the users would just not be shown."""
        await self._ask(client, "GET", f"/parse/schemas/{_CLASS}")
        name, password = self._secrets["username"], self._secrets["password"]
        where = quote(json.dumps({"username": name}))
        said = (await self._expect(client, "GET", f"/parse/users?where={where}&limit=1")).json()
        found = said.get("results") if isinstance(said, dict) else None
        if found:
            changed = await self._ask(client, "PUT", f"/parse/users/{quote(str(found[0]['objectId']))}", {"password": password})
            if changed.status != 200:
                raise _refused_by_code(client, changed) or client.refused(changed)
            return
        made = await self._ask(client, "POST", "/parse/users", {"username": name, "password": password, "ACL": {}})
        if made.status not in (200, 201) and _code(made) != 202:  # 202: another prober has just made it
            raise _refused_by_code(client, made) or client.refused(made)


def _refused_by_code(client: Client, answer: Answer) -> ConfigError | None:
    """What a trigger said, where one did."""
    if _code(answer) not in _TRIGGER:
        return None
    return ConfigError(f"cloud code refuses the probe's user, which it should let pass: {client.refused(answer)}")


def _field(answer: Answer, name: str) -> str:
    said = answer.json()
    return str(said.get(name, "")) if isinstance(said, dict) else ""


def _code(answer: Answer) -> int | None:
    said = answer.json()
    return said.get("code") if isinstance(said, dict) else None
