"""What an agent asks its PostgreSQL is ended by the agent's own deadlines, and by no parameter of the spec."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from baas_operator.agent.postgres import Postgres, UnavailableError
from baas_operator.agent.postmaster import Postmaster
from baas_operator.agent.settings import Settings


def postgres() -> Postgres:
    return Postgres("/run", Postmaster.__new__(Postmaster))


ASKING: dict[str, Callable[[], Awaitable[object]]] = {
    "how it stands": lambda: postgres().look(),
    "for a checkpoint": lambda: postgres().checkpoint(confirmed_by=(), replayed_by="db-1"),
    "whom commits wait for": lambda: postgres().synchronous(),
    "what it takes": lambda: Settings.__new__(Settings)._refused({}),
}


@pytest.mark.parametrize("what", ASKING)
async def test_no_parameter_ends_what_an_agent_asks(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a statement_timeout of 5 s a longer checkpoint failed every planned move."""
    seen: dict[str, str] = {}

    async def connect(**how: Any) -> None:
        seen.update(how.get("server_settings") or {})
        raise OSError

    monkeypatch.setattr(asyncpg, "connect", connect)
    monkeypatch.setattr(Settings, "_socket", "/run", raising=False)
    with pytest.raises((UnavailableError, OSError)):
        await ASKING[what]()

    timeouts = ("statement_timeout", "lock_timeout", "transaction_timeout", "idle_session_timeout")
    assert {name: seen.get(name) for name in timeouts} == dict.fromkeys(timeouts, "0")
    assert seen["default_transaction_isolation"] == "read committed", "a standby answers no query of another"
    assert (seen["session_preload_libraries"], seen["local_preload_libraries"]) == ("", ""), "one that is not there lets nobody in"
