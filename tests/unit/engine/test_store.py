"""The store: the newest that was seen of every object, whichever way and in whichever order it came."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.desired.meta import DIGEST, Manifest
from baas_operator.engine import store as store_module
from baas_operator.engine.store import Key, Store, key_of, owner_of, significant
from tests.unit.objects import node, own, owner, pod

OWNER = Key("DatabaseReplica", "prod", "db")


def config_map(name: str = "cm", *, version: int = 1, uid: str = "u1", of: str = "db", **data: str) -> Manifest:
    made = owner(DATABASE_REPLICA, of).child("v1", "ConfigMap", name, "postgresql", data=data)
    made["metadata"] |= {"uid": uid, "resourceVersion": str(version)}
    return made


def get(store: Store, name: str = "cm") -> Manifest | None:
    return store.get("ConfigMap", "prod", name)


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [8, 9])
def test_a_late_event_does_not_undo_what_we_wrote(late: int) -> None:
    store = Store()
    store.put(config_map(version=9, key="new"))

    assert not store.put(config_map(version=late, key="old"))
    assert (get(store) or {})["data"] == {"key": "new"}


def test_versions_are_numbers_and_no_words() -> None:
    store = Store()
    store.put(config_map(version=9))

    assert store.put(config_map(version=10))


def test_a_late_event_does_not_bring_a_deleted_object_back() -> None:
    store = Store()
    store.put(config_map(version=5))
    assert store.drop(config_map(version=6))

    assert not store.put(config_map(version=6))
    assert get(store) is None


def test_a_new_object_of_the_same_name_is_taken() -> None:
    store = Store()
    store.put(config_map(version=5))
    store.drop(config_map(version=6))

    assert store.put(config_map(version=7, uid="u2"))


def test_the_late_deletion_of_the_old_one_does_not_take_the_new_one_away() -> None:
    store = Store()
    store.put(config_map(version=7, uid="u2"))

    assert not store.drop(config_map(version=6, uid="u1"))
    assert get(store) is not None


def test_what_was_deleted_is_remembered_as_it_was_last_seen() -> None:
    """A secret that somebody deleted comes back with what it held."""
    store, secret = Store(), {**config_map(version=5, password="p"), "kind": "Secret"}
    store.put(own(DATABASE_REPLICA, "db"))
    store.put(secret)
    store.drop(secret)

    assert (store.last_seen(OWNER, key_of(secret)) or {})["data"] == {"password": "p"}


def test_memories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_LOST", 3)
    store = Store()
    store.put(own(DATABASE_REPLICA, "db"))
    for index in range(5):
        each = {**config_map(f"s-{index}", uid=f"u{index}"), "kind": "Secret"}
        store.put(each)
        store.drop(each)

    remembered = [index for index in range(5) if store.last_seen(OWNER, Key("Secret", "prod", f"s-{index}"))]
    assert remembered == [2, 3, 4]


def test_managed_fields_are_not_kept() -> None:
    store = Store()
    each = config_map()
    each["metadata"]["managedFields"] = [{}] * 10
    store.put(each)

    assert "managedFields" not in (get(store) or {})["metadata"]


# --- what tenants make that looks like ours --------------------------------------------------------------------------


def test_of_what_is_large_the_short_values_are_kept_and_a_change_is_seen() -> None:
    store, junk = Store(), "x" * 10**6
    first, second = (config_map(version=version, password="p", **{f"junk-{n}": f"{version}{junk}" for n in range(3)}) for version in (1, 2))
    for each in (first, second):
        each["metadata"]["annotations"] = {"leader": "db-0", "junk": junk}
        each["metadata"]["labels"] |= {f"label-{n}": "" for n in range(10_000)}
    store.put(first)
    kept = get(store)

    assert kept
    assert len(json.dumps(kept)) < 65536
    assert kept["data"].keys() == {"password", DIGEST}
    assert kept["metadata"]["annotations"]["leader"] == "db-0"
    assert significant(kept, second)
    assert not significant(kept, copy.deepcopy(first))
    assert len(first["data"]) == 4, "what was given is left as it is"


def test_patronis_configuration_is_kept_whole_in_its_place_alone() -> None:
    """Without it the operator would take the database for one that has none, and change nothing in it ever again."""
    store, text, junk = Store(), json.dumps({"postgresql": {"parameters": {"x": '"' * 100_000}}}), "x" * 10**5
    for name in ("db-config", "db-leader", "other-config"):
        each = config_map(name, **{f"junk-{n}": junk for n in range(3)})
        each["metadata"]["annotations"] = {"config": text, "junk": junk, "initialize": "7"}
        store.put(each)

    kept = (get(store, "db-config") or {})["metadata"]["annotations"]
    assert kept.keys() == {"config", "initialize", DIGEST}
    assert kept["config"] == text
    for name in ("db-leader", "other-config"):
        assert (get(store, name) or {})["metadata"]["annotations"].keys() == {"initialize", DIGEST}


@pytest.mark.parametrize(("name", "kept"), [("db-signing-key", True), ("other-signing-key", False), ("db-role-owner", False)])
def test_signing_keys_are_kept_before_anything_else_in_their_place_alone(name: str, kept: bool) -> None:
    """Without keys.json the operator would take the Secret for one that has no set, and write it anew with the one key in private.pem."""
    store, keys = Store(), {"keys.json": "k" * 32_000, "private.pem": "p" * 4500, "gotrue-keys.json": "g" * 10_000}
    store.put({**config_map(name, **keys, **{f"junk-{n}": "x" * 3000 for n in range(30)}), "kind": "Secret"})

    found = (store.get("Secret", "prod", name) or {})["data"]

    assert (found.items() >= keys.items()) is kept
    assert DIGEST in found
    assert sum(map(len, found.values())) < 65536


def test_what_was_deleted_is_remembered_without_what_no_object_has() -> None:
    """The API server takes no such key, so the Secret would never come back."""
    store, secret = Store(), {**config_map(version=5, password="p", junk="x" * 20_000), "kind": "Secret"}
    store.put(own(DATABASE_REPLICA, "db"))
    store.put(secret)
    store.drop(secret)

    assert (store.last_seen(OWNER, key_of(secret)) or {})["data"] == {"password": "p"}


def test_a_child_that_no_operator_makes_is_not_kept() -> None:
    store, job = Store(), {**config_map(version=1), "kind": "Job"}
    store.put(job)

    assert store.put({**job, "metadata": {**job["metadata"], "resourceVersion": "2"}, "spec": ["x" * 10**6]})
    assert store.children(OWNER) == {}
    assert not store.put({**job, "metadata": {**job["metadata"], "resourceVersion": "3"}, "spec": ["x" * 10**6]})
    assert store.put({**job, "metadata": {**job["metadata"], "resourceVersion": "4"}})


# --- owners ---------------------------------------------------------------------------------------------------------


def test_children_are_found_by_their_owner_and_move_with_their_labels() -> None:
    store = Store()
    store.put(config_map("a", version=1))
    store.put(config_map("b", version=1, uid="u2"))
    assert set(store.children(OWNER)) == {("ConfigMap", "a"), ("ConfigMap", "b")}

    store.put(config_map("a", version=2, of="other"))
    assert set(store.children(OWNER)) == {("ConfigMap", "b")}
    assert set(store.children(OWNER._replace(name="other"))) == {("ConfigMap", "a")}

    store.drop(config_map("b", uid="u2"))
    assert store.children(OWNER) == {}


def test_one_without_our_labels_has_no_owner() -> None:
    plain = {"kind": "Secret", "metadata": {"name": "s", "namespace": "prod", "labels": {"app": "x"}}}
    foreign = copy.deepcopy(plain)
    foreign["metadata"]["labels"] = {"baas-operator.io/kind": "Deployment", "baas-operator.io/name": "x"}  # type: ignore[index]

    assert owner_of(plain) is None
    assert owner_of(foreign) is None


# --- lists ----------------------------------------------------------------------------------------------------------


def test_a_list_reports_what_the_watches_had_missed() -> None:
    store = Store()
    store.put(config_map("same", uid="u1"))
    store.put(config_map("changed", uid="u2", key="old"))
    store.put(config_map("gone", uid="u3"))
    other_kind = node("n", "zone-a")
    other_kind["metadata"] |= {"uid": "u9"}
    store.put(other_kind)

    listed = [config_map("same", uid="u1"), config_map("changed", uid="u2", version=2, key="new"), config_map("new", uid="u4")]
    missed = store.replace(listed, known=store.known("ConfigMap"))

    assert {each["metadata"]["name"] for each in missed} == {"changed", "new", "gone"}
    assert get(store, "gone") is None
    assert store.get("Node", "", "n") is not None
    assert store.replace(listed, known=store.known("ConfigMap")) == []


def test_what_we_made_while_the_list_was_on_its_way_is_not_taken_for_gone() -> None:
    """Its tombstone would hide it for ever, and a plan that misses a password leaves its StatefulSet out: it would be pruned."""
    store = Store()
    known = store.known("ConfigMap")
    store.put(config_map("made-meanwhile", version=50))

    assert store.replace([], known=known) == []
    assert get(store, "made-meanwhile") is not None
    assert store.put(config_map("made-meanwhile", version=51))


def test_what_was_made_anew_while_the_list_was_on_its_way_is_kept_too() -> None:
    store = Store()
    store.put(config_map(version=5, uid="u1"))
    known = store.known("ConfigMap")
    store.drop(config_map(version=6, uid="u1"))
    store.put(config_map(version=7, uid="u2"))

    store.replace([], known=known)

    assert get(store) is not None


def test_news_that_is_only_noise_was_not_missed() -> None:
    """A list is always a moment ahead of the watches. In a busy fleet some lock was renewed in that moment, every time."""
    store = Store()
    store.put(lock(version=1, renewTime="12:00:00"))
    listed = lock(version=2, renewTime="12:00:02")

    assert store.replace([listed], known=store.known("ConfigMap")) == []
    assert store.get("ConfigMap", "prod", "db-leader") == listed


# --- what deserves a reconcile ----------------------------------------------------------------------------------------


def lock(*, version: int = 1, **annotations: str) -> Manifest:
    made = config_map("db-leader", version=version)
    made["metadata"]["annotations"] = {"leader": "db-0", "ttl": "20", "transitions": "1", **annotations}
    return made


def member(*, ready: bool = True, **said: Any) -> Manifest:
    return pod(owner(DATABASE_REPLICA, "db"), "db-0", "postgresql", on="node-a", ready=ready, ip="10.0.0.1",
               annotations={"status": json.dumps({"state": "running", "role": "primary", **said})})  # fmt: skip


def with_heartbeat(found: Manifest, at: str, *, ready: str = "True", taints: list[Manifest] | None = None) -> Manifest:
    found["status"] = {
        "conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": at}, {"type": "DiskPressure", "status": "False"}],
        "images": [at],
    }
    found["spec"]["taints"] = taints or []
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (lock(renewTime="1", optime="100"), lock(version=2, renewTime="2", optime="200")),
        (lock(slots='{"db-1": 100}', retain_slots="x"), lock(version=2, slots='{"db-1": 200}')),
        (member(xlog_location=100), member(xlog_location=200)),
        (member(xlog_location=100, replication_lag=3), member(xlog_location=200, replication_lag=4)),
        (with_heartbeat(node("n", "a"), "1"), with_heartbeat(node("n", "a"), "2")),
    ],
    ids=["a lock is renewed", "slots move on", "a primary writes", "a standby follows", "a node's heart beats"],
)
def test_noise(old: Manifest, new: Manifest) -> None:
    assert not significant(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (lock(), lock(leader="db-1")),
        (lock(), lock(transitions="2")),
        (lock(config='{"ttl": 20}'), lock(config='{"ttl": 30}')),
        (lock(sync_standby="db-1"), lock(sync_standby="db-1,db-2")),
        (member(), member(ready=False)),
        (member(xlog_location=1), member(xlog_location=1, state="stopped")),
        (member(timeline=1), member(timeline=2)),
        (with_heartbeat(node("n", "a"), "1"), with_heartbeat(node("n", "b"), "1")),
        (with_heartbeat(node("n", "a"), "1"), with_heartbeat(node("n", "a"), "1", ready="Unknown")),
        (with_heartbeat(node("n", "a"), "1"), with_heartbeat(node("n", "a"), "1", taints=[{"key": "x"}])),
        (config_map(key="a"), config_map(key="b")),
        (None, config_map()),
    ],
    ids=[
        "another leader", "a failover that came back", "Patroni's configuration drifts", "a standby becomes synchronous",
        "a pod is not ready", "a member stops", "a timeline begins", "a node's zone changes", "a node is lost", "a node is tainted",
        "data changes", "something new",
    ],
)  # fmt: skip
def test_news(old: Manifest | None, new: Manifest) -> None:
    assert significant(old, new)
