"""When a certificate is due."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.desired.database.certificates import database_certificates
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import CONTENT_ANNOTATION, EXPIRES_ANNOTATION
from baas_operator.observe.view import View
from baas_operator.policy.certificates import with_due
from tests.unit.objects import NOW, keyed, own, owner, secret

DB = owner(DATABASE_REPLICA, "db")
REQUESTS = database_certificates(DatabaseReplicaSpec(), DB)
DAY = timedelta(days=1)


def world(**days_left: float) -> dict[str, Manifest]:
    """The three Secrets, with the days that each still has (50 if not said)."""
    made = {}
    for each in REQUESTS:
        assert each.certificate
        made[each.name] = found = secret(DB, each.name, "postgresql", **dict.fromkeys(each.certificate.keys, "x") | {"ca.crt": "the-ca"})
        left = days_left.get(each.certificate.usage, 3000 if each.certificate.usage == "ca" else 50)
        found["metadata"] |= {"resourceVersion": f"of-{each.name}"}
        found["metadata"]["annotations"] = {
            EXPIRES_ANNOTATION: (NOW + left * DAY).isoformat(), CONTENT_ANNOTATION: each.certificate.content,
        }  # fmt: skip
    return made


def due(secrets: dict[str, Manifest], now: datetime = NOW) -> list[str]:
    view = View(own(DATABASE_REPLICA, "db"), keyed(*secrets.values()), {}, now)
    judged = with_due(view, REQUESTS)
    assert [each.name for each in judged] == [each.name for each in REQUESTS]
    assert all(each.replaces in (None, f"of-{each.name}") for each in judged)
    return [each.name for each in judged if each.replaces]


def test_none_is_due_that_is_young_or_not_there() -> None:
    assert due(world()) == []
    assert due({}) == []


@pytest.mark.parametrize(("usage", "name", "third"), [("server", "db-server-tls", 30), ("client", "db-replication-tls", 30),
                                                      ("ca", "db-ca", 3650 / 3)])  # fmt: skip
def test_it_is_renewed_at_two_thirds_of_its_life(usage: str, name: str, third: float) -> None:
    assert due(world(**{usage: third + 0.01})) == []
    assert due(world(**{usage: third - 0.01})) == [name]
    assert due(world(**{usage: -5})) == [name], "kept by a database that is taken up again a year later"


def test_who_was_signed_by_another_authority_is_due_but_not_the_authority() -> None:
    secrets = world()
    secrets["db-ca"]["data"]["ca.crt"] = "YW5vdGhlcg=="

    assert due(secrets) == ["db-server-tls", "db-replication-tls"]


def test_an_authority_that_is_gone_or_broken_makes_nobody_due() -> None:
    secrets = world()
    del secrets["db-ca"]
    assert due(secrets) == []

    secrets = world()
    del secrets["db-ca"]["data"]["ca.crt"]
    assert due(secrets) == []


def test_one_that_should_say_something_else_by_now_is_due() -> None:
    secrets = world()
    secrets["db-server-tls"]["metadata"]["annotations"][CONTENT_ANNOTATION] = "of an operator that knew no pooler"

    assert due(secrets) == ["db-server-tls"]


def test_one_that_somebody_brought_is_left_alone() -> None:
    secrets = world(server=-100, client=-100)
    secrets["db-server-tls"]["metadata"]["annotations"] = {}
    secrets["db-ca"]["data"]["ca.crt"] = "YW5vdGhlcg=="
    secrets["db-replication-tls"]["immutable"] = True

    assert due(secrets) == []


@given(st.text())
def test_an_end_that_a_hand_made_something_else_is_put_right(said: str) -> None:
    secrets = world()
    secrets["db-server-tls"]["metadata"]["annotations"][EXPIRES_ANNOTATION] = said

    assert due(secrets) == ["db-server-tls"]


@pytest.mark.parametrize("said", ["0001-01-01T00:00:00", "0001-01-01T00:00:00+23:59"])
def test_the_first_end_that_can_be_written_is_past(said: str) -> None:
    secrets = world()
    secrets["db-server-tls"]["metadata"]["annotations"][EXPIRES_ANNOTATION] = said

    assert due(secrets) == ["db-server-tls"]


def test_an_end_without_a_zone_is_read_as_utc() -> None:
    secrets = world()
    secrets["db-server-tls"]["metadata"]["annotations"][EXPIRES_ANNOTATION] = "2026-05-31T11:59:00"

    assert due(secrets) == ["db-server-tls"]
    assert due(secrets, NOW - timedelta(minutes=10)) == []
