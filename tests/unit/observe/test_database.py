"""A database whose volumes were deleted, and Patroni's state was not: said where it is proven, and only there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from baas_operator.api.database import Member
from baas_operator.api.kinds import VOLUME_CLAIM
from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.observe.conditions import READY, RECONCILING, STALLED
from baas_operator.observe.database import observe_database
from baas_operator.observe.view import View
from baas_operator.policy.database import plan_database
from tests.unit.objects import NOW, keyed, message, reason
from tests.unit.policy.postgres import Postgres

EARLIER, CREATED, LATER = (f"2026-05-01T{hour}:00:00Z" for hour in ("09", "10", "11"))


class Remains:
    """A DatabaseReplica that was made anew: its claims are new, Patroni's ConfigMaps are of the one before."""

    def __init__(self) -> None:
        self.db = Postgres()
        self.db.reconcile()
        self.db.start_members()
        self.db.resource["metadata"]["creationTimestamp"] = CREATED
        self.db.dynamic = {"ttl": 20}
        self.db.transitions = 3
        self.db.renewed = NOW - timedelta(hours=3)
        self.initialize: str | None = "7301234567890"
        self.claims = [self._claim(index) for index in range(3)]

    def _claim(self, index: int) -> Manifest:
        made = self.db.owner.child(
            "v1", VOLUME_CLAIM.name, f"data-db-{index}", names.COMPONENT, owned=False,
            annotations={"pv.kubernetes.io/bound-by-controller": "yes"},
            spec={"volumeName": f"pv-{index}", "resources": {"requests": {"storage": "5Gi"}}},
        )  # fmt: skip
        made["metadata"]["creationTimestamp"] = LATER
        return made

    def view(self) -> View:
        children = self.db.children() | keyed(*self.claims)
        for member in self.db.members:
            children["Pod", member]["metadata"]["annotations"]["status"] = '{"state": "stopped"}'
        if self.initialize and ("ConfigMap", "db-config") in children:
            children["ConfigMap", "db-config"]["metadata"]["annotations"]["initialize"] = self.initialize
        return View(resource=self.db.resource, children=children, nodes=self.db.nodes, now=NOW)


def test_state_whose_volumes_are_gone_is_told_with_the_command_that_helps() -> None:
    plan = plan_database(Remains().view())

    assert reason(plan, READY) == reason(plan, STALLED) == "StateWithoutVolumes"
    assert reason(plan, RECONCILING) is None
    assert "`kubectl delete configmap -n prod --ignore-not-found db-leader db-config db-sync db-failover " in message(plan, STALLED)
    assert plan.manifests, "it goes on by itself once they are deleted"


def one_volume_was_kept(it: Remains) -> None:
    it.claims[2]["metadata"]["creationTimestamp"] = EARLIER


def one_is_of_a_snapshot(it: Remains) -> None:
    it.claims[0]["spec"]["dataSourceRef"] = {"kind": "VolumeSnapshot", "name": "yesterday"}


def one_was_bound_by_hand(it: Remains) -> None:
    it.claims[0]["metadata"]["annotations"] = {}


def somebody_has_led_since(it: Remains) -> None:
    it.db.renewed = NOW - timedelta(hours=1)


def nobody_knows_who_led(it: Remains) -> None:
    it.db.transitions = 0


def there_are_no_claims_yet(it: Remains) -> None:
    it.claims = []


def it_was_never_initialised(it: Remains) -> None:
    it.initialize = None


@pytest.mark.parametrize(
    "otherwise",
    [
        one_volume_was_kept, one_is_of_a_snapshot, one_was_bound_by_hand, somebody_has_led_since, nobody_knows_who_led,
        there_are_no_claims_yet, it_was_never_initialised,
    ],
)  # fmt: skip
def test_where_there_may_be_data_nobody_is_told_to_delete_anything(otherwise: Callable[[Remains], None]) -> None:
    it = Remains()
    otherwise(it)

    plan = plan_database(it.view())

    assert reason(plan, STALLED) is None
    assert reason(plan, READY) == "NoPrimary"


def test_a_member_that_has_a_timeline_has_data() -> None:
    view = Remains().view()
    view.children["Pod", "db-1"]["metadata"]["annotations"]["status"] = '{"state": "starting", "timeline": 4}'

    assert reason(plan_database(view), STALLED) is None


def test_once_the_config_maps_are_deleted_it_begins_anew() -> None:
    it = Remains()
    it.db.dynamic, it.db.transitions = None, 0

    assert reason(plan_database(it.view()), READY) == "Bootstrapping"


def test_who_keeps_the_label_of_a_primary_while_another_has_the_lock_is_not_told_as_one() -> None:
    """Its node lost power: for 40 s and more its pod counts as ready, with the label that it had."""
    db = Postgres()
    db.reconcile()
    db.start_members()
    db.initialise()
    db.join()
    db.lock("db-1")
    assert {name: each.role for name, each in roles(db).items()} == {"db-0": "unknown", "db-1": "standby", "db-2": "standby"}
    db.promote()
    assert {name: each.role for name, each in roles(db).items()} == {"db-0": "unknown", "db-1": "primary", "db-2": "standby"}

    db.lock(None)
    assert roles(db)["db-1"].role == "primary", "nobody else has it"


def roles(db: Postgres) -> dict[str, Member]:
    return {each.name: each for each in observe_database(View(
        resource=db.resource, children=db.children(), nodes=db.nodes, now=db.now,
    )).members}  # fmt: skip
