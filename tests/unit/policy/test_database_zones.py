"""DatabaseReplica and its zones: where members may be, and whether a zone may be lost."""

from __future__ import annotations

import pytest

from baas_operator.observe.conditions import READY, STALLED, ZONE_TOLERANT
from baas_operator.policy.plan import Plan
from tests.unit.objects import message, nodes, reason, status
from tests.unit.policy.postgres import Postgres


def kinds(plan: Plan) -> set[str]:
    return {each["kind"] for each in plan.manifests}


# --- zones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zones", [("zone-a",), ("zone-a", "zone-a"), (None, None)])
def test_zone_quorum_is_refused_with_one_zone_before_anything_exists(zones: tuple[str | None, ...]) -> None:
    plan = Postgres(zones=zones).plan()

    assert plan.refused
    assert plan.manifests == ()
    assert plan.secrets == ()
    assert reason(plan, STALLED) == "ZonesInsufficient"
    assert "spec.durability to quorum" in message(plan, STALLED), "it says what to do"


@pytest.mark.parametrize("durability", ["quorum", "async"])
def test_other_durabilities_need_no_zones(durability: str) -> None:
    assert not Postgres({"durability": durability}, zones=(None,)).plan().refused


def test_a_control_plane_is_no_zone_for_members() -> None:
    db = Postgres(zones=("zone-a",))
    db.nodes["control-plane"]["metadata"]["labels"] = {"topology.kubernetes.io/zone": "zone-b"}

    assert db.plan().refused


def test_zones_that_go_away_later_refuse_nothing() -> None:
    db = Postgres().serving()
    db.nodes = nodes("zone-a")

    plan = db.plan()

    assert not plan.refused
    assert {"StatefulSet", "PodDisruptionBudget"} <= kinds(plan)


def spread_of(db: Postgres) -> str:
    constraints = db.statefulset()["spec"]["template"]["spec"]["topologySpreadConstraints"]
    return str(next(each["whenUnsatisfiable"] for each in constraints if each["topologyKey"].endswith("/zone")))


def test_hard_spread_stays_as_it_was_made() -> None:
    """A zone that is away for an hour must not roll every pod."""
    three = Postgres().serving()
    assert spread_of(three) == "DoNotSchedule"
    three.nodes = nodes("zone-a", "zone-b")
    three.reconcile()
    assert spread_of(three) == "DoNotSchedule"

    two = Postgres(zones=("zone-a", "zone-b")).serving()
    assert spread_of(two) == "ScheduleAnyway"
    two.nodes = nodes("zone-a", "zone-b", "zone-c")
    two.reconcile()
    assert spread_of(two) == "ScheduleAnyway"


# --- whether a zone may be lost: from what streams, not from what was asked ------------------------------------------


def tolerance(db: Postgres) -> str | None:
    return reason(db.plan(), ZONE_TOLERANT)


def test_tolerance_follows_what_streams() -> None:
    db = Postgres().serving()
    assert tolerance(db) == "AnyZoneCanBeLost"

    db.members["db-1"].state = "starting"
    assert tolerance(db) == "OneStandbyZone", "a standby that does not stream has nothing"

    db.members["db-1"].state = "streaming"
    db.sync = ("db-2",)
    assert tolerance(db) == "OneStandbyZone", "one that is no synchronous candidate may lack what was acknowledged"

    db.sync = ()
    assert tolerance(db) == "NoStandbyInAnotherZone"


def test_standbys_in_the_primarys_own_zone_do_not_count() -> None:
    db = Postgres().serving()
    for each in ("db-1", "db-2"):
        db.members[each].zone = "zone-a"

    assert tolerance(db) == "NoStandbyInAnotherZone"


@pytest.mark.parametrize(("durability", "wait_for", "tolerant"), [
    ("quorum", 1, "ConfirmedInOneZone"), ("zone-quorum", 2, "AnyZoneCanBeLost"),
])  # fmt: skip
def test_what_a_standby_beside_the_primary_alone_may_have_confirmed_goes_with_their_zone(
    durability: str, wait_for: int, tolerant: str
) -> None:
    """Of five members in three zones one is beside the primary. A commit that waits for one standby may be those two members' alone."""
    db = Postgres({"replicas": 5, "durability": durability}, zones=("zone-a", "zone-b", "zone-c")).serving()
    db.dynamic["synchronous_node_count"] = wait_for

    assert tolerance(db) == tolerant


def test_when_all_who_confirm_commits_are_beside_the_primary_it_is_not_ready() -> None:
    """Two zones: Patroni waits for one standby at least, whichever is left, and not for the other zone."""
    db = Postgres(zones=("zone-a", "zone-b")).serving()
    assert reason(db.plan(), READY) == "Serving"

    db.power_off("db-1")
    plan = db.plan()
    assert (status(plan, READY), reason(plan, READY)) == (False, "NoStandbyInAnotherZone")
    assert message(plan, READY) == (
        "Commits do not wait for another zone (durability zone-quorum): who confirms them now, db-2, is in zone-a, as the primary is."
    )

    db.join("db-1")
    assert status(db.plan(), READY)


def test_who_was_promoted_a_moment_ago_does_not_confirm_to_itself() -> None:
    db = Postgres().serving()
    db.sync = (str(db.leader),)

    assert status(db.plan(), READY)


def test_with_quorum_a_standby_beside_the_primary_is_enough_to_be_ready() -> None:
    db = Postgres({"durability": "quorum"}, zones=("zone-a", "zone-b")).serving()
    db.power_off("db-1")

    assert status(db.plan(), READY)


def test_two_standbys_in_one_other_zone_are_one_zone() -> None:
    db = Postgres().serving()
    db.members["db-2"].zone = "zone-b"

    assert tolerance(db) == "OneStandbyZone"


def test_a_primary_whose_zone_is_unknown_is_not_called_tolerant() -> None:
    db = Postgres({"durability": "quorum"}, zones=(None, None, None)).serving()

    assert tolerance(db) == "ZoneUnknown"


def test_async_never_is_tolerant() -> None:
    assert tolerance(Postgres({"durability": "async"}).serving()) == "Asynchronous"


def test_not_ready_never_is_tolerant() -> None:
    """Whoever drains a zone looks at ZoneTolerant alone."""
    db = Postgres().serving()
    db.lock("db-1")

    plan = db.plan()

    assert not status(plan, READY)
    assert not status(plan, ZONE_TOLERANT)
