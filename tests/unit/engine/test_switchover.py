"""A switchover is asked of the agent beside the primary; what it does not do now is asked again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, OPERATION
from baas_operator.engine import effects, monitor
from baas_operator.engine.errors import Waiting
from baas_operator.observe.view import View
from baas_operator.policy.plan import RestartPostgres, Switchover
from tests.unit.objects import keyed, own, owner, secret

ASKED = Switchover("db", "db-0", "10.0.0.0", "db-1")


def view(*, password: bool = True) -> View:
    whose = owner(DATABASE_REPLICA, "db")
    secrets = [secret(whose, "db-role-patroni", "postgresql", username="u", password="p")] if password else []
    key = (DATABASE_REPLICA.name, "db")
    return View(resource=own(OPERATION, "op"), children={}, nodes={}, now=datetime.now(UTC), other_children={key: keyed(*secrets)})


async def bring_about(it: View) -> None:
    await effects.bring_about(ASKED, it, None, None)  # type: ignore[arg-type]


async def test_the_primarys_agent_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    async def agent(host: str, port: int, **more: str) -> tuple[int, str]:
        asked.append((host, port, more))
        return 200, "db-1 leads."

    monkeypatch.setattr(monitor, "switch_over", agent)
    await bring_about(view())

    assert asked == [("10.0.0.0", 8010, {"leader": "db-0", "candidate": "db-1", "username": "u", "password": "p"})]


@pytest.mark.parametrize(
    "answer", [(503, "db-2 does not confirm."), (412, "db-0 does not lead."), (404, ""), aiohttp.ClientError(), TimeoutError()]
)
async def test_what_it_does_not_do_now_is_asked_again(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    async def agent(*_: Any, **__: Any) -> tuple[int, str]:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    monkeypatch.setattr(monitor, "switch_over", agent)
    with pytest.raises(Waiting):
        await bring_about(view())


async def test_without_the_password_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Waiting, match="secret"):
        await bring_about(view(password=False))


async def test_a_restart_is_asked_of_patroni(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    async def patroni(host: str, port: int, **more: str) -> tuple[int, str]:
        asked.append((host, port, more))
        return 200, "ok"

    monkeypatch.setattr(monitor, "patroni_restart", patroni)
    whose = owner(DATABASE_REPLICA, "db")
    children = keyed(secret(whose, "db-role-patroni", "postgresql", username="u", password="p"))
    it = View(resource=own(DATABASE_REPLICA, "db"), children=children, nodes={}, now=datetime.now(UTC))
    await effects.bring_about(RestartPostgres("db-0", "10.0.0.0"), it, None, None)  # type: ignore[arg-type]

    assert asked == [("10.0.0.0", 8008, {"username": "u", "password": "p"})]
