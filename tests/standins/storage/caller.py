"""Who asks: the role that the token names, for which row-level security decides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from tests.standins.database import Database, Work
from tests.standins.storage.refusal import RefusalError
from tests.standins.storage.settings import Settings
from tests.standins.tokens import BadTokenError, bearer

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Caller:
    """One request's claims."""

    role: str
    claims: dict[str, Any]
    method: str
    path: str

    @property
    def owner(self) -> str | None:
        """The user's id."""
        return self.claims.get("sub")

    async def become(self, connection: Any) -> None:
        """Have the rest of the transaction run as the caller, with what policies ask for (`auth.uid()` and the like)."""
        settings = {
            "role": self.role, "request.jwt.claim.role": self.role, "request.jwt.claims": json.dumps(self.claims),
            "request.jwt.claim.sub": self.owner or "", "request.method": self.method, "request.path": self.path,
        }  # fmt: skip
        calls = ", ".join(f"set_config(${2 * index + 1}, ${2 * index + 2}, true)" for index in range(len(settings)))
        await connection.execute("SET LOCAL search_path = storage, public")
        await connection.fetch(f"SELECT {calls}", *[part for pair in settings.items() for part in pair])


def caller_of(settings: Settings, request: web.Request) -> Caller:
    """Who asks; RefusalError when that is nobody we know."""
    token = bearer(request.headers.get("Authorization"))
    if token is None:
        raise RefusalError(403, "Unauthorized", "headers should have required property 'authorization'")
    try:
        claims = settings.keys.verify(token)
    except BadTokenError as error:
        raise RefusalError(403, "Unauthorized", str(error)) from error
    return Caller(claims.get("role") or settings.anon_role, claims, request.method, request.path)


async def as_caller(database: Database, caller: Caller, work: Work[_Result]) -> _Result:
    """Do `work` in a transaction of the caller's."""

    async def whole(connection: Any) -> _Result:
        await caller.become(connection)
        return await work(connection)

    return await database.run(whole)
