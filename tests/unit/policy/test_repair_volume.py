"""A volume that went with its node is made anew: only where the node is known to be gone, and others have what was on it."""

from __future__ import annotations

from baas_operator.observe.conditions import RECONCILING
from baas_operator.policy.plan import DeletePod, ReplaceVolume
from tests.unit.objects import message
from tests.unit.policy.broken import LATE, SOON, Broken, thrown_away

DB_2 = ReplaceVolume("db-2", "uid-db-2", "data-db-2", "uid-data-db-2", "node-zone-c")


def lost() -> Broken:
    """db-2's node is deleted, and somebody has noticed."""
    made = Broken()
    made.lose_node("db-2")
    made.look()
    return made


def test_a_volume_that_went_with_its_node_is_made_anew() -> None:
    it = lost()

    assert it.repaired(minutes=SOON) == []
    assert it.repaired(minutes=LATE - SOON) == [DB_2]
    assert "its volume was on node node-zone-c, which is gone" in message(it.look(), RECONCILING)


def test_so_is_that_of_a_node_which_somebody_said_is_out_of_service() -> None:
    it = Broken()
    node = it.db.nodes["node-zone-c"]
    it.lose_node("db-2")
    node["spec"]["taints"] = [{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]
    it.db.nodes["node-zone-c"] = node
    it.look()

    assert it.repaired(minutes=LATE) == [DB_2]


def test_a_node_that_only_does_not_answer_is_waited_for() -> None:
    it = Broken()
    node = it.db.nodes["node-zone-c"]
    it.lose_node("db-2")
    node["status"] = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
    node["spec"]["taints"] = [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]
    it.db.nodes["node-zone-c"] = node
    it.look()

    assert it.repaired(minutes=600) == []
    assert it.trouble("db-2") is None


def test_without_nodes_nothing_is_proven() -> None:
    it = lost()
    it.db.nodes = {}

    assert it.repaired(minutes=LATE) == []


def test_nor_is_a_volume_replaced_that_nothing_else_has_a_copy_of() -> None:
    it = lost()
    it.db.power_off("db-1")

    assert it.repaired(minutes=LATE) == []


def test_a_volume_that_turns_out_to_be_tied_to_no_host_is_tried_once_for_each_pod() -> None:
    """Such as one of a whole zone, whose node an autoscaler has taken away: the engine sees that, and keeps it."""
    it = lost()
    assert it.repaired(minutes=LATE) == [DB_2]

    for _ in range(20):
        assert it.repaired(minutes=40) == []
    assert "see why the pod has no place" in message(it.look(), RECONCILING)
    assert len(it.db.resource["status"]["repairs"]) == 1


def test_a_pod_whose_claim_is_gone_already_follows_it() -> None:
    """The operator died between the two."""
    it = lost()
    it.repaired(minutes=LATE)
    del it.claims["db-2"]

    assert thrown_away(it.look()) == [DeletePod("db-2", "uid-db-2")]
