"""What is declared inside PostgreSQL: pending, refused, and passwords that are due."""

from __future__ import annotations

import base64
import copy
import json
from datetime import timedelta

import pytest

from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import EXPIRES_ANNOTATION
from baas_operator.observe.conditions import READY, RECONCILING, STALLED
from baas_operator.observe.view import View
from baas_operator.policy.database import plan_database
from baas_operator.policy.plan import Plan
from tests.unit.objects import NOW, condition, conditions, keyed, message, pod, reason, secret, status
from tests.unit.policy.postgres import Postgres

SPEC = {
    "databases": [{"name": "shop", "extensions": [{"name": "ghost"}]}],
    "roles": [{"name": "reports"}],
    "parameters": {"work_mem": "8MB", "shared_buffers": "lots"},
}
PAST = (NOW - timedelta(days=1)).isoformat()
REFUSAL = 'extension ghost of shop: extension "ghost" is not available'


class World:
    """A database that serves, with its Secrets and the pod of its Job."""

    def __init__(self, spec: Manifest | None = None) -> None:
        self.db = Postgres(SPEC if spec is None else spec).serving()
        self.secrets: dict[str, Manifest] = {}
        for each in self.db.plan().secrets:
            self.secrets[each.name] = made = secret(self.db.owner, each.name, names.COMPONENT, password=f"of-{each.name}")
            made["metadata"]["resourceVersion"] = f"version-of-{each.name}"
            made["metadata"]["annotations"] = {}
        self.job_pod: Manifest | None = None
        self.noted: str | None = None
        self.was_ready = True
        self.reconcile()
        self.finish()

    def view(self) -> View:
        children = self.db.children() | keyed(*copy.deepcopy(list(self.secrets.values())), *([self.job_pod] if self.job_pod else []))
        if self.noted:
            children["Pod", "db-0"]["metadata"]["annotations"][names.PARAMETERS_ANNOTATION] = self.noted
        resource = self.db.resource | {"status": conditions(condition(READY, self.was_ready))}
        return View(resource=resource, children=children, nodes=self.db.nodes, now=self.db.now)

    def plan(self) -> Plan:
        return plan_database(self.view())

    def reconcile(self) -> Plan:
        """Decide, and apply. The Job of before is pruned."""
        plan = self.plan()
        applied = keyed(*copy.deepcopy(list(plan.manifests)))
        for key, each in applied.items():
            if "status" in self.db.applied.get(key, {}):
                each["status"] = self.db.applied[key]["status"]
        self.db.applied = applied
        return plan

    def job(self) -> str:
        return next(name for kind, name in self.db.applied if kind == "Job")

    def finish(self) -> None:
        """The Job succeeds."""
        self.db.finish_jobs()
        self.job_pod = None

    def fails(self, code: int, said: str, *, again: bool = False) -> None:
        """Its container ends; `again`: the kubelet has started it anew meanwhile."""
        made = pod(self.db.owner, f"{self.job()}-x", "databases", on="node-zone-a", labels={"batch.kubernetes.io/job-name": self.job()})
        ended = {"terminated": {"exitCode": code, "message": said}}
        waits = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
        made["status"]["containerStatuses"] = [{"state": {"running": {}} if again else waits, "lastState": ended}]
        self.job_pod = made

    def ask(self, name: str, when: str = PAST) -> None:
        """Somebody wants another password."""
        self.secrets[name]["metadata"]["annotations"] = {EXPIRES_ANNOTATION: when}

    def due(self) -> list[str]:
        found = [each for each in self.plan().secrets if each.replaces and each.certificate is None]
        assert all(each.replaces == f"version-of-{each.name}" for each in found)
        return [each.name for each in found]

    def draw(self, name: str, drawn: str = "another") -> None:
        """What the engine does with one that is due, in one write."""
        self.secrets[name]["data"]["password"] = base64.b64encode(drawn.encode()).decode()
        self.secrets[name]["metadata"]["annotations"] = {}


@pytest.fixture
def world() -> World:
    return World()


# --- what is declared -------------------------------------------------------------------------------------------------


def test_a_change_is_told_and_takes_nothing_from_what_serves(world: World) -> None:
    assert reason(world.plan(), RECONCILING) is None
    world.db.resource["spec"] = SPEC | {"roles": [{"name": "reports"}, {"name": "audit"}]}

    changed = world.reconcile()

    assert status(changed, READY)
    assert reason(changed, RECONCILING) == "CreatingDatabases"
    world.finish()
    assert reason(world.plan(), RECONCILING) is None


def test_the_first_time_it_is_not_ready_before_its_databases_are_there(world: World) -> None:
    world.db.resource["spec"] = SPEC | {"roles": []}
    world.was_ready = False

    assert reason(world.reconcile(), READY) == "CreatingDatabases"


def test_a_job_that_kubernetes_deleted_after_a_day_is_made_anew(world: World) -> None:
    job = world.job()
    del world.db.applied["Job", job]

    plan = world.reconcile()

    assert world.job() == job
    assert status(plan, READY)


def test_what_postgresql_refuses_is_told_in_its_words_and_harms_nothing(world: World) -> None:
    world.db.resource["spec"] = SPEC | {"roles": []}
    world.reconcile()
    world.fails(3, f'{REFUSAL}\nrole x: role "a" is a member of role "x"\n')

    plan = world.plan()

    assert status(plan, READY)
    assert reason(plan, STALLED) == "DeclarationRefused"
    assert message(plan, STALLED) == (
        f'PostgreSQL refuses 2 parts of the spec, and has the others: {REFUSAL}; role x: role "a" is a member of role "x".'
    )
    assert reason(plan, RECONCILING) is None, "nobody waits for it"


def test_it_is_told_while_it_is_tried_again_too(world: World) -> None:
    world.db.resource["spec"] = SPEC | {"roles": []}
    world.reconcile()
    world.fails(3, REFUSAL, again=True)

    assert reason(world.plan(), STALLED) == "DeclarationRefused"
    world.finish()
    assert reason(world.plan(), STALLED) is None


def test_what_an_earlier_job_was_refused_counts_no_more(world: World) -> None:
    world.db.resource["spec"] = SPEC | {"roles": []}
    world.reconcile()
    world.fails(3, REFUSAL)
    world.db.resource["spec"] = SPEC | {"roles": [], "databases": [{"name": "shop"}]}

    plan = world.reconcile()

    assert reason(plan, STALLED) is None
    assert reason(plan, RECONCILING) == "CreatingDatabases"


def test_who_can_not_connect_waits_and_says_why(world: World) -> None:
    world.db.resource["spec"] = SPEC | {"roles": []}
    world.reconcile()
    world.fails(2, 'psql: error: connection failed: FATAL:  password authentication failed for user "postgres"\nmore')

    plan = world.plan()

    assert reason(plan, STALLED) is None
    assert reason(plan, RECONCILING) == "CreatingDatabases"
    assert message(plan, RECONCILING).endswith('password authentication failed for user "postgres".')


def test_many_refusals_are_counted(world: World) -> None:
    world.db.resource["spec"] = SPEC | {"roles": []}
    world.reconcile()
    world.fails(3, "\n".join(f"role r{index}: no" for index in range(5)))

    assert message(world.plan(), STALLED).endswith("role r0: no; role r1: no; role r2: no; and 2 more.")


# --- parameters ---------------------------------------------------------------------------------------------------------


def test_a_parameter_that_postgresql_does_not_take_is_told(world: World) -> None:
    world.noted = json.dumps({"shared_buffers": "it is a number", "wal_level": "not one of the spec's"})

    plan = world.plan()

    assert status(plan, READY)
    assert reason(plan, STALLED) == "ParameterRefused"
    assert message(plan, STALLED).endswith("has the others: parameter shared_buffers: it is a number.")


@pytest.mark.parametrize("noted", ["", "[]", "{", '{"shared_buffers": 1}', '{"shared_buffers": {}}', "[" * 100000])
def test_a_note_that_a_hand_made_something_else_is_none(world: World, noted: str) -> None:
    world.noted = noted

    assert reason(world.plan(), STALLED) is None


def test_both_are_told_together(world: World) -> None:
    world.db.resource["spec"] = SPEC | {"roles": []}
    world.reconcile()
    world.fails(3, REFUSAL)
    world.noted = json.dumps({"shared_buffers": "it is a number"})

    plan = world.plan()

    assert [each.type for each in plan.conditions].count(STALLED) == 1
    assert message(plan, STALLED).endswith(f"{REFUSAL}; parameter shared_buffers: it is a number.")


# --- rotation -------------------------------------------------------------------------------------------------------------


def test_nobody_asks_and_none_is_due(world: World) -> None:
    assert world.due() == []


@pytest.mark.parametrize("name", ["db-role-shop", "db-role-reports", "db-role-postgres"])
def test_a_password_is_drawn_anew_and_then_set_in_postgresql(world: World, name: str) -> None:
    before = world.job()
    world.ask(name)
    assert world.due() == [name]

    world.draw(name)
    plan = world.reconcile()

    assert world.job() != before, "another Job sets it"
    assert status(plan, READY)
    assert world.due() == []
    world.finish()
    assert world.due() == [], "once"


def test_it_may_be_asked_for_ahead_of_time(world: World) -> None:
    world.ask("db-role-shop", (NOW + timedelta(hours=1)).isoformat())
    assert world.due() == []

    world.db.now += timedelta(hours=2)
    world.db.renewed = world.db.now
    assert world.due() == ["db-role-shop"]


def test_the_next_waits_until_postgresql_has_the_last(world: World) -> None:
    """Of the superuser's passwords the Secret remembers two: with a third nobody could log in."""
    world.ask("db-role-postgres")
    world.draw("db-role-postgres")
    world.reconcile()
    world.ask("db-role-postgres")

    assert world.due() == []
    world.finish()
    assert world.due() == ["db-role-postgres"]


def test_none_is_drawn_while_there_is_no_primary_that_could_be_given_it(world: World) -> None:
    world.ask("db-role-shop")
    world.db.lock(None)
    assert world.due() == []

    world.db.lock("db-1")
    world.db.promote()
    world.db.route()
    assert world.due() == ["db-role-shop"]


def test_one_that_is_refused_elsewhere_is_rotated_all_the_same(world: World) -> None:
    world.db.resource["spec"] = SPEC | {"roles": []}
    world.reconcile()
    world.fails(3, REFUSAL)
    world.ask("db-role-shop")

    assert world.due() == ["db-role-shop"]


def test_a_password_that_was_written_by_hand_is_set_too(world: World) -> None:
    before = world.job()
    world.draw("db-role-shop", "by hand")
    world.reconcile()

    assert world.job() != before


def test_without_a_job_that_could_set_it_none_is_due() -> None:
    world = World.__new__(World)
    world.db, world.secrets, world.job_pod, world.noted, world.was_ready = (
        Postgres({"pooler": {"replicas": 0}}).serving(),
        {},
        None,
        None,
        True,
    )
    name = "db-role-postgres"
    world.secrets[name] = secret(world.db.owner, name, names.COMPONENT, password="x")
    world.ask(name)

    assert world.due() == []


@pytest.mark.parametrize(
    ("name", "when", "change", "says"),
    [
        ("db-role-rewind", PAST, {}, "can not be rotated yet: remove the annotation"),
        ("db-role-pooler", PAST, {}, "can not be rotated yet: remove the annotation"),
        ("db-role-shop", PAST, {"immutable": True}, "it is immutable: delete it, it comes back"),
        ("db-role-shop", "soon", {}, "its value is no time: write one such as"),
    ],
)
def test_one_that_can_not_be_rotated_is_told(world: World, name: str, when: str, change: Manifest, says: str) -> None:
    world.ask(name, when)
    world.secrets[name] |= change

    assert world.due() == []
    assert reason(world.plan(), STALLED) == "PasswordNotRotated"
    assert says in message(world.plan(), STALLED)
    assert f"Secret '{name}'" in message(world.plan(), STALLED)
    assert status(world.plan(), READY)


def test_a_crash_anywhere_ends_in_the_same(world: World) -> None:
    """The plan is made from what is there: whichever step was the last, the next plans end with PostgreSQL having what the Secret says."""
    for steps in range(4):
        one = World()
        one.ask("db-role-shop")
        if steps > 0:
            one.draw("db-role-shop")
        if steps > 1:
            one.reconcile()
        if steps > 2:
            one.finish()
        # The operator dies here, and another looks.
        for _ in range(3):
            if one.due():
                one.draw("db-role-shop")
            one.reconcile()
            one.finish()
        assert one.due() == []
        assert reason(one.plan(), RECONCILING) is None
