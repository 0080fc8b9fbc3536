"""A switchover through the pooler: its clients wait before Patroni is asked, and go on at once when Patroni refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, OPERATION
from baas_operator.engine import effects, monitor
from baas_operator.engine.errors import Waiting
from baas_operator.observe.view import View
from baas_operator.policy.plan import Switchover
from tests.unit.objects import keyed, own, owner, secret

ASKED = Switchover("db", "db-0", "10.0.0.0", "db-1", poolers=("10.0.1.0", "10.0.1.1"))


def view(*, token: bool = True) -> View:
    whose = owner(DATABASE_REPLICA, "db")
    secrets = [secret(whose, "db-role-patroni", "postgresql", username="u", password="p")]
    if token:
        secrets.append(secret(whose, "db-role-pooler", "postgresql", token="t"))
    key = (DATABASE_REPLICA.name, "db")
    return View(resource=own(OPERATION, "op"), children={}, nodes={}, now=datetime.now(UTC), other_children={key: keyed(*secrets)})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was asked for what, in order; Patroni answers with what `patroni` says."""
    made: list[str] = []

    async def pooler(host: str, port: int, *, token: str, resume: bool = False) -> str:
        assert (port, token) == (8011, "t")
        made.append(f"{host} {'resume' if resume else 'pause'}")
        return "200"

    async def patroni(*_: Any, **__: Any) -> tuple[int, str]:
        made.append("switchover")
        return (503, "no") if "refuse" in made else (200, "yes")

    monkeypatch.setattr(monitor, "pause_pooler", pooler)
    monkeypatch.setattr(monitor, "patroni_switchover", patroni)
    return made


async def bring_about(it: View) -> None:
    await effects.bring_about(ASKED, it, None, None)  # type: ignore[arg-type]


async def test_clients_wait_before_the_primary_goes(asked: list[str]) -> None:
    await bring_about(view())

    assert asked == ["10.0.1.0 pause", "10.0.1.1 pause", "switchover"], "nobody has to come back: poolers go on by themselves"


async def test_clients_go_on_when_patroni_refuses(asked: list[str]) -> None:
    asked.append("refuse")

    with pytest.raises(Waiting):
        await bring_about(view())

    assert asked[-2:] == ["10.0.1.0 resume", "10.0.1.1 resume"]


async def test_a_pooler_without_a_secret_is_no_reason_not_to_switch_over(asked: list[str]) -> None:
    await bring_about(view(token=False))

    assert asked == ["switchover"]


async def test_a_pooler_that_does_not_answer_is_no_reason_either(unused_tcp_port: int) -> None:
    assert "Connect" in await monitor.pause_pooler("127.0.0.1", unused_tcp_port, token="t")
