"""The agent beside a NATS server: what it makes of what the servers say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from baas_operator.queue_agent.caught_up import HOLD_SECONDS, LOOKS, CaughtUp
from baas_operator.queue_agent.cluster import META, Cluster, Copy, Group, Key, read_cluster
from baas_operator.queue_agent.cut_off import is_cut_off
from baas_operator.queue_agent.reload import version_of
from baas_operator.queue_agent.retire import missing, successors
from baas_operator.queue_agent.sealing import AGAIN_SECONDS, Sealing

ORDERS = Key("APP", "orders")
BILLING = Key("APP", "orders", "billing")
HELD = {name: frozenset([META, ORDERS]) for name in ("a", "b", "c")}
LEVEL = (Copy("b", True), Copy("c", True))


def cluster(*copies: Copy, leader: str = "a") -> Cluster:
    return Cluster({META: Group("a", LEVEL), ORDERS: Group(leader, copies)}, HELD, {"a": "z1", "b": "z2", "c": "z3"}, 3)


def answer(name: str, leader: str, **lag: int) -> dict[str, Any]:
    """One server's answer; only the leader says how far the others are."""
    replicas = [{"name": each, "current": not count, "lag": count} for each, count in lag.items()]
    said = {"leader": leader, "replicas": replicas}
    return {
        "server": {"name": name, "tags": [f"az:zone-{name}", "gpu"]},
        "data": {
            "meta_cluster": {"leader": leader, "cluster_size": 3, "replicas": replicas},
            "account_details": [{"name": "APP", "stream_detail": [
                {"name": "orders", "cluster": said, "consumer_detail": [{"name": "billing", "cluster": said}]},
            ]}],
        },
    }  # fmt: skip


def test_only_the_leaders_word_counts() -> None:
    seen = read_cluster([answer("b", "a", c=0, a=0), answer("a", "a", b=0, c=7)])
    assert seen.groups[ORDERS] == Group("a", (Copy("b", True, 0), Copy("c", False, 7)))
    assert seen.behind("b") == {}
    assert seen.behind("c") == {META: None}, "it said nothing itself"
    assert not seen.complete()
    seen = read_cluster([answer("a", "a", b=0, c=7), answer("b", "a"), answer("c", "a")])
    assert seen.complete()
    assert seen.behind("c") == {META: 7, ORDERS: 7, BILLING: 7}
    assert seen.zones == {"a": "zone-a", "b": "zone-b", "c": "zone-c"}
    assert len(seen.leads("a")) == 3


def test_one_server_by_itself_is_level() -> None:
    seen = read_cluster([{"server": {"name": "a"}, "data": {}}])
    assert seen.complete()
    assert seen.behind("a") == {}


def with_consumers(server: str, *names: str, led: bool) -> Cluster:
    """What is level, and consumers that have a leader or none yet."""
    keys = [Key("APP", "orders", each) for each in names]
    groups = {META: Group("a", LEVEL), ORDERS: Group("a", LEVEL)} | ({key: Group("a", LEVEL) for key in keys} if led else {})
    return Cluster(groups, {each: HELD[each] | set(keys) for each in HELD}, {}, 3, frozenset("abc"))


def test_consumers_that_are_made_all_the_time_keep_no_server_from_being_ready() -> None:
    seen = CaughtUp("b")
    for now in range(LOOKS):
        seen.see(with_consumers("b", led=True), now)
    assert seen.ready
    for now in range(20):
        seen.see(with_consumers("b", f"new-{now}", led=False), now)
        assert seen.ready, "it has had no time to elect"


def test_one_that_stays_without_a_leader_does() -> None:
    seen = CaughtUp("b")
    for now in range(LOOKS):
        seen.see(with_consumers("b", led=True), now)
    for now in range(LOOKS):
        seen.see(with_consumers("b", "late", led=False), now)
    assert not seen.ready


def test_what_others_had_before_has_to_show_itself_on_a_server_that_is_back() -> None:
    seen = CaughtUp("b")
    for now in range(LOOKS):
        seen.see(with_consumers("b", "billing", led=True), now)
    empty = with_consumers("b", "billing", led=True)
    seen.see(Cluster(empty.groups, {**empty.held, "b": frozenset([META])}, {}, 3, frozenset("abc")), 10)
    seen.see(with_consumers("b", "billing", led=False), 11)
    assert not seen.ready


def alone(name: str = "a", leader: str = "") -> Cluster:
    """What a server says that hears nobody."""
    return read_cluster([answer(name, leader)])


def leading(silent_seconds: float) -> Cluster:
    """What a leader says whose others answer nothing."""
    said = answer("a", "a", b=0, c=0)
    for each in said["data"]["meta_cluster"]["replicas"]:
        each["active"] = int(silent_seconds * 1e9)
    return read_cluster([said])


def test_a_server_that_knows_no_leader_and_hears_no_majority_is_cut_off() -> None:
    assert is_cut_off("a", alone())


def test_a_leader_is_cut_off_before_it_knows_it() -> None:
    assert is_cut_off("a", leading(4.5))
    assert not is_cut_off("a", leading(3.5)), "they are slow to answer, and heard"


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(alone(leader="b"), id="the others are slow to answer, and the leader is heard"),
        pytest.param(read_cluster([answer("a", ""), answer("b", "")]), id="a majority elects"),
        pytest.param(alone("b"), id="another one answered"),
        pytest.param(Cluster(), id="nobody answered"),
        pytest.param(read_cluster([{"server": {"name": "a"}, "data": {}}]), id="one server by itself"),
    ],
)
def test_a_server_is_not_cut_off_where(look: Cluster) -> None:
    assert not is_cut_off("a", look)


def test_a_server_that_hears_a_leader_whom_nobody_else_hears_is_cut_off_with_it() -> None:
    """Two of five, one of which leads and does not know yet that the other three went on without it."""
    said = answer("a", "a", b=0, c=0, d=0, e=0)
    for each in said["data"]["meta_cluster"]["replicas"]:
        each["active"] = 0 if each["name"] == "b" else 8 * 10**9
    answers = [said, answer("b", "a")]
    for each in answers:
        each["data"]["meta_cluster"]["cluster_size"] = 5
    look = read_cluster(answers)
    assert is_cut_off("a", look)
    assert is_cut_off("b", look)


def test_one_of_four_that_hears_another_is_cut_off_all_the_same() -> None:
    """Two of four are no majority."""
    look = read_cluster([answer("a", ""), answer("b", "")])
    assert is_cut_off("a", Cluster(look.groups, look.held, look.zones, 4, look.led))


@pytest.mark.parametrize("garbage", [{}, {"server": []}, {"server": {"name": "a"}, "data": {"account_details": [1]}}, {"server": None}])
def test_garbage_is_no_answer(garbage: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        read_cluster([garbage])


def looks(gate: CaughtUp, seen: Cluster, count: int, start: float = 0.0) -> list[bool]:
    made = []
    for number in range(count):
        gate.see(seen, start + number)
        made.append(gate.ready)
    return made


def test_it_takes_several_looks_in_a_row_to_be_level_and_to_be_behind() -> None:
    gate = CaughtUp("b")
    assert looks(gate, cluster(*LEVEL), LOOKS) == [False] * (LOOKS - 1) + [True]
    late = cluster(Copy("b", False, 4), Copy("c", True))
    assert looks(gate, late, LOOKS) == [True] * (LOOKS - 1) + [False]
    assert gate.sentence == "stream orders lacks 4 entries of its leader's log"
    assert looks(gate, cluster(*LEVEL), LOOKS) == [False] * (LOOKS - 1) + [True]


def test_what_is_written_to_all_the_time_and_lags_now_and_then_is_not_behind() -> None:
    gate = CaughtUp("b")
    looks(gate, cluster(*LEVEL), LOOKS)
    for _ in range(20):
        assert looks(gate, cluster(Copy("b", False, 4), Copy("c", True)), LOOKS - 1) == [True] * (LOOKS - 1)
        assert looks(gate, cluster(*LEVEL), 1) == [True]


def test_a_stream_that_is_new_has_to_show_itself() -> None:
    gate = CaughtUp("b")
    nothing = Cluster({META: Group("a", LEVEL)}, {"b": frozenset([META])}, {}, 3)
    looks(gate, nothing, LOOKS)
    assert looks(gate, cluster(Copy("b", False, 1), Copy("c", True)), 1) == [False]


def test_who_can_not_know_is_not_level_but_not_for_ever() -> None:
    gate = CaughtUp("b")
    looks(gate, cluster(*LEVEL), LOOKS)
    assert looks(gate, Cluster(), LOOKS, 100.0)[-1] is False
    assert "does not answer" in gate.sentence
    gate.see(Cluster(), 100.0 + LOOKS + HOLD_SECONDS)
    assert gate.ready
    assert not gate.level
    assert "held back no longer" in gate.sentence


def test_it_is_held_back_while_it_comes_nearer() -> None:
    gate = CaughtUp("b")
    for step in range(30):
        gate.see(cluster(Copy("b", False, 1000 - step), Copy("c", True)), step * HOLD_SECONDS / 2)
        assert not gate.ready


def test_a_server_goes_only_when_the_others_are_a_level_majority() -> None:
    seen: set[Key] = set()
    assert missing(cluster(*LEVEL, leader="a"), "a", seen) == "it still leads the metadata"
    away = Cluster({META: Group("b", (Copy("a", True), Copy("c", True))), ORDERS: Group("b", (Copy("a", True), Copy("c", False, 2)))}, HELD)
    assert missing(away, "a", seen) is None, "they were level a moment ago"
    assert missing(away, "a", set()) == "the other copies of stream orders are not level"
    leaderless = Cluster({META: Group("b", (Copy("a", True), Copy("c", True)))}, HELD)
    assert missing(leaderless, "a", set()) == "nobody leads stream orders"


def test_successors_share_what_there_is_to_lead() -> None:
    keys = [Key("APP", f"s{number}") for number in range(10)]
    seen = Cluster({key: Group("a", LEVEL) for key in keys}, {name: frozenset(keys) for name in "abc"})
    chosen = list(successors(seen, "a").values())
    assert chosen.count("b") == chosen.count("c") == 5


def heard(leader: str, known: dict[str, int]) -> Cluster:
    """Four copies of a stream, all level; `known`: of how many each of those knows that do not lead."""
    answers = []
    for name in "abcd":
        meta = {"leader": "a", "cluster_size": 4, "replicas": [{"name": each, "current": True} for each in "bcd"] if name == "a" else []}
        others = [each for each in "abcd" if each != name]
        replicas = [{"name": each, "current": True} for each in others[: known.get(name, 4) - 1]]
        said = {"leader": leader, "replicas": replicas}
        answers.append({
            "server": {"name": name}, "data": {"meta_cluster": meta, "account_details": [
                {"name": "APP", "stream_detail": [{"name": "orders", "cluster": said}]},
            ]},
        })  # fmt: skip
    return read_cluster(answers)


def test_a_stream_whose_copies_do_not_all_know_of_all_goes_to_one_that_does() -> None:
    sealing = Sealing("b")
    short = heard("b", {"a": 3, "c": 4, "d": 4})
    assert [sealing.see(short, now) for now in range(LOOKS)] == [{}, {}, {ORDERS: "c"}]
    assert sealing.see(short, 3) == {}, "once it was tried it is left alone"
    assert sealing.see(short, AGAIN_SECONDS + 3) == {ORDERS: "c"}
    assert Sealing("a").see(short, 0) == {}, "it does not lead"


def test_a_change_that_is_not_known_everywhere_yet_is_no_reason() -> None:
    sealing = Sealing("b")
    for now in range(10):
        assert sealing.see(heard("b", {"a": 3 if now % LOOKS else 4, "c": 4, "d": 4}), now) == {}


def test_nobody_gets_a_stream_who_does_not_know_of_all() -> None:
    sealing = Sealing("b")
    for now in range(10):
        assert sealing.see(heard("b", {"a": 3, "c": 3, "d": 3}), now) == {}
        assert sealing.see(heard("b", {"a": 4, "c": 4, "d": 4}), now) == {}


def test_a_successor_knows_of_all_copies_if_one_does() -> None:
    assert successors(heard("b", {"a": 3, "c": 3, "d": 4}), "b") == {ORDERS: "d"}


def test_a_new_version_of_a_volume_is_seen_by_its_link(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
    os.symlink("1", tmp_path / "..data")
    before = version_of(tmp_path)
    assert version_of(tmp_path) == before
    os.symlink("2", tmp_path / "..new")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert version_of(tmp_path) != before
    assert version_of(tmp_path / "nothing") == ()
