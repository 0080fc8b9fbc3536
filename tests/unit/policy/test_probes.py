"""What synthetic transactions prove of a backend: told over clusters that are not there."""

from __future__ import annotations

from typing import Any

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, EVENT_QUEUE
from baas_operator.observe.conditions import ANSWERS, READY
from baas_operator.observe.probes import Probed, ProberReport, TransactionReport
from baas_operator.observe.view import View
from baas_operator.policy.instance import plan_instance
from baas_operator.policy.plan import Plan
from tests.unit.objects import NOW, ZONES, keyed, message, nodes, pod, reason, status
from tests.unit.policy.backend import WELL, Backend

SENTENCE = "POST /rest/v1/beats: 503: no healthy upstream"
NAMES = ("read", "write", "sign-in")


def of(name: str, failures: int = 0, **more: Any) -> TransactionReport:
    made = {"name": name, "everySeconds": 30.0, "attempts": 9, "attemptedSecondsAgo": 5.0, "failures": failures}
    failed = {"failure": SENTENCE, "failureAt": "2026-05-01T11:59:00Z"} if failures else {}
    return TransactionReport.model_validate(made | failed | more)


def prober(**failures: int) -> ProberReport:
    return ProberReport(transactions=[of(name, failures.get(name.replace("-", "_"), 0)) for name in NAMES])


class Probing(Backend):
    """A backend that serves, and what its probers say; the first is in zone-a."""

    def hears(self, *said: ProberReport | None) -> Plan:
        reports = {f"shop-prober-{index}": each for index, each in enumerate(said)}
        keys = {("Secret", "shop-api-keys"): self.keys} if self.keys else {}
        plan = plan_instance(
            View(
                resource=self.resource, children=self.applied | self.pods | keys, nodes=nodes(*ZONES), now=NOW, others=self.others,
                external=Probed(reports),
            )
        )  # fmt: skip
        self.resource["status"] = dict(plan.status) | {
            "conditions": [
                {"type": each.type, "status": {True: "True", False: "False", None: "Unknown"}[each.status], "reason": each.reason,
                 "message": each.message}
                for each in plan.conditions
            ]
        }  # fmt: skip
        return plan


@pytest.fixture
def shop() -> Probing:
    made = Probing(prober={"intervalSeconds": 20})
    made.serving()
    return made


def answers(plan: Plan) -> tuple[bool | None, str]:
    (found,) = [each for each in plan.conditions if each.type == ANSWERS]
    return found.status, found.reason


def test_all_well_is_told_and_asked_again_after_the_interval(shop: Probing) -> None:
    plan = shop.hears(prober(), prober(), prober())
    assert answers(plan) == (True, "InstanceAnswers")
    assert message(plan, ANSWERS) == "Read, write and sign-in succeed from zone-a, zone-b and zone-c."
    assert reason(plan, READY) == "Serving"
    assert plan.requeue_after == 20.0
    assert plan.status["probes"][1] == {"transaction": "write", "zones": list(ZONES), "failing": []}


def test_after_a_failure_it_is_looked_again_soon(shop: Probing) -> None:
    assert shop.hears(prober(write=1), prober(), prober()).requeue_after == 10.0
    assert shop.hears(prober(write=2), prober(write=2), prober()).requeue_after == 10.0
    stale = ProberReport(transactions=[of(name, 1, attemptedSecondsAgo=1000.0) for name in NAMES])
    assert shop.hears(stale, prober(), prober()).requeue_after == 20.0


def test_what_fails_from_most_zones_twice_in_a_row_is_not_ready(shop: Probing) -> None:
    plan = shop.hears(prober(write=2), prober(write=3), prober())
    assert answers(plan) == (False, "ProbesFail")
    assert (reason(plan, READY), status(plan, READY)) == ("ProbesFail", False)
    assert message(plan, READY) == f"write fails from zone-a and zone-b: {SENTENCE}."
    (write,) = [each for each in plan.status["probes"] if each["transaction"] == "write"]
    assert write == {
        "transaction": "write", "zones": ["zone-c"], "failing": ["zone-a", "zone-b"],
        "lastFailureAt": "2026-05-01T11:59:00Z", "lastFailure": f"from zone-b: {SENTENCE}",
    }  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        (prober(write=1), prober(write=1), prober(write=1)),
        (prober(write=5), prober(), prober()),
        (prober(write=5), prober(read=5), prober()),
    ],
)
def test_one_failure_or_one_zone_alone_judges_nothing(shop: Probing, said: tuple[ProberReport, ...]) -> None:
    plan = shop.hears(*said)
    assert answers(plan) == (True, "InstanceAnswers")
    assert reason(plan, READY) == "Serving"


def test_a_zone_that_fails_alone_is_told_of(shop: Probing) -> None:
    assert message(shop.hears(prober(), prober(), prober(write=4)), ANSWERS).endswith(f"But write fails from zone-c: {SENTENCE}.")


@pytest.mark.parametrize("said", [(prober(write=5), None, None), (None, None, None), (prober(), None, None)])
def test_probers_that_say_nothing_prove_nothing(shop: Probing, said: tuple[ProberReport | None, ...]) -> None:
    plan = shop.hears(*said)
    assert answers(plan)[0] is None
    assert reason(plan, READY) == "Serving"


def test_two_zones_are_enough_to_judge_by_once_the_third_is_lost(shop: Probing) -> None:
    assert answers(shop.hears(prober(), prober(), None)) == (True, "InstanceAnswers")
    assert answers(shop.hears(prober(read=2), prober(read=2), None)) == (False, "ProbesFail")


def test_pods_that_were_evicted_are_in_no_zone(shop: Probing) -> None:
    """Nothing deletes them but the garbage collector, once there are thousands; without labels of zones each node counts for one."""
    for index in range(7):
        gone = pod(shop.owner, f"gone-{index}", "prober", on=f"old-node-{index}", ready=False)
        gone["status"]["phase"] = "Failed"
        shop.pods |= keyed(gone)
    plan = shop.hears(prober(), prober(), prober())
    assert answers(plan) == (True, "InstanceAnswers")


def test_what_can_not_be_tried_says_why(shop: Probing) -> None:
    silent = ProberReport(transactions=[of(name, trouble="no mounted Secret has the key probe yet") for name in NAMES])
    plan = shop.hears(silent, silent, silent)
    assert answers(plan) == (None, "ProbesSilent")
    assert "no mounted Secret has the key probe yet" in message(plan, ANSWERS)
    assert reason(plan, READY) == "Serving"


def test_before_the_first_round_nothing_is_known(shop: Probing) -> None:
    fresh = ProberReport(transactions=[TransactionReport(name=name) for name in NAMES])
    assert answers(shop.hears(fresh, fresh, fresh)) == (None, "ProbesStarting")


def test_probes_say_nothing_over_what_is_known_to_be_down(shop: Probing) -> None:
    shop.has(DATABASE_REPLICA, "shop-db")
    assert reason(shop.hears(prober(write=2), prober(write=2), prober(write=2)), READY) == "DatabaseNotReady"


def test_the_last_failure_is_kept_when_its_prober_is_replaced(shop: Probing) -> None:
    shop.hears(prober(write=2), prober(), prober())
    plan = shop.hears(prober(), prober(), prober())
    (write,) = [each for each in plan.status["probes"] if each["transaction"] == "write"]
    assert (write["failing"], write["lastFailureAt"]) == ([], "2026-05-01T11:59:00Z")
    assert write["lastFailure"] == f"from zone-a: {SENTENCE}"


def test_no_status_is_written_while_nothing_changes(shop: Probing) -> None:
    first = shop.hears(prober(), prober(), prober())
    later = ProberReport(transactions=[of(name, attempts=400, attemptedSecondsAgo=1.5, seconds=0.2) for name in NAMES])
    assert (shop.hears(later, later, later).status, answers(first)) == (first.status, (True, "InstanceAnswers"))
    down = shop.hears(prober(write=2), prober(write=2), prober(write=2))
    longer = shop.hears(prober(write=30), prober(write=30), prober(write=30))
    assert (longer.status, longer.conditions) == (down.status, down.conditions)


def test_between_two_answers_what_was_told_stays(shop: Probing) -> None:
    shop.hears(prober(), prober(), prober())
    plan = shop.plan()
    assert answers(plan) == (True, "InstanceAnswers")
    assert plan.status["probes"] == shop.resource["status"]["probes"]


def started(failures: int) -> ProberReport:
    """One that has just been started, in an outage."""
    return ProberReport(transactions=[of(name, failures, attempts=failures) for name in NAMES])


def test_probers_that_are_replaced_in_an_outage_are_no_end_of_it(shop: Probing) -> None:
    told = shop.hears(prober(write=2), prober(write=2), prober())
    for said in (None, started(1)):
        plan = shop.hears(said, said, said)
        assert answers(plan) == (False, "ProbesFail")
        assert (plan.conditions, plan.status["probes"][1]) == (told.conditions, told.status["probes"][1])
    assert reason(shop.hears(started(2), started(2), started(2)), READY) == "ProbesFail"
    assert reason(shop.hears(prober(), prober(), None), READY) == "Serving"


def test_what_never_succeeded_is_not_told_to_succeed(shop: Probing) -> None:
    plan = shop.hears(started(1), started(1), started(1))
    assert answers(plan) == (None, "ProbesStarting")
    assert plan.status["probes"][1]["zones"] == []


def test_what_fails_is_not_waited_for_once_probers_can_not_try_it(shop: Probing) -> None:
    shop.hears(prober(write=2), prober(write=2), prober())
    silent = ProberReport(transactions=[of(name, trouble="no mounted Secret has the key probe yet") for name in NAMES])
    assert answers(shop.hears(silent, silent, None)) == (None, "ProbesSilent")


@pytest.mark.parametrize("spec", [{"prober": {"enabled": False}}, {"hibernate": True}])
def test_where_nothing_is_probed_nothing_is_told(spec: dict[str, Any]) -> None:
    made = Probing(**spec)
    made.serving()
    plan = made.hears()
    assert reason(plan, ANSWERS) is None
    assert plan.status["probes"] == []
    assert plan.requeue_after is None


def test_a_role_of_probers_is_nobody_elses(shop: Probing) -> None:
    shop.others[DATABASE_REPLICA.name, "shop-db"]["spec"] = {"roles": [{"name": "baas_probe"}]}
    shop.others[DATABASE_REPLICA.name, "shop-db"]["status"] = WELL
    shop.has(EVENT_QUEUE, "shop-events", WELL)
    assert shop.hears(prober(), prober(), prober()).refused


def test_messages_are_judged_as_other_transactions_are() -> None:
    shop = Probing(prober={"intervalSeconds": 20, "publish": True})
    shop.serving()
    how = "webhook of a message that the stream has: no answer within 10 s"
    fails = ProberReport(transactions=[*prober().transactions, of("publish", 2, failure=how)])
    well = ProberReport(transactions=[*prober().transactions, of("publish")])
    assert message(shop.hears(well, well, well), ANSWERS) == "Read, write, sign-in and publish succeed from zone-a, zone-b and zone-c."
    assert message(shop.hears(fails, well, well), ANSWERS).endswith(f"But publish fails from zone-a: {how}.")
    plan = shop.hears(fails, fails, well)
    assert message(plan, READY) == f"publish fails from zone-a and zone-b: {how}."
    assert plan.status["probes"][-1]["failing"] == ["zone-a", "zone-b"]
