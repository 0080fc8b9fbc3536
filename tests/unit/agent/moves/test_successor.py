"""Which standby takes over when a primary is to go."""

from __future__ import annotations

from typing import Any

from baas_operator.agent.move import successor
from tests.unit.agent.moves.world import LEADER, member


def pod(name: str, *, made: str = "2026-01-01T00:00:00Z", goes: bool = False) -> dict[str, Any]:
    metadata = {"name": name, "creationTimestamp": made} | ({"deletionTimestamp": "2026-01-02T00:00:00Z"} if goes else {})
    return {"metadata": metadata}


def chosen(*members: dict[str, Any], **pods: dict[str, Any]) -> str | None:
    known = {"db-0": pod("db-0", goes=True)} | {name: pod(name) for name in ("db-1", "db-2")}
    return successor({"members": [LEADER, *members]}, known | {name.replace("_", "-"): each for name, each in pods.items()})


def test_a_synchronous_standby_takes_over_and_no_other_where_there_is_one() -> None:
    assert chosen(member("db-1"), member("db-2", "replica")) == "db-1"
    assert chosen(member("db-1", state="starting"), member("db-2", "replica")) is None


def test_without_synchronous_standbys_one_that_hardly_lags_does() -> None:
    assert chosen(member("db-1", "replica", lag=64 * 2**20), member("db-2", "replica", lag=100)) == "db-2"
    assert chosen(member("db-1", "replica", lag="unknown")) is None


def test_one_that_goes_too_is_passed_over() -> None:
    assert chosen(member("db-1"), member("db-2"), db_2=pod("db-2", goes=True)) == "db-1"


def test_the_youngest_pod_is_taken_so_that_a_rolling_update_does_not_meet_the_primary_again() -> None:
    assert chosen(member("db-1"), member("db-2"), db_1=pod("db-1", made="2026-01-03T00:00:00Z")) == "db-1"


def test_a_member_whose_pod_is_not_known_is_passed_over() -> None:
    assert chosen(member("db-7")) is None
