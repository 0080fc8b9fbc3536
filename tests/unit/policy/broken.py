"""A database that works, with members that are then broken; each look finds the status that the last one wrote."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

from baas_operator.desired.database import names
from baas_operator.desired.meta import Manifest
from baas_operator.observe.report import REPORT, Report
from baas_operator.observe.view import View
from baas_operator.policy.database import plan_database
from baas_operator.policy.plan import DeletePod, Effect, GrowVolume, Plan, Reclone, ReplaceVolume
from baas_operator.policy.rollout import REVISION_LABEL
from tests.unit.objects import keyed
from tests.unit.policy.postgres import MEBIBYTE, Postgres

ADMITTED = Report(admitted=True)
SOON, LATE = 9, 11
"""Minutes, before and after the patience that is the default."""
DB_1 = [Reclone("db-1", "10.0.0.1")]


class Broken:
    """`reports`: what the agents tell; `pods`: what is otherwise of a member's pod, merged into it; `sizes` and `capacities` of claims."""

    def __init__(self, spec: Manifest | None = None, **more: Any) -> None:
        self.db = Postgres(spec, **more).serving()
        self.reports: dict[str, Report] = {}
        self.revisions = dict.fromkeys(self.db.members, "one")
        self.unplaced: dict[str, str] = {}
        """Members without a place, and the node that their volumes were made for."""
        self.going: set[str] = set()
        self.claims = dict.fromkeys(self.db.members, "5Gi")
        self.capacities: dict[str, str] = {}
        self.pending: set[str] = set()

    # --- what happens ------------------------------------------------------------------------------------------------

    def crash(self, name: str, state: str = "start failed") -> None:
        """Its PostgreSQL does not start; the primary would let it in."""
        self.db.power_off(name)
        member = self.db.members[name]
        member.role, member.state, member.behind = "unknown", state, None
        self.reports[name] = ADMITTED

    def leave_behind(self, name: str, *, behind: int = 64 * MEBIBYTE) -> None:
        """It runs, and does not stream."""
        self.db.power_off(name)
        member = self.db.members[name]
        member.state, member.behind = "running", behind
        self.reports[name] = ADMITTED

    def lose_node(self, name: str) -> None:
        """Its node is deleted; the pod that comes instead has no place, as its volume was there."""
        self.db.power_off(name)
        member = self.db.members[name]
        node = f"node-{member.zone}"
        self.unplaced[name] = node
        self.db.nodes = {key: each for key, each in self.db.nodes.items() if key != node}
        member.zone, member.role, member.state, member.behind = None, "unknown", "unknown", None

    def copying(self, name: str) -> None:
        """Patroni copies the primary."""
        member = self.db.members[name]
        member.role, member.state, member.behind, member.ready = "unknown", "creating replica", None, False

    def back(self, name: str) -> None:
        """It streams again."""
        member = self.db.members[name]
        member.behind = 0
        self.reports.pop(name, None)
        self.db.join(name)

    # --- what the operator sees and does ---------------------------------------------------------------------------------

    def view(self) -> View:
        found = self.db.view()
        children = dict(found.children)
        for name in self.db.members:
            pod = children[("Pod", name)]
            pod["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": "2026-05-01T11:00:00Z"}
            pod["metadata"].setdefault("labels", {})[REVISION_LABEL] = self.revisions[name]
            if name in self.reports:
                pod["metadata"]["annotations"][REPORT] = self.reports[name].text()
            if name in self.going:
                pod["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
            if name in self.unplaced:
                del pod["metadata"]["annotations"]["status"]
                pod["status"] = {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}
            if name in self.pending:
                said = json.loads(pod["metadata"]["annotations"]["status"])
                said["pending_restart_reason"] = {"shared_buffers": {"old_value": "1", "new_value": "2"}}
                pod["metadata"]["annotations"]["status"] = json.dumps(said)
            if name in self.claims:
                children |= keyed(self._claim(name))
        return replace(found, children=children)

    def _claim(self, name: str) -> Manifest:
        size = self.claims[name]
        annotations = {"volume.kubernetes.io/selected-node": self.unplaced.get(name, f"node-{self.db.members[name].zone}")}
        made = self.db.owner.child("v1", "PersistentVolumeClaim", f"data-{name}", names.COMPONENT, owned=False, annotations=annotations)
        made["metadata"]["uid"] = f"uid-data-{name}"
        made["spec"] = {"volumeName": f"pv-{name}", "resources": {"requests": {"storage": size}}}
        made["status"] = {"capacity": {"storage": self.capacities.get(name, size)}}
        return made

    def look(self, *, minutes: float = 0) -> Plan:
        """Time passes; then decide, and write down what was decided, as the engine does."""
        self.db.wait(minutes * 60)
        made = plan_database(self.view())
        self.db.resource = {**self.db.resource, "status": copy.deepcopy(dict(made.status))}
        return made

    def repaired(self, *, minutes: float = 0) -> list[Effect]:
        """What is thrown away after so many minutes, at the look that follows the one that announced it."""
        first = self.look(minutes=minutes)
        assert not thrown_away(first), "it has to be written down before it is done"
        return thrown_away(self.look())

    def trouble(self, name: str) -> dict[str, Any] | None:
        """What the status says that a member does not get over."""
        members = self.db.resource["status"]["members"]
        return next((each.get("trouble") for each in members if each["name"] == name), None)


def crashed(spec: dict[str, object] | None = None) -> Broken:
    """db-1 does not start, and somebody has noticed."""
    made = Broken(spec)
    made.crash("db-1")
    made.look()
    return made


def behind(spec: dict[str, object] | None = None) -> Broken:
    """db-1 comes no further, and somebody has noticed."""
    made = Broken(spec)
    made.leave_behind("db-1")
    made.look()
    return made


def thrown_away(made: Plan) -> list[Effect]:
    """Effects that cost a member its data, and its pod."""
    return [each for each in made.effects if isinstance(each, (Reclone, ReplaceVolume, DeletePod))]


def grown(made: Plan) -> dict[str, str]:
    """Claims that are to grow, and to what."""
    return {each.claim: each.size for each in made.effects if isinstance(each, GrowVolume)}
