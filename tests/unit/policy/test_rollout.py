"""A rolling update: one member at a time, standbys first, the primary last and only once; parameters that need a start among it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import merge
from baas_operator.observe.database import observe_database
from baas_operator.observe.moments import to_text
from baas_operator.policy.database import plan_database
from baas_operator.policy.plan import DeletePod, RestartPostgres
from baas_operator.policy.rollout import REVISION_LABEL, Rollout, roll_out
from tests.unit.policy.postgres import MEBIBYTE, Postgres


class Rolling:
    """A database that works, whose StatefulSet got a new template; pods that are deleted come back from it."""

    def __init__(self, *, revision: str = "new", leader: str = "db-0", **spec: Any) -> None:
        self.db = Postgres(spec or None).serving()
        self.revisions = dict.fromkeys(self.db.members, "old")
        self.pending: dict[str, dict[str, dict[str, str]]] = {name: {} for name in self.db.members}
        self.wanted = revision
        self.going: set[str] = set()
        self.statuses: dict[str, Manifest] = {}
        """What the kubelet says of a pod that is not ready, where it matters."""
        self.effects: list[DeletePod | RestartPostgres] = []
        if leader != "db-0":
            self.switch_over(leader)

    def switch_over(self, to: str) -> None:
        was = self.db.leader
        self.db.lock(to)
        self.db.promote()
        self.db.route()
        assert was
        self.db.join(was)

    def look(self, *, noted_seconds: float = 60.0) -> Rollout:
        view = self.db.view()
        workload: Manifest = self.db.statefulset()
        workload["metadata"]["generation"] = 2
        workload["status"] = {"observedGeneration": 2, "updateRevision": self.wanted}
        pods = [each for (kind, name), each in view.children.items() if kind == "Pod" and name in self.db.members]
        for each in pods:
            name = each["metadata"]["name"]
            each["metadata"] |= {"uid": f"uid-{name}"}
            each["metadata"]["labels"][REVISION_LABEL] = self.revisions[name]
            said = json.loads(each["metadata"]["annotations"]["status"]) | {"pending_restart_reason": self.pending[name]}
            each["metadata"]["annotations"]["status"] = json.dumps(said)
            if name in self.statuses:
                each["status"] = self.statuses[name]
            if name in self.going:
                each["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return roll_out(DatabaseReplicaSpec.model_validate(view.spec), workload, pods, observe_database(view), noted_seconds=noted_seconds)

    def carry_out(self) -> list[str]:
        """Until nothing more is to be done; what was done, in order."""
        done = []
        for _ in range(20):
            effects = self.look().effects
            if not effects:
                return done
            (effect,) = effects
            done.append(("" if isinstance(effect, DeletePod) else "restart ") + effect.name)
            if isinstance(effect, DeletePod):
                self.revisions[effect.name] = self.wanted
                if effect.name == self.db.leader:
                    self.switch_over(next(name for name in self.db.members if name != effect.name))
            self._start(effect.name)
        pytest.fail(f"it does not end: {done}")

    def _start(self, name: str) -> None:
        """PostgreSQL starts: what waited for that is done, but for what is lower than the primary has it."""
        leader = self.db.leader
        assert leader
        raised = name == leader or not self.pending[leader]
        lower = {
            key: each for key, each in self.pending[name].items() if each["new_value"].isdigit() and each["new_value"] < each["old_value"]
        }
        self.pending[name] = {} if raised else lower


def parameter(name: str, old: str, new: str) -> dict[str, dict[str, str]]:
    return {name: {"old_value": old, "new_value": new}}


@pytest.mark.parametrize(
    ("leader", "order"),
    [("db-0", ["db-2", "db-1", "db-0"]), ("db-1", ["db-2", "db-0", "db-1"]), ("db-2", ["db-1", "db-0", "db-2"])],
)
def test_standbys_come_first_and_the_primary_last_and_once(leader: str, order: list[str]) -> None:
    assert Rolling(leader=leader).carry_out() == order


def test_what_is_up_to_date_stays() -> None:
    same = Rolling(revision="old")

    assert same.look() == Rollout()


def test_a_template_that_the_controller_has_not_seen_yet_rolls_nothing() -> None:
    rolling = Rolling()
    rolling.wanted = ""

    assert rolling.look().effects == ()


def test_a_member_that_is_not_ready_lags_or_confirms_nothing_is_waited_for_and_told() -> None:
    rolling = Rolling()
    rolling.revisions["db-2"] = "new"
    for breaks, why in (
        ({"ready": False}, "db-2 is ready"),
        ({"state": "starting"}, "db-2 has caught up"),
        ({"behind": 64 * MEBIBYTE}, "db-2 has caught up"),
    ):
        for name, value in breaks.items():
            setattr(rolling.db.members["db-2"], name, value)
        found = rolling.look()
        assert (found.effects, found.told and found.told.message) == (
            (), f"1 of 3 members is as the spec says. It goes on once {why}."
        )  # fmt: skip
        rolling.db.join("db-2")
        rolling.db.members["db-2"].behind = 0

    rolling.db.sync = ("db-1",)
    assert rolling.look().effects == ()


def test_one_that_goes_is_waited_for() -> None:
    rolling = Rolling()
    rolling.going = {"db-2"}

    assert rolling.look().effects == ()


def test_an_outdated_member_that_does_not_work_is_replaced_first_whatever_it_lacks() -> None:
    """What the new template may put right: an image that can not be pulled, too little memory."""
    rolling = Rolling()
    rolling.db.power_off("db-1")

    assert rolling.look().effects == (DeletePod("db-1", "uid-db-1"),)


def test_with_two_that_do_not_work_but_run_nothing_is_touched() -> None:
    """They may be on their way back, and are the only other copies."""
    rolling = Rolling()
    rolling.db.power_off("db-1")
    rolling.db.power_off("db-2")

    assert rolling.look().effects == ()


@pytest.mark.parametrize("why", ["ImagePullBackOff", "CreateContainerConfigError", "CreateContainerError"])
def test_but_what_can_not_even_be_started_is_replaced_however_many_they_are(why: str) -> None:
    rolling = Rolling()
    for name in ("db-1", "db-2"):
        rolling.db.power_off(name)
        rolling.db.members[name].waiting = (why, "")

    assert rolling.look().effects == (DeletePod("db-1", "uid-db-1"),)
    rolling.going = {"db-1"}
    assert rolling.look().effects == (DeletePod("db-2", "uid-db-2"),)


def waits(why: str) -> Manifest:
    return {"state": {"waiting": {"reason": why}}}


def kubelet(postgres: Manifest, agent: Manifest | None = None, *, ran: bool = False) -> Manifest:
    """What it says of a pod."""
    last = {"lastState": {"terminated": {}}} if ran else {}
    return {
        "initContainerStatuses": [{"name": "agent"} | (agent or {"state": {"running": {}}})],
        "containerStatuses": [{"name": "exporter"} | waits("ErrImagePull"), {"name": "postgres"} | postgres | last],
    }


@pytest.mark.parametrize(
    ("status", "can_not"),
    [
        ({}, True),
        (kubelet(waits("PodInitializing")), True),
        (kubelet({"state": {"running": {}}}), False),
        (kubelet({"state": {"terminated": {}}}), False),
        (kubelet(waits("CrashLoopBackOff"), ran=True), False),
        (kubelet(waits("ErrImagePull"), ran=True), True),
        (kubelet(waits("PodInitializing"), waits("ErrImagePull"), ran=True), True),
        (kubelet(waits("PodInitializing"), ran=True), False),
        (kubelet({"state": {"running": {}}}, waits("ErrImagePull"), ran=True), False),
    ],
    ids=["no place", "never ran", "runs", "ended", "crashes", "image", "agent's image", "starts again", "runs without its agent"],
)
def test_what_can_be_started_as_it_is_is_left_to_start(status: dict[str, Any], can_not: bool) -> None:
    rolling = Rolling()
    rolling.db.power_off("db-1")
    rolling.db.power_off("db-2")
    rolling.statuses["db-2"] = status

    assert rolling.look().effects == ((DeletePod("db-2", "uid-db-2"),) if can_not else ())


def test_without_a_primary_all_that_does_not_work_is_replaced() -> None:
    """All nodes were restarted, and no image is to be had any more: nobody can lead before the mended template is there."""
    rolling = Rolling()
    rolling.db.lock(None)
    for name in rolling.db.members:
        rolling.db.power_off(name)

    for name in ("db-0", "db-1", "db-2"):
        assert rolling.look().effects == (DeletePod(name, f"uid-{name}"),)
        rolling.going.add(name)


def test_but_not_while_the_first_member_is_being_initialised() -> None:
    """Half of a database is none, and the others would wait for the rest of it."""
    rolling = Rolling()
    rolling.db.lock(None)
    rolling.db.transitions, rolling.db.dynamic = 0, None
    for name in rolling.db.members:
        rolling.db.power_off(name)

    assert rolling.look().effects == ()


def test_without_a_primary_nothing_that_works_is_touched() -> None:
    rolling = Rolling()
    rolling.db.lock(None)

    assert rolling.look().effects == ()


def test_a_parameter_that_needs_a_start_is_rolled_like_a_template() -> None:
    rolling = Rolling(revision="old")
    for name in rolling.pending:
        rolling.pending[name] = parameter("shared_buffers", "128MB", "256MB")
    told = rolling.look().told
    assert told
    assert told.message == "0 of 3 members are as the spec says. shared_buffers takes effect with a start. db-2 is made anew now."

    assert rolling.carry_out() == ["db-2", "db-1", "db-0"]
    assert not any(rolling.pending.values())


def test_what_standbys_must_not_have_lower_is_raised_standbys_first() -> None:
    rolling = Rolling(revision="old")
    for name in rolling.pending:
        rolling.pending[name] = parameter("max_connections", "100", "200")

    assert rolling.look().effects == (DeletePod("db-2", "uid-db-2"),)


def test_and_lowered_on_the_primary_first_in_its_place() -> None:
    rolling = Rolling(revision="old")
    for name in rolling.pending:
        rolling.pending[name] = parameter("max_connections", "300", "100")

    assert rolling.carry_out() == ["restart db-0", "db-2", "db-1"]
    assert not any(rolling.pending.values())


def test_nobody_is_restarted_before_every_member_has_had_the_time_to_note_what_waits() -> None:
    """Who has not yet looks like one that is done: the wrong member would go first, and once more afterwards."""
    rolling = Rolling(revision="old")
    rolling.pending["db-2"] = parameter("max_connections", "300", "100")

    early = rolling.look(noted_seconds=1.0)
    assert (early.effects, early.again_seconds) == ((), 4.0)
    assert early.told
    assert "once every member has noted" in early.told.message

    for name in rolling.pending:
        rolling.pending[name] = parameter("max_connections", "300", "100")
    assert rolling.carry_out()[0] == "restart db-0"


def test_a_new_template_waits_for_no_notes() -> None:
    assert Rolling().look(noted_seconds=0.0).effects


def test_garbage_in_a_note_of_patronis_is_no_reason_to_fail() -> None:
    rolling = Rolling(revision="old")
    rolling.pending["db-2"] = {"max_connections": "?"}  # type: ignore[dict-item]

    assert rolling.look().effects == (DeletePod("db-2", "uid-db-2"),)


def test_a_single_member_is_replaced_as_well() -> None:
    rolling = Rolling(replicas=1, durability="async")

    assert rolling.look().effects == (DeletePod("db-0", "uid-db-0"),)


# Since when a parameter waits, which a reconcile finds in the status.


def noted(db: Postgres, parameter_of: dict[str, dict[str, dict[str, str]]]) -> tuple[str, ...]:
    """A look of the operator, while members have noted parameters: what it does to pods. It writes its status."""
    view = db.view()
    for name in db.members:
        pod = view.children["Pod", name]
        pod["metadata"] |= {"uid": f"uid-{name}", "labels": pod["metadata"]["labels"] | {REVISION_LABEL: "old"}}
        if waiting := parameter_of.get(name):
            said = json.loads(pod["metadata"]["annotations"]["status"]) | {"pending_restart_reason": waiting}
            pod["metadata"]["annotations"]["status"] = json.dumps(said)
    view.children["StatefulSet", db.name]["status"] = {"observedGeneration": 99, "updateRevision": "old"}
    plan = plan_database(view)
    conditions = merge((db.resource.get("status") or {}).get("conditions") or [], plan.conditions, generation=1, now=to_text(db.now))
    db.resource["status"] = {**plan.status, "conditions": conditions}
    return tuple(each.name for each in plan.effects if isinstance(each, DeletePod | RestartPostgres))


def later(db: Postgres, seconds: float) -> None:
    db.wait(seconds)
    db.renewed = db.now


def test_parameters_are_rolled_whatever_else_the_status_tells() -> None:
    db = Postgres({"replicas": 4}, zones=("zone-a", "zone-a", "zone-b", "zone-b")).serving()
    db.resource["spec"]["replicas"] = 2  # which is refused: that would leave both members in one zone
    waiting = {name: parameter("max_connections", "100", "300") for name in db.members}

    assert noted(db, waiting) == ()
    later(db, 5)
    assert noted(db, waiting)
    assert [each["reason"] for each in db.resource["status"]["conditions"] if each["type"] == "Reconciling"] != ["RollingOut"]


def test_the_wait_for_notes_begins_with_the_first_note() -> None:
    db = Postgres().serving()
    assert noted(db, {}) == ()
    since = to_text(db.now - timedelta(hours=1))
    db.resource["status"]["conditions"] = [
        {"type": "Reconciling", "status": "True", "reason": "PoolerRollingOut", "message": "", "lastTransitionTime": since}
    ]

    assert noted(db, {"db-2": parameter("max_connections", "300", "100")}) == ()
    later(db, 0.3)
    assert noted(db, {"db-2": parameter("max_connections", "300", "100")}) == (), "db-0 comes first, and has not noted it yet"
    later(db, 5)
    assert noted(db, dict.fromkeys(db.members, parameter("max_connections", "300", "100"))) == ("db-0",)
    assert noted(db, {}) == ()
    assert "parametersWaitSince" not in db.resource["status"]


def test_a_note_of_a_clock_that_is_ahead_holds_nothing_up() -> None:
    db = Postgres().serving()
    waiting = dict.fromkeys(db.members, parameter("max_connections", "100", "300"))
    db.resource["status"] = {"parametersWaitSince": to_text(db.now + timedelta(hours=1))}

    assert noted(db, waiting) == ()
    later(db, 5)
    assert noted(db, waiting) == ("db-2",)
