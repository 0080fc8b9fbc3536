"""Early release of the leader lock, followed to its end: no order of events that is walked loses an acknowledged commit."""

from __future__ import annotations

from random import Random

import pytest

from tests.unit.policy.failover_model import LostError, Rules, explore, steps, stroll
from tests.unit.policy.failover_world import P, World, start

# --- stories ----------------------------------------------------------------------------------------------------------


def follow(world: World, rules: Rules, way: str) -> World:
    """Take the steps that are named, with " → " between them."""
    for name in way.split(" → "):
        choices = dict(steps(world, rules))
        assert name in choices, f"{name!r} can not come next, only: {', '.join(choices)}"
        world = choices[name]
    return world


A_FENCED, B_FENCED = (
    f"{name} changes its mind → {name} takes its key away → {name} sees its receiver gone → {name} reads the lock → {name} publishes"
    for name in "ab"
)
BOTH_FENCED = f"{A_FENCED} → {B_FENCED}"
MINDS = {"suspicion a": 3, "suspicion b": 3}
_CONFIRMED_BY_A = "write → ship a → reply a → ack"


def test_a_frozen_primary_is_replaced_and_acknowledges_nothing_when_it_wakes() -> None:
    world = follow(start(MINDS | {"write": 2, "freeze": 1}), Rules(), f"write → ship a → reply a → ack → write → freeze → {BOTH_FENCED}")
    world = follow(world, Rules(), "b hands the lock to a → a may be promoted → a promotes → thaw")

    assert world.promoted == "a"
    assert "ack" not in dict(steps(world, Rules()))


def test_a_primary_that_renews_its_lock_meanwhile_keeps_it() -> None:
    world = follow(start(MINDS | {"cycle": 1}), Rules(), f"look → {BOTH_FENCED} → renew")

    assert "b is too late" in dict(steps(world, Rules()))
    assert not any("hands" in name for name, _ in steps(world, Rules()))


def test_a_partition_that_heals_between_fence_and_release() -> None:
    """One fence is taken back just before: the lock is written once before that member streams again, and the release fails."""
    world = follow(start(MINDS | {"cycle": 1}), Rules(), f"{BOTH_FENCED} → a changes its mind → a withdraws → a notes the lock")
    assert "a puts its key back" not in dict(steps(world, Rules()))

    world = follow(world, Rules(), "look → renew → a puts its key back → connect a")
    assert "b is too late" in dict(steps(world, Rules()))


def test_a_primary_that_is_cut_off_from_its_standbys_alone_does_not_get_its_lock_back() -> None:
    world = follow(start(MINDS | {"cycle": 1}), Rules(), f"{BOTH_FENCED} → b hands the lock to b → look")

    assert "demote" in dict(steps(world, Rules()))
    assert world.p.api
    assert world.leader != P


def test_an_heir_that_dies_leaves_a_race_in_which_nothing_is_lost_either() -> None:
    way = f"write → ship a → reply a → ack → {BOTH_FENCED} → b hands the lock to a → the lock runs out → b races"
    world = follow(start(MINDS | {"write": 1, "heir dies": 1}), Rules(), way)

    assert "b defers" in dict(steps(world, Rules()))
    assert "b takes the lock" not in dict(steps(world, Rules()))


_RACE = "the lock runs out → b races → b has the vote → b takes the lock"


def test_a_vote_is_no_fence_so_who_gave_one_turns_away_before_the_promotion() -> None:
    budget = {"write": 1, "P hangs": 1}
    world = follow(start(budget), Rules(skip="turn"), f"{_RACE} → b promotes → {_CONFIRMED_BY_A}")
    assert (world.promoted, world.acked, world.b.lsn) == ("b", 1, 0)

    world = follow(start(budget), Rules(), f"{_RACE} → b calls → a takes its key away → a turns away → a tells that it turned away")
    world = follow(world, Rules(), "b may be promoted → b promotes → write")
    assert "ship a" not in dict(steps(world, Rules()))


def test_a_commit_that_was_confirmed_after_the_vote_keeps_who_lacks_it_from_promotion() -> None:
    way = f"{_RACE} → {_CONFIRMED_BY_A} → b calls → a takes its key away → a turns away → a tells that it turned away"
    world = follow(start({"write": 1, "P hangs": 1, "give back": 1}), Rules(), way)
    assert "b may be promoted" not in dict(steps(world, Rules()))

    world = follow(world, Rules(), "b gives the lock back → a races → a has the vote → a takes the lock → a calls")
    assert "b turns away" in dict(steps(follow(world, Rules(), "b takes its key away"), Rules()))


def test_a_primary_that_wakes_can_not_strike_off_who_turns_away() -> None:
    """What would be left of the voters might lack what the other has confirmed."""
    way = f"look → renew → {_RACE} → {_CONFIRMED_BY_A} → b calls → a takes its key away → a turns away → gone a → names ['b'] 1"
    world = follow(start({"write": 1, "cycle": 1, "P hangs": 1}), Rules(), way)

    assert "synchronous state changed by someone else" in dict(steps(world, Rules()))


def test_standbys_that_disagree_release_nothing() -> None:
    world = follow(start(MINDS), Rules(), A_FENCED)

    assert not any("hands" in name for name, _ in steps(world, Rules()))


def test_a_voter_that_was_struck_off_may_have_been_the_only_one_that_confirmed() -> None:
    """Patroni strikes a voter off although those who remain lack what it confirmed; they have to hold what was written by then."""
    way = (
        f"{B_FENCED} → look → renew → write → "
        "ship a → reply a → ack → a changes its mind → a takes its key away → a sees its receiver gone → a changes its mind → gone a → "
        "names ['b'] 1 → voters ['b'] 0"
    )
    world = follow(start(MINDS | {"write": 1, "cycle": 1}), Rules(), way)

    assert (world.voters, world.acked, world.b.lsn) == (frozenset("b"), 1, 0)
    assert not any("b hands" in name or "receiver" in name for name, _ in steps(world, Rules()))


def test_without_the_precondition_on_the_synchronous_state_a_commit_would_be_lost() -> None:
    way = (
        f"{B_FENCED} → a changes its mind → "
        "a takes its key away → look → renew → write → ship a → reply a → a sees its receiver gone → a reads the lock → a publishes → "
        "b sees its receiver gone → b reads the lock → b publishes → b hands the lock to a → ack → gone a"
    )
    struck = " → names ['b'] 1 → voters ['b'] 0 → the lock runs out → b races → b takes the lock"
    budget = MINDS | {"write": 1, "cycle": 1, "heir dies": 1}
    world = follow(start(budget), Rules(skip="precondition"), way + struck)
    assert (world.leader, world.acked, world.b.lsn) == ("b", 1, 0)

    world = follow(start(budget), Rules(), way + " → names ['b'] 1")
    assert "synchronous state changed by someone else" in dict(steps(world, Rules()))


@pytest.mark.parametrize(
    ("rule", "way", "refused"),
    [
        ("receiver", f"{BOTH_FENCED} → b hands the lock to b → {_CONFIRMED_BY_A}", "write → ship a"),
        (
            "lock version",
            f"look → {BOTH_FENCED} → renew → a changes its mind → a withdraws → a notes the lock → slept → look → renew → "
            f"a puts its key back → connect a → b hands the lock to b → {_CONFIRMED_BY_A}",
            "b hands the lock to b",
        ),
        (
            "wait for the lock",
            f"{BOTH_FENCED} → a changes its mind → a withdraws and connects → b hands the lock to b → connect a → {_CONFIRMED_BY_A}",
            "a withdraws and connects",
        ),
        (
            "follows",
            f"{BOTH_FENCED} → b hands the lock to b → a puts its key back → connect a → {_CONFIRMED_BY_A}",
            "a puts its key back",
        ),
    ],
)
def test_without_one_of_the_rules_a_commit_would_be_lost(rule: str, way: str, refused: str) -> None:
    budget = MINDS | {"write": 1, "cycle": 2}
    world = follow(start(budget), Rules(skip=rule), way)
    assert (world.leader, world.acked, world.b.lsn) == ("b", 1, 0)

    with pytest.raises(AssertionError, match=f"{refused.rpartition(' → ')[2]}.* can not come next"):
        follow(start(budget), Rules(), way)


def test_a_tail_that_nobody_acknowledged_does_not_count_as_what_was() -> None:
    """b led before, and was not rewound yet; a follows, and has confirmed a commit."""
    way = f"connect a → {_CONFIRMED_BY_A} → {BOTH_FENCED}"
    world = follow(start(MINDS | {"write": 1}, led="b"), Rules(skip="timeline"), f"{way} → b hands the lock to b")
    assert (world.leader, world.acked, world.b.timeline) == ("b", 1, 1)

    follow(start(MINDS | {"write": 1}, led="b"), Rules(), f"{way} → b hands the lock to a → a may be promoted → a promotes")


def test_one_that_has_not_read_its_log_since_its_start_does_not_fence_with_a_part_of_it() -> None:
    """a alone has confirmed a commit, and starts anew."""
    way = f"{_CONFIRMED_BY_A} → a restarts → {BOTH_FENCED}"
    world = follow(start(MINDS | {"write": 1, "restart a": 1}), Rules(skip="read"), f"{way} → b hands the lock to b")
    assert (world.leader, world.acked, world.b.lsn) == ("b", 1, 0)

    world = start(MINDS | {"write": 1, "restart a": 1})
    until_fence = (
        f"{_CONFIRMED_BY_A} → a restarts → a changes its mind → a takes its key away → a sees its receiver gone → a reads the lock"
    )
    world = follow(world, Rules(), f"{until_fence} → a does not know its log → a reads its log")
    assert not world.fences


# --- every interleaving of a little -----------------------------------------------------------------------------------

_NOTICED = {
    "receiver": ({"write": 1, "suspicion a": 1, "suspicion b": 1}, ""),
    "follows": ({"write": 1, "suspicion a": 1, "suspicion b": 1}, ""),
    "turn": ({"write": 1, "P hangs": 1}, ""),
    "earlier voters": ({"write": 1, "cycle": 1, "suspicion b": 1, "cut": 1}, ""),
    "wait for the lock": ({"write": 1, "suspicion a": 2, "suspicion b": 1}, ""),
    "lock version": (
        {"write": 1, "cycle": 2, "suspicion a": 2, "suspicion b": 1},
        f"look → {BOTH_FENCED} → renew → a changes its mind → a withdraws → a notes the lock",
    ),
    "precondition": (
        {"write": 1, "cycle": 1, "suspicion a": 1, "suspicion b": 1, "heir dies": 1},
        f"{B_FENCED} → a changes its mind → a takes its key away → look → renew → write → ship a → reply a → "
        "a sees its receiver gone → a reads the lock → a publishes",
    ),
}
"""By rule what may happen, and how it begins where all of it from the start would be too much."""


@pytest.mark.parametrize("rule", _NOTICED)
def test_each_rule_is_missed_by_who_looks_everywhere(rule: str) -> None:
    """Nobody has to know how a commit is lost without it: some way leads there, and with the rule none does."""
    budget, begins = _NOTICED[rule]

    def somewhere(rules: Rules) -> World:
        return follow(start(budget), rules, begins) if begins else start(budget)

    with pytest.raises(LostError, match="acknowledged was 1: "):
        explore(somewhere(Rules(skip=rule)), Rules(skip=rule))
    assert explore(somewhere(Rules()), Rules()) > 1000, "where next to nothing can happen nothing is shown"


@pytest.mark.parametrize("rule", ["receiver", "turn"])
def test_a_third_voter_makes_no_rule_needless(rule: str) -> None:
    """All that three can do is too much to look at; that a loss is found is not."""
    budget = _NOTICED[rule][0]
    budget = budget | {"suspicion c": budget.get("suspicion a", 0)}

    with pytest.raises(LostError, match="acknowledged was 1: "):
        explore(start(budget, voters=frozenset("abc")), Rules(skip=rule))


# --- every interleaving of a lot, sampled -----------------------------------------------------------------------------

_STORIES = {
    "a voter goes": {"write": 2, "cycle": 2, "suspicion a": 1, "suspicion b": 2, "cut": 1},
    "restless agents": {"write": 1, "cycle": 2, "suspicion a": 5, "suspicion b": 5},
    "frozen": {"write": 2, "cycle": 1, "suspicion a": 3, "suspicion b": 3, "freeze": 1},
    "partitions": {"write": 2, "cycle": 2, "suspicion a": 3, "suspicion b": 3, "cut": 1, "cut from": 1, "cut to": 1},
    "no API server": {"write": 2, "cycle": 2, "suspicion a": 3, "suspicion b": 3, "cut api": 1},
    "agents restart": {"write": 1, "cycle": 2, "suspicion a": 3, "suspicion b": 3, "restart agent": 2},
    "standbys restart": {"write": 2, "cycle": 2, "suspicion a": 3, "suspicion b": 3, "restart a": 1, "restart b": 1, "heir dies": 1,
                         "P hangs": 1},
    "heirs die": {"write": 2, "cycle": 2, "suspicion a": 3, "suspicion b": 3, "cut": 1, "heir dies": 1},
    "the lock runs out": {"write": 3, "cycle": 1, "P hangs": 1, "give back": 2, "restart agent": 1},
    "planned moves": {"write": 2, "cycle": 2, "suspicion a": 1, "suspicion b": 1, "stop": 2, "cut": 1, "heir dies": 1},
    "everything": {"write": 2, "cycle": 2, "suspicion a": 3, "suspicion b": 3, "freeze": 1, "cut": 1, "cut from": 1, "cut to": 1,
                   "cut api": 1, "restart agent": 1, "heir dies": 1, "stop": 1, "restart a": 1},
}  # fmt: skip
_WALKS = 400


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("story", _STORIES)
@pytest.mark.parametrize("voters", [frozenset("ab"), frozenset("a")], ids=["two voters", "a standby joins"])
def test_nothing_acknowledged_is_lost(story: str, strict: bool, voters: frozenset[str]) -> None:
    random = Random(f"{story} {strict} {sorted(voters)}")
    promoted = _stroll_often(story, Rules(strict=strict), random, times=_WALKS, voters=voters)

    assert promoted > _WALKS / 50, "a walk in which nobody is promoted shows nothing"


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "story", ["frozen", "partitions", "agents restart", "standbys restart", "heirs die", "the lock runs out", "everything"]
)
def test_nothing_acknowledged_is_lost_to_one_that_led_before(story: str, strict: bool) -> None:
    random = Random(f"{story} {strict} led")
    assert _stroll_often(story, Rules(strict=strict), random, times=_WALKS, led="b")


_WALKS_OF_THREE = 100
"""Each takes longer, and what two voters show needs no showing here."""


@pytest.mark.parametrize("story", _STORIES)
def test_nor_with_a_third_voter(story: str) -> None:
    """Any one of three confirms a commit, so that all three have to be fenced or to turn away."""
    promoted = _stroll_often(story, Rules(), Random(f"{story} of three"), times=_WALKS_OF_THREE, voters=frozenset("abc"))

    assert promoted > _WALKS_OF_THREE / 50, "a walk in which nobody is promoted shows nothing"


def _stroll_often(story: str, rules: Rules, random: Random, *, times: int, voters: frozenset[str] = frozenset("ab"), led: str = "") -> int:
    """In how many walks a standby was promoted."""
    budget = _STORIES[story]
    if "c" in voters:
        budget = budget | {"suspicion c": budget.get("suspicion a", 0)}
    return sum(stroll(start(budget, voters=voters, led=led), rules, random).promoted is not None for _ in range(times))
