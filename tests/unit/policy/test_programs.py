"""Workers and jobs of a backend: when they start, what rolls them, and what is said of them."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import EVENT_QUEUE
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance
from baas_operator.desired.instance.engines import ENGINES
from baas_operator.desired.instance.logins import LOGINS_ANNOTATION, RoleLogin
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, RECONCILING, STALLED
from baas_operator.observe.moments import to_text
from baas_operator.policy.programs import Programs, look_at_programs
from tests.unit.objects import NOW, keyed, own, pod, reason, secret, status
from tests.unit.policy.backend import Backend as Serving
from tests.unit.policy.programs import DEPLOYMENT, MAILER, ORDERS, QUEUE, REPORT, SHOP, Backend, told

# --- when they start --------------------------------------------------------------------------------------------------


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


def test_one_that_runs_keeps_its_pods_while_its_stream_is_mistyped() -> None:
    """New ones would have nothing to read."""
    shop = Backend(workers=[MAILER]).serve()
    shop.reconcile()
    shop.pods(2)
    before = copy.deepcopy(shop.children[DEPLOYMENT]["spec"]["template"])

    shop.spec["workers"] = [MAILER | {"stream": "ordres", "image": "mailer:2"}]
    assert told(shop.reconcile())[1] == "StreamNotDeclared"
    assert shop.children[DEPLOYMENT]["spec"]["template"] == before

    shop.spec["workers"] = [MAILER | {"image": "mailer:2"}]
    shop.reconcile()
    assert shop.children[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["image"] == "mailer:2"


def test_what_it_logs_in_with_follows_a_rotation_all_the_same() -> None:
    """Its pods have to start after a drain, and a database's login of before is not to be found any more."""
    shop = Backend(workers=[MAILER | {"database": True}]).serve()
    shop.reconcile()
    shop.spec["workers"] = [MAILER | {"stream": "ordres", "database": True}]
    spec, rotated = BaasInstanceSpec.model_validate(shop.spec), RoleLogin("shop", "shop-alt", {"shop-alt": "password"}, "marker-2")
    facts = InstanceFacts(jwks="{}", programs=shop.look().facts, logins={"owner": rotated})

    (made,) = (each for each in build_instance(spec, SHOP, Images(), facts) if (each["kind"], each["metadata"]["name"]) == DEPLOYMENT)
    template = made["spec"]["template"]
    assert template["metadata"]["annotations"][LOGINS_ANNOTATION] == "shop-alt"
    (credentials,) = (each for each in template["spec"]["volumes"] if each["name"] == "credentials")
    assert "marker-2" in str(credentials)
    assert {"name": "BAAS_STREAM", "value": "orders"} in template["spec"]["containers"][0]["env"]


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


@pytest.mark.parametrize("edit", [{"schedule": "99 * * * *"}, {"schedule": "0 2 * * 7"}, {"timeZone": "Europe/Berlinn"}])
def test_a_job_that_is_there_goes_on_by_its_old_line_when_the_new_one_is_none(edit: Manifest) -> None:
    """Without its CronJob a run that is under way would be ended, and its logs would be gone."""
    shop = Backend(jobs=[REPORT | {"timeZone": "Europe/Berlin"}])
    shop.reconcile()

    shop.spec["jobs"] = [REPORT | {"timeZone": "Europe/Berlin", "image": "report:2"} | edit]
    found = shop.reconcile()
    assert found.facts.started == {"report"}
    made = shop.children["CronJob", "shop-job-report"]["spec"]
    assert (made["schedule"], made["timeZone"]) == ("30 6 * * *", "Europe/Berlin")
    assert told(found)[:2] == (False, "JobNeverDue")
    assert "Job report is run by its schedule of before: " in str(found.statuses[0].reason)

    shop.spec["jobs"] = [REPORT | {"schedule": "45 6 * * *"}]
    assert told(shop.reconcile())[0] is True
    assert shop.children["CronJob", "shop-job-report"]["spec"]["schedule"] == "45 6 * * *"


@pytest.mark.parametrize("line", ["0 3 ? * *", "0 3 * * ?", "? ?/2 1 JAN-mar MON-fri", "5/15 3 * * 0", "@midnight"])
def test_what_kubernetes_takes_is_run(line: str) -> None:
    shop = Backend(jobs=[REPORT | {"schedule": line}])

    assert told(shop.reconcile())[0] is True
    assert shop.children["CronJob", "shop-job-report"]["spec"]["schedule"] == line, "as it was written"


def test_hibernation_is_no_fault() -> None:
    shop = Backend(workers=[MAILER], jobs=[REPORT], hibernate=True).serve()
    shop.reconcile()

    assert shop.replicas == 0
    assert told(shop.look()) == (True, "ProgramsRest", "1 worker and 1 job: none runs while the backend hibernates.")


def test_without_programs_nothing_is_told() -> None:
    assert Backend().look() == Programs()


# --- how they do ------------------------------------------------------------------------------------------------------


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


# --- what rolls them --------------------------------------------------------------------------------------------------


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


# --- what the backend says of itself ----------------------------------------------------------------------------------


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
