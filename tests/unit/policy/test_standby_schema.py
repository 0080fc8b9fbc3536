"""When PostgREST on standbys is rolled for a schema that it does not know: told over clusters that are not there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.desired.instance.probes import SCHEMA_ANNOTATION
from baas_operator.observe.conditions import READY
from baas_operator.observe.moments import to_text
from baas_operator.observe.probes import Probed, ProberReport, SchemaReport
from baas_operator.observe.view import View
from baas_operator.policy.instance import plan_instance
from baas_operator.policy.plan import Plan
from baas_operator.policy.standby_schema import APART
from tests.unit.objects import NOW, ZONES, condition, conditions, nodes, reason
from tests.unit.policy.backend import WELL, Backend

NO_PRIMARY = conditions(condition(READY, False, "NoPrimary", "No member takes writes."))
Said = SchemaReport | None


def of(state: str | None, rounds: int = 2, ago: float = 5.0) -> SchemaReport:
    return SchemaReport(state=state, rounds=rounds, every_seconds=30.0, seconds_ago=ago)


class Reading(Backend):
    """A backend that serves, at a moment of its own, whose probers tell of the schema on standbys. Its pods are as old as NOW says."""

    now: datetime = NOW + timedelta(hours=1)

    def roll_out(self, **more: Any) -> None:
        super().roll_out(**more)
        for each in self.pods.values():
            each["metadata"]["creationTimestamp"] = to_text(NOW)

    def hears(self, *said: Said) -> Plan:
        """Reconcile; `said` by each prober, None of one that gave no answer."""
        reports = {f"shop-prober-{index}": ProberReport(standby_schema=each) if each else None for index, each in enumerate(said)}
        return self._reconcile(Probed(reports))

    def nobody_is_asked(self) -> Plan:
        return self._reconcile(None)

    def _reconcile(self, external: Probed | None) -> Plan:
        plan_of = self.plan
        self.plan = lambda: plan_instance(self._view(external))  # type: ignore[method-assign]
        try:
            return self.reconcile()
        finally:
            self.plan = plan_of  # type: ignore[method-assign]

    def _view(self, external: Probed | None) -> View:
        keys = {("Secret", "shop-api-keys"): self.keys} if self.keys else {}
        return View(
            resource=self.resource, children=self.applied | self.pods | keys, nodes=nodes(*ZONES), now=self.now, others=self.others,
            external=external,
        )  # fmt: skip

    def template(self, component: str = "reads") -> dict[str, Any]:
        return dict(self.applied["Deployment", f"shop-{component}"]["spec"]["template"]["metadata"].get("annotations") or {})

    @property
    def loaded(self) -> str | None:
        """What pods of `reads` are started for."""
        return self.template().get(SCHEMA_ANNOTATION)

    def rolled(self) -> None:
        """All its new pods are there, and have just begun."""
        self.roll_out()
        for (_, name), each in self.pods.items():
            if name.startswith("shop-reads-"):
                each["metadata"]["creationTimestamp"] = to_text(self.now)

    def readers(self) -> list[dict[str, Any]]:
        return [each for (_, name), each in self.pods.items() if name.startswith("shop-reads-")]


@pytest.fixture
def shop() -> Reading:
    made = Reading()
    made.serving()
    return made


def test_a_new_schema_rolls_the_pods_that_read_from_standbys_and_no_others(shop: Reading) -> None:
    others = {name: each["spec"] for (kind, name), each in shop.applied.items() if kind == "Deployment" and name != "shop-reads"}
    plan = shop.hears(of("17"), of("17"), of("17"))
    assert shop.loaded == "17"
    assert others == {name: each["spec"] for (kind, name), each in shop.applied.items() if kind == "Deployment" and name != "shop-reads"}
    assert reason(plan, READY) == "Serving"


def test_a_backend_that_is_new_and_has_nothing_is_not_rolled(shop: Reading) -> None:
    shop.hears(of("0"), of("0"), of("0"))
    assert shop.loaded is None


def test_the_last_thing_that_is_dropped_is_a_change_too(shop: Reading) -> None:
    shop.hears(of("17"))
    shop.rolled()
    shop.now += 2 * APART
    shop.hears(of("0"))
    assert shop.loaded == "0"


@pytest.mark.parametrize(
    "said",
    [
        (None, None, None),
        (of(None, 0), of(None, 0), of(None, 0)),
        (of("18", rounds=1), of("18", rounds=1), of("18", rounds=1)),
        (of("18"), of("18"), of("17")),
        (of("18"), of("18"), of("18", rounds=1)),
        (of("18", ago=106.0), None, None),
        (of("18\n"), None, None),
        (of("x: {}"), None, None),
        (of("1" * 60), None, None),
        (SchemaReport(state="18", rounds=9), None, None),
    ],
)
def test_without_word_of_one_schema_alone_what_was_decided_stays(shop: Reading, said: tuple[Said, ...]) -> None:
    shop.hears(of("17"), of("17"), of("17"))
    shop.rolled()
    shop.now += 2 * APART
    shop.hears(*said)
    assert shop.loaded == "17"
    shop.nobody_is_asked()
    assert shop.loaded == "17"


def test_a_prober_that_is_gone_is_not_waited_for(shop: Reading) -> None:
    shop.hears(of("17"), None, of(None, 0))
    assert shop.loaded == "17"


def test_reports_from_before_there_was_such_a_thing_say_nothing_of_it() -> None:
    said = ProberReport.model_validate_json('{"rounds": 3, "transactions": []}')
    assert said.standby_schema.settled is None


def is_without_a_primary(shop: Reading) -> None:
    shop.has(DATABASE_REPLICA, "shop-db", NO_PRIMARY)


def lost_a_pod(shop: Reading) -> None:
    shop.readers()[0]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]


def has_a_pod_that_goes_and_is_not_replaced(shop: Reading) -> None:
    shop.readers()[0]["metadata"]["deletionTimestamp"] = to_text(NOW)


def is_being_rolled(shop: Reading) -> None:
    shop.applied["Deployment", "shop-reads"]["status"]["updatedReplicas"] = 1


def has_a_young_pod(shop: Reading) -> None:
    shop.readers()[0]["metadata"]["creationTimestamp"] = to_text(shop.now - APART + timedelta(seconds=1))


def has_a_pod_of_no_known_age(shop: Reading) -> None:
    del shop.readers()[0]["metadata"]["creationTimestamp"]


@pytest.mark.parametrize(
    "trouble",
    [
        is_without_a_primary,
        lost_a_pod,
        has_a_pod_that_goes_and_is_not_replaced,
        is_being_rolled,
        has_a_young_pod,
        has_a_pod_of_no_known_age,
    ],
)
def test_nothing_is_rolled_while_the_pods_are_needed_or_not_all_well(shop: Reading, trouble: Callable[[Reading], None]) -> None:
    trouble(shop)
    shop.hears(of("17"), of("17"), of("17"))
    assert shop.loaded is None


def test_what_is_left_of_pods_that_were_replaced_holds_nobody_up(shop: Reading) -> None:
    for name, more in (("evicted", {"status": {"phase": "Failed"}}), ("lost", {"deletionTimestamp": to_text(NOW)})):
        left = copy.deepcopy(shop.readers()[0])
        left["metadata"] |= {"name": f"shop-reads-{name}"} | ({} if "status" in more else more)
        left["status"] = {"conditions": [{"type": "Ready", "status": "False"}]} | more.get("status", {})
        shop.pods["Pod", f"shop-reads-{name}"] = left
    shop.hears(of("17"))
    assert shop.loaded == "17"


def test_without_probers_nothing_is_known_and_nothing_is_done() -> None:
    shop = Reading(prober={"enabled": False})
    shop.serving()
    shop.nobody_is_asked()
    assert shop.loaded is None


def test_it_waits_for_its_turn_behind_another_component(shop: Reading) -> None:
    shop.resource["spec"] = {"components": {"rest": {"resources": {"requests": {"cpu": "70m"}}}}}
    shop.hears(of("17"))
    assert shop.loaded is None, "rest is first"
    shop.applied["Deployment", "shop-rest"]["status"] |= {"updatedReplicas": 1, "replicas": 4}
    shop.hears(of("17"))
    assert shop.loaded is None, "rest is under way"
    shop.roll_out()
    shop.hears(of("17"))
    assert shop.loaded == "17"


AGREED = st.builds(lambda state, probers: [of(state)] * probers, st.sampled_from(["0", "17", "18"]), st.integers(1, 3))
ANYTHING = st.lists(st.one_of(st.none(), st.builds(of, st.sampled_from([None, "17", "18"]), st.integers(0, 3))), max_size=3)
MOMENTS = st.tuples(
    st.integers(5, 50),  # seconds since the one before
    st.one_of(AGREED, AGREED, ANYTHING),
    st.sampled_from([True, True, False]),  # there is a primary
    st.sampled_from([True, True, False]),  # the pods of a roll-out that is under way have come
)


@given(st.lists(MOMENTS, max_size=12))
def test_however_it_goes_each_roll_is_for_what_all_say_and_no_two_are_close(
    story: Iterable[tuple[int, list[Said], bool, bool]],
) -> None:
    shop = Reading()
    shop.serving()
    last: datetime | None = None
    for seconds, said, primary, arrived in story:
        shop.now += timedelta(seconds=seconds)
        shop.has(DATABASE_REPLICA, "shop-db", WELL if primary else NO_PRIMARY)
        if arrived and shop.applied["Deployment", "shop-reads"]["status"]["updatedReplicas"] == 0:
            shop.rolled()
        before = shop.loaded
        shop.hears(*said)
        if shop.loaded == before:
            continue
        assert primary
        assert {each.state for each in said if each and each.state is not None} == {shop.loaded}
        assert all(each.rounds >= 2 for each in said if each and each.state is not None)
        assert last is None or shop.now - last >= APART
        last = shop.now
        shop.applied["Deployment", "shop-reads"]["status"]["updatedReplicas"] = 0
