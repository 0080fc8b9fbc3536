"""Volumes that fill: they grow where they may, then writes are held off, and somebody is told."""

from __future__ import annotations

import json

import pytest

from baas_operator.observe.conditions import READY, RECONCILING, STALLED, STORAGE_PRESSURE
from baas_operator.observe.report import Report, Room, Volume, read_report
from baas_operator.policy.plan import PatchAnnotation, Plan
from tests.unit.objects import message, reason, status
from tests.unit.policy.broken import Broken, grown

GIB = 2**30


def used(percent: float, *, size: float = 5 * GIB) -> Report:
    """A volume of which so much is used."""
    return Report(Volume(size=int(size), free=int(size * (1 - percent / 100))))


def read_only(plan: Plan, it: Broken) -> bool:
    """Whether Patroni's configuration, with what the plan makes of it, has writes held off."""
    for each in plan.effects:
        if isinstance(each, PatchAnnotation):
            it.db.dynamic, it.db.dynamic_version = json.loads(each.value), it.db.dynamic_version + 1
    parameters: dict[str, str] = it.db.dynamic["postgresql"]["parameters"]
    return parameters.get("default_transaction_read_only") == "on"


# --- how much room there is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "free", "room"),
    [
        (5 * GIB, 1.1 * GIB, Room.AMPLE),
        (5 * GIB, 0.9 * GIB, Room.DUE),
        (5 * GIB, 0.7 * GIB, Room.NEARLY_FULL),
        (5 * GIB, 0.4 * GIB, Room.SCARCE),
        (5 * GIB, 0.2 * GIB, Room.FULL),
        (5 * GIB, 0, Room.FULL),
        (10000 * GIB, 1000 * GIB, Room.DUE),
        (10000 * GIB, 40 * GIB, Room.NEARLY_FULL),
        (10000 * GIB, 4 * GIB, Room.FULL),
    ],
)
def test_room_is_a_share_of_a_small_volume_and_bytes_of_a_large_one(size: float, free: float, room: Room) -> None:
    assert Volume(int(size), int(free)).room is room


@pytest.mark.parametrize(
    "text", ["", "?", "[]", '{"volume": 7}', '{"volume": {"size": "x"}}', '{"volume": {"size": 0, "free": 0}}', "null"]
)
def test_a_report_that_a_hand_made_something_else_says_nothing(text: str) -> None:
    assert read_report({"metadata": {"annotations": {"baas-operator.io/report": text}}}) == Report()


def test_a_report_is_read_as_it_was_written() -> None:
    told = Report(Volume(100, 7), admitted=False)

    assert read_report({"metadata": {"annotations": {"baas-operator.io/report": told.text()}}}) == told


# --- growing -----------------------------------------------------------------------------------------------------------


def test_nothing_grows_by_itself_unless_it_is_said_how_far() -> None:
    it = Broken()
    it.reports["db-0"] = used(99)

    assert grown(it.look()) == {}


def test_all_volumes_grow_when_one_is_four_fifths_full() -> None:
    it = Broken({"storage": {"size": "10Gi", "maxSize": "20Gi"}})
    it.claims = dict.fromkeys(it.db.members, "10Gi")
    it.reports["db-1"] = used(79, size=9.8 * GIB)
    assert grown(it.look()) == {}

    it.reports["db-1"] = used(81, size=9.8 * GIB)
    plan = it.look()

    assert grown(plan) == {"data-db-0": "12Gi", "data-db-1": "12Gi", "data-db-2": "12Gi"}
    assert (reason(plan, RECONCILING), reason(plan, READY)) == ("VolumesGrowing", "Serving")


def test_one_step_at_a_time_is_taken_and_none_beyond_the_most() -> None:
    it = Broken({"storage": {"size": "10Gi", "maxSize": "13Gi"}})
    it.claims, it.capacities = dict.fromkeys(it.db.members, "12Gi"), dict.fromkeys(it.db.members, "10Gi")
    it.reports["db-0"] = used(95, size=9.8 * GIB)
    assert grown(it.look()) == {}, "the last step is on its way"

    it.capacities = {}
    assert grown(it.look()) == {}, "the file system has not taken it in yet"

    it.reports["db-0"] = used(90, size=11.8 * GIB)
    assert set(grown(it.look()).values()) == {"13Gi"}

    it.claims = dict.fromkeys(it.db.members, "13Gi")
    it.reports["db-0"] = used(99, size=12.8 * GIB)
    assert grown(it.look()) == {}


def test_volumes_that_are_full_grow_although_nobody_could_start() -> None:
    """As after a bulk load while no operator ran."""
    it = Broken({"storage": {"size": "5Gi", "maxSize": "20Gi"}})
    it.reports = dict.fromkeys(it.db.members, used(100, size=4.9 * GIB))
    for each in it.db.members:
        it.db.power_off(each)

    assert grown(it.look()) == {"data-db-0": "6Gi", "data-db-1": "6Gi", "data-db-2": "6Gi"}


def test_a_member_that_is_away_keeps_no_volume_from_growing() -> None:
    """Nor does a claim that has no volume yet, which nobody can make larger."""
    it = Broken({"storage": {"size": "5Gi", "maxSize": "20Gi"}})
    it.reports = dict.fromkeys(it.db.members, used(82, size=4.9 * GIB))
    it.db.power_off("db-2")
    it.capacities["db-2"] = "5Gi"
    sizes = []
    for _ in range(2):
        plan = it.look()
        sizes.append(grown(plan).get("data-db-0"))
        for name in it.claims:
            it.claims[name] = grown(plan).get(f"data-{name}", it.claims[name])
        now = float(str(sizes[-1]).removesuffix("Gi"))
        for name in ("db-0", "db-1"):
            it.reports[name] = used(82, size=(now - 0.1) * GIB)
    assert sizes == ["6Gi", "8Gi"]


def test_a_new_member_gets_a_volume_as_large_as_the_others_by_now() -> None:
    it = Broken({"storage": {"size": "5Gi", "maxSize": "20Gi"}})
    it.claims = {"db-0": "9Gi", "db-1": "9Gi", "db-2": "5Gi"}

    assert grown(it.look()) == {"data-db-2": "9Gi"}


def test_a_volume_that_is_full_already_grows_with_the_spec() -> None:
    it = Broken({"storage": {"size": "8Gi"}})
    it.crash("db-0")
    it.reports = dict.fromkeys(it.db.members, used(100))

    assert grown(it.look()) == {"data-db-0": "8Gi", "data-db-1": "8Gi", "data-db-2": "8Gi"}


# --- holding writes off --------------------------------------------------------------------------------------------------


def test_writes_are_held_off_when_the_primarys_volume_is_full_until_there_is_twice_the_room() -> None:
    it = Broken()
    for percent, expected in ((94, False), (96, True), (94, True), (91, True), (89, False), (94, False)):
        it.reports["db-0"] = used(percent)
        assert read_only(it.look(), it) is expected, percent


def test_that_is_a_page() -> None:
    it = Broken()
    it.reports["db-0"] = used(96)
    assert read_only(it.look(), it)

    plan = it.look()

    assert reason(plan, READY) == reason(plan, STALLED) == reason(plan, STORAGE_PRESSURE) == "ReadOnlyStorageFull"
    assert (status(plan, READY), status(plan, STORAGE_PRESSURE)) == (False, True)
    assert "204 MiB of 5120 MiB are left" in message(plan, READY)
    assert plan.effects == (), "it is said once"


def test_while_volumes_grow_it_passes_by_itself() -> None:
    it = Broken({"storage": {"size": "5Gi", "maxSize": "20Gi"}})
    it.reports["db-0"] = used(96)
    read_only(it.look(), it)

    plan = it.look()

    assert grown(plan)
    assert reason(plan, RECONCILING) == "ReadOnlyStorageFull"
    assert reason(plan, STALLED) is None


def test_a_standby_whose_volume_is_full_holds_nothing_off_and_is_told() -> None:
    it = Broken()
    it.reports["db-2"] = used(97)

    plan = it.look()

    assert not read_only(plan, it)
    assert reason(plan, STORAGE_PRESSURE) == "StorageNearlyFull"
    assert "db-2 (97 % used)" in message(plan, STORAGE_PRESSURE)
    assert status(plan, READY)


def test_who_does_not_know_changes_nothing() -> None:
    it = Broken()
    it.reports["db-0"] = used(96)
    assert read_only(it.look(), it)

    it.reports.clear()
    assert read_only(it.look(), it)


def test_a_new_primary_is_judged_by_its_own_volume() -> None:
    it = Broken()
    it.reports = {"db-0": used(96), "db-1": used(50)}
    assert read_only(it.look(), it)

    it.db.lock("db-1")
    it.db.promote()
    it.db.join("db-0")
    assert not read_only(it.look(), it)


def test_users_who_want_it_so_are_not_told_that_it_is_full() -> None:
    it = Broken({"parameters": {"default_transaction_read_only": "on"}})

    plan = it.look()

    assert read_only(plan, it)
    assert reason(plan, READY) == "Serving"
    assert reason(plan, STORAGE_PRESSURE) is None


def test_the_guard_is_above_the_users_parameters() -> None:
    it = Broken({"parameters": {"default_transaction_read_only": "off"}})
    it.reports["db-0"] = used(96)

    assert read_only(it.look(), it)


def test_a_standby_that_is_away_can_not_fill_the_primarys_volume() -> None:
    it = Broken({"storage": {"size": "20Gi"}})
    assert it.db.dynamic["postgresql"]["parameters"]["max_slot_wal_keep_size"] == "5120MB"

    own = Broken({"storage": {"size": "20Gi"}, "parameters": {"max_slot_wal_keep_size": "-1"}})
    assert own.db.dynamic["postgresql"]["parameters"]["max_slot_wal_keep_size"] == "-1"


def test_as_good_as_equal_volumes_are_told_once() -> None:
    told = Report(Volume(100 * GIB, 50 * GIB))

    for free, again in ((49 * GIB, True), (54 * GIB, True), (45 * GIB, False), (19 * GIB, False)):
        assert Report(Volume(100 * GIB, free)).as_good_as(told) is again
    assert not Report(told.volume, admitted=True).as_good_as(told)
    assert not Report().as_good_as(told)
    assert Report(Volume(100 * GIB, 21 * GIB)).as_good_as(Report(Volume(100 * GIB, 22 * GIB)))
    assert not Report(Volume(100 * GIB, 19 * GIB)).as_good_as(Report(Volume(100 * GIB, 21 * GIB))), "it is time to grow"
