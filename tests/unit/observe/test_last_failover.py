"""What the agents noted of the last failover: told in the status, from where it outlives the slice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from baas_operator.desired.database import names
from tests.unit.policy.postgres import Postgres

NOTE: dict[str, Any] = {"at": "2026-05-01T10:00:07Z", "fromMember": "db-0", "toMember": "db-1", "planned": False, "seconds": 4.25}


def noted(text: str | None) -> Postgres:
    db = Postgres().serving()
    if text is not None:
        db.applied["EndpointSlice", "db-rw"]["metadata"]["annotations"] = {names.FAILOVER_ANNOTATION: text}
    return db


def test_what_the_new_primarys_agent_noted_is_told() -> None:
    assert noted(json.dumps(NOTE)).plan().status["lastFailover"] == NOTE


def test_where_there_was_none_nothing_is_told() -> None:
    assert "lastFailover" not in noted(None).plan().status


def test_a_slice_that_was_made_anew_takes_nothing_away() -> None:
    db = noted(None)
    db.resource["status"] = {"lastFailover": NOTE}

    assert db.plan().status["lastFailover"] == NOTE


def test_what_is_noted_is_newer_than_what_was_told() -> None:
    db = noted(json.dumps(NOTE))
    db.resource["status"] = {"lastFailover": NOTE | {"at": "2026-05-01T09:00:00Z", "seconds": 1.0}}

    assert db.plan().status["lastFailover"] == NOTE


@pytest.mark.parametrize(
    "text",
    [
        "", "no JSON", "[]", "{}", json.dumps(NOTE | {"more": 1}), json.dumps(NOTE | {"seconds": -1}),
        json.dumps(NOTE | {"seconds": float("nan")}), json.dumps(NOTE | {"seconds": float("inf")}), json.dumps(NOTE | {"at": "yesterday"}),
        json.dumps(NOTE | {"at": "2026-99-99T10:00:07Z"}), json.dumps(NOTE | {"at": "2026-05-01T10:00:07"}),
        json.dumps(NOTE).replace("4.25", "1" + "0" * 400),
    ],
)  # fmt: skip
def test_what_a_hand_made_it_is_passed_over(text: str) -> None:
    """A status that the API server refuses would keep every later one from being told."""
    db = noted(text)
    db.resource["status"] = {"lastFailover": NOTE}

    assert db.plan().status["lastFailover"] == NOTE
