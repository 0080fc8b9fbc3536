"""Workers and jobs of a backend: when they start, in how many pods, and what is said of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.instance.programs import BacklogScaling, Worker
from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE, EVENT_QUEUE
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.instance.engines import ENGINES
from baas_operator.desired.meta import Manifest
from baas_operator.desired.queue.programs import QueueProgram
from baas_operator.observe.conditions import READY, RECONCILING, STALLED
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import View
from baas_operator.policy.backlog import STEP_DOWN_SECONDS, wanted_workers
from baas_operator.policy.programs import Programs, look_at_programs
from tests.unit.objects import NOW, ZONES, keyed, nodes, own, owner, pod, reason, secret, status
from tests.unit.policy.test_instance import Backend as Serving

MAILER = {"name": "mailer", "image": "mailer:1", "stream": "orders"}
REPORT = {"name": "report", "image": "report:1", "schedule": "30 6 * * *"}
ORDERS = {"name": "orders", "subjects": ["orders.>"]}
SHOP, QUEUE = owner(BAAS_INSTANCE, "shop"), owner(EVENT_QUEUE, "mq")
DEPLOYMENT = ("Deployment", "shop-worker-mailer")


class Backend:
    """A backend with programs on a queue `mq`, as time goes by. What is decided is applied; pods come when a story says so."""

    def __init__(self, **spec: Any) -> None:
        self.spec = {"queueRef": {"name": "mq"}} | spec
        self.queue = own(EVENT_QUEUE, "mq", {"streams": [ORDERS]})
        self.logins: dict[tuple[str, str], Manifest] = {}
        self.children: dict[tuple[str, str], Manifest] = keyed(
            secret(SHOP, "shop-api-keys", "instance", anon="a-1", service_role="s-1", **{"jwks.json": "{}"})
        )
        self.now = NOW

    def serve(self, pending: int | None = 0) -> Backend:
        """The queue has made what each program needs; so many messages wait for the mailer."""
        parsed = BaasInstanceSpec.model_validate(self.spec)
        programs = [QueueProgram("shop", each) for each in [*parsed.workers, *parsed.jobs]]
        self.logins |= keyed(*(
            secret(QUEUE, each.secret("mq"), "nats", username=each.user, password="p") for each in programs if each.has_login
        ))  # fmt: skip
        told = [{"name": each.consumer, "pending": pending} for each in programs if isinstance(each.program, Worker)]
        self.queue["status"] = {"streams": [{"name": "orders", "consumers": told}]}
        return self

    def view(self) -> View:
        return View(
            resource=own(BAAS_INSTANCE, "shop", self.spec), children=self.children, nodes=nodes(*ZONES), now=self.now,
            others={(EVENT_QUEUE.name, "mq"): self.queue}, other_children={(EVENT_QUEUE.name, "mq"): self.logins},
        )  # fmt: skip

    def look(self) -> Programs:
        spec = BaasInstanceSpec.model_validate(self.spec)
        return look_at_programs(spec, self.view(), ENGINES[spec.engine].program_keys(SHOP))

    def reconcile(self) -> Programs:
        found = self.look()
        facts = InstanceFacts(jwks="{}", programs=found.facts)
        for key, each in keyed(*build_instance(BaasInstanceSpec.model_validate(self.spec), SHOP, Images(), facts)).items():
            if "-worker-" in key[1] or "-job-" in key[1]:
                before = self.children.get(key, {"metadata": {"creationTimestamp": to_text(self.now), "generation": 1}})
                born = before["metadata"]["creationTimestamp"]
                each["metadata"] |= {"creationTimestamp": born, "generation": 1}
                each["status"] = before.get("status", {"observedGeneration": 1})
                self.children[key] = each
        return self.look()

    def passes(self, seconds: float) -> Backend:
        self.now += timedelta(seconds=seconds)
        return self

    def pods(self, count: int, **how: Any) -> None:
        """The mailer has these pods."""
        self.children = {key: each for key, each in self.children.items() if key[0] != "Pod"}
        self.children |= keyed(*(pod(SHOP, f"mailer-{index}", "worker-mailer", on="node-zone-a", **how) for index in range(count)))
        self.children[DEPLOYMENT]["status"] = {"observedGeneration": 1, "updatedReplicas": count, "replicas": count}

    @property
    def replicas(self) -> int:
        return int(self.children[DEPLOYMENT]["spec"]["replicas"])


def told(found: Programs) -> tuple[bool | None, str, str]:
    assert found.condition
    assert found.condition.type == "ProgramsHealthy"
    return found.condition.status, found.condition.reason, found.condition.message


# --- when they start ------------------------------------------------------------------------------------------------------


def test_a_worker_waits_for_its_login_and_its_consumer_and_then_runs() -> None:
    shop = Backend(workers=[MAILER])

    waiting = shop.reconcile()
    assert DEPLOYMENT not in shop.children, "its pods would be turned away, and end"
    assert told(waiting)[:2] == (False, "ProgramWaiting")
    assert "waits for its login, which the EventQueue mq makes" in told(waiting)[2]
    assert waiting.again_seconds == 2.0, "a Secret of another object makes no event"
    assert not waiting.blocked

    shop.serve()
    consumers, shop.queue["status"] = shop.queue["status"], {}
    assert "its consumer shop_mailer of stream orders" in told(shop.reconcile())[2]

    shop.queue["status"] = consumers
    shop.reconcile()
    shop.pods(2)
    running = shop.look()
    assert told(running) == (True, "ProgramsWell", "1 worker: nothing is wrong with any.")
    assert running.incomplete is running.again_seconds is None
    (mailer,) = running.statuses
    assert (mailer.replicas, mailer.ready, mailer.backlog, mailer.reason) == (2, 2, 0, None)


def test_what_the_queue_can_not_give_is_stalled_and_starts_nothing() -> None:
    shop = Backend(workers=[MAILER | {"stream": "none"}, MAILER | {"name": "other"}]).serve()

    found = shop.reconcile()

    assert told(found)[:2] == (False, "StreamNotDeclared")
    assert "reads stream none, which the EventQueue mq does not declare: add it there." in told(found)[2]
    assert found.blocked
    assert found.incomplete
    assert [name for kind, name in shop.children if kind == "Deployment"] == ["shop-worker-other"], "the others go on"


def test_one_that_runs_goes_on_when_its_stream_is_taken_out() -> None:
    shop = Backend(workers=[MAILER]).serve()
    shop.reconcile()
    shop.pods(2)
    shop.queue["spec"] = {}

    found = shop.reconcile()

    assert told(found)[1] == "StreamNotDeclared"
    assert found.facts.started == {"mailer"}


def test_two_workers_of_one_workqueue_the_second_is_told() -> None:
    shop = Backend(workers=[MAILER, MAILER | {"name": "twin"}])
    shop.queue["spec"] = {"streams": [ORDERS | {"retention": "workqueue"}]}
    shop.serve()

    found = shop.look()

    assert found.facts.started == {"mailer"}
    assert "Worker twin reads stream orders, a workqueue" in told(found)[2]
    assert "consumer shop_mailer" in told(found)[2]


def test_a_job_that_has_nothing_to_do_with_the_queue_needs_no_queue() -> None:
    shop = Backend(jobs=[REPORT])
    shop.queue = own(EVENT_QUEUE, "mq")

    assert told(shop.reconcile())[0] is True
    assert ("CronJob", "shop-job-report") in shop.children


@pytest.mark.parametrize(
    ("said", "why"),
    [({"timeZone": "Europe/Berlinn"}, "no IANA time zone"), ({"schedule": "99 * * * *"}, "no cron line"),
     ({"schedule": "0 0 31 2 *"}, "Bad day-of-month"),
     ({"schedule": "0 2 * * 5L"}, "CronJobs do not know"), ({"schedule": "0 2 * * 7"}, "which is 0")],
)  # fmt: skip
def test_a_job_that_would_never_be_due_is_told_and_holds_up_nothing(said: Manifest, why: str) -> None:
    """The API server would refuse it, and with it all that is applied after it."""
    shop = Backend(workers=[MAILER], jobs=[REPORT | said]).serve()

    found = shop.look()

    assert told(found)[:2] == (False, "JobNeverDue")
    assert why in told(found)[2]
    assert found.facts.started == {"mailer"}


def test_hibernation_is_no_fault() -> None:
    shop = Backend(workers=[MAILER], jobs=[REPORT], hibernate=True).serve()
    shop.reconcile()

    assert shop.replicas == 0
    assert told(shop.look()) == (True, "ProgramsRest", "1 worker and 1 job: none runs while the backend hibernates.")


def test_without_programs_nothing_is_told() -> None:
    assert Backend().look() == Programs()


# --- how they do ----------------------------------------------------------------------------------------------------------


def running(**worker: Any) -> Backend:
    shop = Backend(workers=[MAILER | worker]).serve()
    shop.reconcile()
    shop.pods(2)
    return shop


def test_pods_without_an_image_are_told_at_once() -> None:
    shop = running()
    shop.pods(2, ready=False, waiting=("ImagePullBackOff", "no such image"))

    assert told(shop.look()) == (False, "WorkerFailing", "Worker mailer: ImagePullBackOff: no such image.")


def test_a_pod_that_ends_again_and_again_is_told_while_it_runs_for_a_moment() -> None:
    shop = running()
    shop.pods(2)
    said = "password=hunter2"
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": to_text(NOW - timedelta(seconds=40)), "message": said}
    shop.children["Pod", "mailer-1"]["status"]["containerStatuses"] = [
        {"state": {"running": {}}, "restartCount": 4, "lastState": {"terminated": ended}}
    ]

    assert told(shop.look())[2] == "Worker mailer: it has ended 4 times, last with exit code 137 (OOMKilled)."
    assert told(shop.passes(700).look())[0] is True, "that was long ago"


def test_a_worker_that_was_just_made_has_a_minute_to_start() -> None:
    shop = Backend(workers=[MAILER]).serve()

    assert told(shop.reconcile())[0] is True
    assert told(shop.passes(61).look()) == (False, "WorkerFailing", "Worker mailer: none of its pods runs.")


def test_a_roll_out_is_told_and_scaling_is_none() -> None:
    shop = running()
    shop.children[DEPLOYMENT]["status"] = {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 3}
    found = shop.look()
    assert found.incomplete
    assert (found.incomplete.reason, found.blocked, told(found)[0]) == ("ProgramsRollingOut", False, True)

    shop.children[DEPLOYMENT]["status"] = {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1}
    assert shop.look().incomplete is None


def run(name: str, minutes_ago: int, state: str | None, reason: str = "BackoffLimitExceeded") -> Manifest:
    began = NOW - timedelta(minutes=minutes_ago)
    made = SHOP.child("batch/v1", "Job", name, "job-report")
    made["metadata"]["creationTimestamp"] = to_text(began)
    made["status"] = {"startTime": to_text(began)}
    if state:
        made["status"]["conditions"] = [{"type": state, "status": "True", "reason": reason, "message": "secret words"}]
    if state == "Complete":
        made["status"]["completionTime"] = to_text(began + timedelta(minutes=1))
    return made


def test_the_last_run_that_is_over_decides() -> None:
    shop = Backend(jobs=[REPORT])
    shop.reconcile()
    assert told(shop.look())[0] is True, "it has not run yet"

    shop.children |= keyed(run("report-1", 90, "Complete"), run("report-2", 30, "Failed"), run("report-3", 1, None))
    dead = pod(SHOP, "report-2-x", "job-report", on=None, ready=False, labels={"batch.kubernetes.io/job-name": "report-2"})
    dead["status"]["containerStatuses"] = [{"state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "secret words"}}}]
    shop.children |= keyed(dead)
    found = shop.look()
    assert told(found)[:2] == (False, "JobFailed")
    assert "failed at its run of 2026-05-01T11:30:00Z: it was tried as often as `retries` says, last with exit code 3" in told(found)[2]
    assert "kubectl logs job/report-2" in told(found)[2]
    assert "secret words" not in str(found)
    (report,) = found.statuses
    assert (report.kind, report.last_run, report.last_run_at) == ("Job", "Running", "2026-05-01T11:59:00Z")
    assert report.last_success_at == "2026-05-01T10:31:00Z"

    shop.children |= keyed(run("report-3", 1, "Complete"))
    assert told(shop.look())[0] is True
    assert shop.look().statuses[0].last_run == "Succeeded"


def test_a_run_that_took_too_long_is_told_as_that() -> None:
    shop = Backend(jobs=[REPORT])
    shop.reconcile()
    shop.children |= keyed(run("report-1", 90, "Failed", "DeadlineExceeded"))

    assert "it was not over after `timeoutSeconds`" in told(shop.look())[2]


# --- what rolls them ------------------------------------------------------------------------------------------------------


def rolls(shop: Backend, **versions: str) -> str:
    spec = BaasInstanceSpec.model_validate(shop.spec)
    return look_at_programs(spec, shop.view(), ENGINES[spec.engine].program_keys(SHOP), versions).facts.rolls["mailer"]


def test_pods_are_rolled_when_what_they_logged_in_with_is_another() -> None:
    shop = running(env=[{"name": "SMTP", "secret": {"name": "smtp", "key": "password"}}])
    before = rolls(shop, smtp="1")
    assert before == rolls(shop.passes(3600).serve(pending=9), smtp="1")

    (login,) = shop.logins.values()
    shop.logins = keyed(secret(QUEUE, login["metadata"]["name"], "nats", username="shop.mailer.worker-alt", password="q"))
    rotated = rolls(shop, smtp="1")
    shop.children |= keyed(secret(SHOP, "shop-api-keys", "instance", anon="a-2", service_role="s-2"))
    issued = rolls(shop, smtp="1")
    edited = rolls(shop, smtp="2")

    assert len({before, rotated, issued, edited}) == 4


@pytest.mark.parametrize("program", [{"workers": [MAILER]}, {"jobs": [REPORT | {"publish": ["reports.>"]}]}])
def test_a_queue_that_is_made_anew_rolls_nothing(program: dict[str, Any]) -> None:
    """Its Secrets are kept, so the login is the same; while there is no queue they can not be seen."""
    shop = Backend(**program).serve()
    shop.reconcile()
    before = shop.look().facts.rolls
    logins, shop.logins = shop.logins, {}

    assert shop.look().facts.rolls == before
    shop.logins = logins
    assert shop.look().facts.rolls == before


def test_a_key_that_it_was_not_given_rolls_nothing() -> None:
    shop = running(serviceKey=False)
    before = rolls(shop)
    shop.children |= keyed(secret(SHOP, "shop-api-keys", "instance", anon="a-1", service_role="s-2"))

    assert rolls(shop) == before


# --- what the backend says of itself --------------------------------------------------------------------------------------


def test_a_worker_that_can_not_be_is_stalled_and_the_backend_is_ready_all_the_same() -> None:
    shop = Serving(workers=[MAILER]).serving()

    plan = shop.reconcile()

    assert status(plan, READY)
    assert reason(plan, "ProgramsHealthy") == reason(plan, STALLED) == "StreamNotDeclared"
    assert status(plan, "Reconciling") is None
    assert [each["name"] for each in plan.status["programs"]] == ["mailer"]  # type: ignore[attr-defined]


def test_a_worker_that_waits_is_in_progress_and_hibernation_says_nothing_of_it() -> None:
    shop = Serving(workers=[MAILER]).serving()
    shop.others[EVENT_QUEUE.name, "shop-events"]["spec"] = {"streams": [ORDERS]}

    plan = shop.reconcile()
    assert status(plan, READY)
    assert reason(plan, RECONCILING) == "ProgramWaiting"
    assert plan.requeue_after == 2.0

    shop.resource["spec"] |= {"hibernate": True}
    plan = shop.reconcile()
    assert reason(plan, READY) == "Hibernated"
    assert (status(plan, "ProgramsHealthy"), plan.requeue_after) == (True, None)


def test_a_backend_without_programs_has_no_such_condition() -> None:
    plan = Serving().serving().reconcile()

    assert status(plan, "ProgramsHealthy") is None
    assert "programs" not in plan.status or plan.status["programs"] == []


# --- how many -------------------------------------------------------------------------------------------------------------

SCALES = {"autoscaling": {"minReplicas": 0, "maxReplicas": 8, "backlogPerReplica": 100}, "replicas": 0}


def test_the_first_message_wakes_a_worker_and_a_burst_gets_all_at_once() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(0)
    shop.reconcile()
    assert shop.replicas == 0
    assert told(shop.passes(3600).look())[0] is True, "none is wanted"

    shop.serve(1).reconcile()
    assert shop.replicas == 1
    assert told(shop.look())[0] is True, "it was just asked for"

    shop.passes(1).serve(730).reconcile()
    assert shop.replicas == 8
    shop.passes(1).serve(100_000).reconcile()
    assert shop.replicas == 8, "no more than maxReplicas"


def test_they_go_one_a_minute_and_the_operator_may_be_another_each_time() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(0)
    shop.reconcile()
    shop.passes(5).serve(400).reconcile()
    assert shop.replicas == 4

    shop.serve(0)
    began, gone = shop.now, []
    while shop.replicas:
        before = shop.replicas
        found = shop.reconcile()
        if shop.replicas < before:
            gone.append((shop.now - began).total_seconds())
        assert found.again_seconds is not None or not shop.replicas, "no event tells that a minute is over"
        shop.passes(found.again_seconds or 0)

    assert gone == [60.0, 120.0, 180.0, 240.0]


def test_the_last_one_stays_while_a_message_is_in_its_hands() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(1)
    shop.reconcile()
    shop.reconcile()

    for _ in range(5):
        shop.passes(120).reconcile()
        assert shop.replicas == 1
    shop.serve(0).reconcile()
    assert shop.replicas == 0


def test_a_backlog_that_is_not_known_changes_nothing() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(400)
    shop.reconcile()
    shop.reconcile()
    assert shop.replicas == 4

    shop.queue["status"] = {}
    shop.passes(3600).reconcile()

    assert shop.replicas == 4


def test_what_somebody_scaled_by_hand_is_taken_back() -> None:
    shop = Backend(workers=[MAILER | SCALES]).serve(400)
    shop.reconcile()
    shop.reconcile()
    shop.children[DEPLOYMENT]["spec"]["replicas"] = 40

    shop.reconcile()

    assert shop.replicas == 8, "within bounds at once, and then down as always"


def test_it_begins_with_replicas_within_its_bounds() -> None:
    shop = Backend(workers=[MAILER | {"replicas": 20, "autoscaling": {"minReplicas": 1, "maxReplicas": 6}}]).serve(None)
    shop.reconcile()

    assert shop.replicas == 6


@given(
    least=st.integers(0, 5), more=st.integers(0, 20), share=st.integers(1, 1000), waiting=st.none() | st.integers(0, 100_000),
    now=st.integers(0, 60), since=st.none() | st.floats(0, 1000),
)  # fmt: skip
def test_the_number_is_within_its_bounds_and_falls_by_one_at_the_most(
    least: int, more: int, share: int, waiting: int | None, now: int, since: float | None
) -> None:
    scaling = BacklogScaling(min_replicas=least, max_replicas=max(least + more, 1), backlog_per_replica=share)

    wanted = wanted_workers(scaling, waiting=waiting, now=now, since_seconds=since)

    assert least <= wanted <= scaling.max_replicas
    kept = min(max(now, least), scaling.max_replicas)
    assert wanted >= kept - 1
    if wanted < kept:
        assert since is None or since >= STEP_DOWN_SECONDS
        assert waiting is not None
        assert waiting <= wanted * share, "those that stay have room for it"
    if waiting:
        assert wanted >= 1
        assert wanted == scaling.max_replicas or wanted * share >= waiting


@given(st.integers(1, 500), st.lists(st.integers(-1, 1), min_size=50, max_size=50))
def test_a_backlog_that_stays_near_a_step_starts_and_ends_nothing(share: int, moves: list[int]) -> None:
    """Near: within a fifth of a pod's share."""
    scaling = BacklogScaling(min_replicas=0, max_replicas=50, backlog_per_replica=share)
    now: int | None = None
    moment = datetime(2026, 1, 1)
    for each in moves:
        moment += timedelta(seconds=STEP_DOWN_SECONDS)
        wanted = wanted_workers(scaling, waiting=3 * share + each * (share // 5), now=now or 3, since_seconds=None)
        assert now is None or wanted >= now
        now = wanted
