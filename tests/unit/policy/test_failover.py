"""Early release of the leader lock: what an agent does next, who may be promoted and who may have the lock."""

from __future__ import annotations

import dataclasses

import pytest

from baas_operator.policy.failover import (
    Electorate,
    Fence,
    Here,
    History,
    Lock,
    Reach,
    Step,
    Stopped,
    Sync,
    decide,
    heir,
    hindrance,
    settled,
)

LOCK = Lock(leader="db-0", term="7", version=10, position=1000)
FENCED = {name: Fence("7", 1, 1000, "db-0") for name in ("db-1", "db-2")}
SYNC = Sync(leader="db-0", voters=frozenset({"db-1", "db-2"}), quorum=1, changed=5, floor=1000, fences={}, timeline=1)
HERE = Here(name="db-1", connected=True, silence=0.2, answers=None, withdrawn=None)
SILENT = dataclasses.replace(HERE, silence=3.1, answers=False)
CUT_OFF = dataclasses.replace(SILENT, connected=False)


def step(here: Here, lock: Lock = LOCK, sync: Sync = SYNC) -> Step:
    return decide(here, lock, sync, detection_seconds=3.0)


def fenced(*names: str) -> Sync:
    return dataclasses.replace(SYNC, fences={name: FENCED[name] for name in names})


# --- what an agent does next ------------------------------------------------------------------------------------------


def test_while_the_primary_speaks_nothing_is_done() -> None:
    assert step(HERE) is Step.FOLLOW


def test_a_primary_that_is_silent_is_asked_a_second_before_its_silence_counts() -> None:
    assert step(dataclasses.replace(HERE, silence=1.9)) is Step.FOLLOW
    assert step(dataclasses.replace(HERE, silence=2.0)) is Step.ASK


def test_a_slow_primary_that_answers_is_never_suspected() -> None:
    assert step(dataclasses.replace(HERE, silence=60, answers=True)) is Step.FOLLOW


def test_one_that_is_silent_and_does_not_answer_is_cut_off_from() -> None:
    assert step(SILENT) is Step.CUT
    assert step(CUT_OFF) is Step.RELEASE


def test_one_whose_connection_broke_is_asked_at_once_and_one_that_is_dead_still_cut_off_from_first() -> None:
    broken = dataclasses.replace(HERE, receives=False)

    assert step(broken) is Step.ASK
    assert step(dataclasses.replace(broken, answers=False)) is Step.FOLLOW
    assert step(dataclasses.replace(broken, answers=False, dead=True)) is Step.CUT


def test_one_that_was_stopped_for_a_planned_move_is_cut_off_from_whatever_its_patroni_says() -> None:
    moved = dataclasses.replace(SYNC, stopped=Stopped("7", "db-2"))

    assert step(dataclasses.replace(HERE, answers=True), sync=moved) is Step.CUT
    assert step(dataclasses.replace(CUT_OFF, answers=True, silence=0), sync=moved) is Step.RELEASE
    assert step(HERE, sync=dataclasses.replace(SYNC, stopped=Stopped("6", "db-2"))) is Step.FOLLOW, "of an earlier term"


@pytest.mark.parametrize(
    "sync",
    [
        dataclasses.replace(SYNC, leader=None, voters=frozenset(), quorum=0),
        dataclasses.replace(SYNC, leader="db-2"),
        dataclasses.replace(SYNC, voters=frozenset({"db-2"}), quorum=0),
    ],
    ids=["durability async", "the synchronous state is of another leader", "this member is no voter"],
)
def test_where_a_fence_would_not_count_nobody_cuts_itself_off(sync: Sync) -> None:
    assert step(SILENT, sync=sync) is Step.FOLLOW


def test_the_primarys_own_agent_suspects_nobody() -> None:
    assert step(dataclasses.replace(SILENT, name="db-0")) is Step.FOLLOW


def test_suspicion_that_passes_takes_the_fence_back_first_and_connects_after_the_lock_was_written() -> None:
    over = dataclasses.replace(CUT_OFF, silence=9, answers=True)
    assert step(over, sync=fenced("db-1")) is Step.WITHDRAW

    withdrawn = dataclasses.replace(over, withdrawn=LOCK.version)
    assert step(withdrawn) is Step.WAIT
    assert step(withdrawn, lock=dataclasses.replace(LOCK, version=11)) is Step.CONNECT


def test_a_new_leader_is_followed_at_once() -> None:
    new = Lock(leader="db-2", term="8", version=12, position=1000)
    sync = dataclasses.replace(fenced("db-1", "db-2"), leader="db-2")

    assert step(dataclasses.replace(CUT_OFF, answers=None), lock=new, sync=sync) is Step.CONNECT


def test_while_nobody_leads_a_member_stays_cut_off() -> None:
    assert step(CUT_OFF, lock=dataclasses.replace(LOCK, leader=None), sync=fenced("db-1", "db-2")) is Step.WAIT


def test_one_that_is_no_voter_any_more_takes_its_fence_back_without_asking() -> None:
    """The primary lives and has struck it off; as nobody is asked where a fence does not count, it would stay away for ever."""
    struck = dataclasses.replace(fenced("db-1"), voters=frozenset({"db-2"}), quorum=0)

    assert step(dataclasses.replace(CUT_OFF, answers=None), sync=struck) is Step.WITHDRAW
    assert step(CUT_OFF, sync=struck) is Step.WITHDRAW


def test_an_agent_that_finds_its_fence_published_and_its_key_in_place_takes_the_fence_back() -> None:
    assert step(SILENT, sync=fenced("db-1")) is Step.WITHDRAW


VOTED = Lock(leader="db-1", term="8", version=12, position=1000)
"""db-0's lock ran out, and db-1 won the race."""
CALLED = dataclasses.replace(SYNC, fences={"db-1": Fence("8", 1, 1000, "db-0")})


def test_who_won_a_race_calls_upon_the_voters_and_they_turn_away_as_they_would_fence() -> None:
    loser = dataclasses.replace(HERE, name="db-2")
    assert step(HERE, lock=VOTED) is Step.TURN
    assert step(loser, lock=VOTED) is Step.FOLLOW, "not before it has called: it might be struck off for it"

    assert step(HERE, lock=VOTED, sync=CALLED) is Step.FOLLOW
    assert step(loser, lock=VOTED, sync=CALLED) is Step.CUT
    cut_off = dataclasses.replace(loser, connected=False, follows=False)
    assert step(cut_off, lock=VOTED, sync=CALLED) is Step.TURN

    both = dataclasses.replace(CALLED, fences=CALLED.fences | {"db-2": Fence("8", 1, 1000, "db-0")})
    assert step(cut_off, lock=VOTED, sync=both) is Step.WAIT, "until Patroni has turned PostgreSQL to db-1"
    assert step(dataclasses.replace(cut_off, follows=True), lock=VOTED, sync=both) is Step.CONNECT


def test_nobody_has_to_turn_away_where_the_lock_was_given_or_there_are_no_voters() -> None:
    assert step(HERE, lock=dataclasses.replace(VOTED, given=True)) is Step.FOLLOW
    assert step(HERE, lock=VOTED, sync=dataclasses.replace(SYNC, voters=frozenset(), quorum=0)) is Step.FOLLOW
    assert step(HERE, lock=VOTED, sync=dataclasses.replace(SYNC, leader="db-1")) is Step.FOLLOW


# --- who may be promoted ----------------------------------------------------------------------------------------------


def test_who_won_a_race_is_promoted_once_enough_have_turned_away_and_none_has_more() -> None:
    assert hindrance(SYNC, VOTED, "db-1", Reach(1, 1000)) == "the voters are not called upon yet"
    assert hindrance(CALLED, VOTED, "db-1", Reach(1, 1000)) == "db-0 may still acknowledge what db-2 confirms"

    both = dataclasses.replace(CALLED, fences=CALLED.fences | {"db-2": Fence("8", 1, 1001, "db-0")})
    assert hindrance(both, VOTED, "db-1", Reach(1, 1000)) == "db-2 has more of what db-0 acknowledged"
    assert hindrance(both, VOTED, "db-1", Reach(1, 1001)) == ""


def test_who_follows_the_newest_timeline_has_more_of_the_log_than_who_has_a_tail_of_an_older_one() -> None:
    both = dataclasses.replace(CALLED, timeline=2, fences={"db-1": Fence("8", 2, 1000, "db-0"), "db-2": Fence("8", 1, 9000, "db-0")})
    assert hindrance(both, VOTED, "db-1", Reach(2, 1000)) == ""

    won = dataclasses.replace(VOTED, leader="db-2")
    assert hindrance(both, won, "db-2", Reach(1, 9000)) == "it has followed nobody on timeline 2, which db-0 wrote on"
    unknown = dataclasses.replace(both, timeline=None)
    assert hindrance(unknown, won, "db-2", Reach(1, 9000)) == "db-1 has more of what db-0 acknowledged"


def test_one_that_is_no_voter_needs_the_voters_all_the_same() -> None:
    won = dataclasses.replace(VOTED, leader="db-3")
    called = dataclasses.replace(SYNC, fences={name: Fence("8", 1, 1000, "db-0") for name in ("db-1", "db-3")})
    assert hindrance(called, won, "db-3", Reach(1, 1000)) == "db-0 may still acknowledge what db-2 confirms"


def test_promoted_at_once_is_whom_agents_gave_the_lock_and_who_led_before_but_nobody_without_it() -> None:
    assert hindrance(SYNC, dataclasses.replace(VOTED, given=True), "db-1", Reach(1, 1000)) == ""
    assert hindrance(SYNC, LOCK, "db-0", Reach(1, 1000)) == ""
    assert hindrance(dataclasses.replace(SYNC, leader=None, voters=frozenset(), quorum=0), VOTED, "db-1", Reach(1, 1000)) == ""
    assert hindrance(SYNC, VOTED, "db-2", Reach(1, 1000)) == "db-1 has the lock"


def test_nobody_is_promoted_where_who_led_before_has_struck_off_all_that_it_waited_for() -> None:
    """A race may have been begun before that. Patroni itself would not begin one after it."""
    alone = dataclasses.replace(SYNC, voters=frozenset(), quorum=0)

    assert hindrance(alone, VOTED, "db-1", Reach(1, 1000)) == "db-0 may acknowledge alone"
    assert hindrance(dataclasses.replace(alone, anyway="db-1"), VOTED, "db-1", Reach(1, 1000)) == ""


# --- who may have the lock --------------------------------------------------------------------------------------------


def test_all_voters_have_to_be_fenced_where_any_one_may_confirm() -> None:
    assert heir(fenced("db-1"), LOCK, "db-1") is None
    assert heir(fenced("db-1", "db-2"), LOCK, "db-1")


def test_the_heir_is_who_has_most_of_the_log_and_of_two_that_have_the_same_whoever_hands_over() -> None:
    both = fenced("db-1", "db-2")
    assert heir(both, LOCK, "db-1") == "db-1"
    assert heir(both, LOCK, "db-2") == "db-2"

    ahead = dataclasses.replace(both, fences={"db-1": Fence("7", 1, 1000, "db-0"), "db-2": Fence("7", 1, 1001, "db-0")})
    assert heir(ahead, LOCK, "db-1") == "db-2"


def test_of_two_that_have_the_same_the_one_that_a_planned_move_is_to_is_the_heir() -> None:
    moved = dataclasses.replace(fenced("db-1", "db-2"), stopped=Stopped("7", "db-2"))
    assert heir(moved, LOCK, "db-1") == "db-2"

    again = dataclasses.replace(LOCK, position=1001)
    assert heir(moved, again, "db-1") is None, "it has renewed the lock with more than it shipped: it runs again"

    before = dataclasses.replace(moved, stopped=Stopped("6", "db-2"))
    assert heir(before, LOCK, "db-1") == "db-1", "news of an earlier term"


def test_of_two_that_have_the_same_the_heir_is_one_whose_patroni_answers() -> None:
    dead = dataclasses.replace(fenced("db-1", "db-2"), fences=FENCED | {"db-1": Fence("7", 1, 1000, "db-0", lives=False)})
    assert heir(dead, LOCK, "db-1") == "db-2"

    ahead = dataclasses.replace(dead, fences=FENCED | {"db-1": Fence("7", 1, 1001, "db-0", lives=False)})
    assert heir(ahead, LOCK, "db-2") == "db-1", "only it may have what was acknowledged"


def test_one_that_led_before_is_no_heir_with_its_tail_however_long_but_confirms_nothing_more() -> None:
    """db-2 has followed db-0 on timeline 2; db-1 led before, and was not rewound yet."""
    fences = {"db-1": Fence("7", 1, 9000, "db-0"), "db-2": Fence("7", 2, 1000, "db-0")}
    sync = dataclasses.replace(SYNC, timeline=2, fences=fences)
    assert heir(sync, LOCK, "db-1") == "db-2"

    neither = dataclasses.replace(sync, fences=fences | {"db-2": Fence("7", 1, 1000, "db-0")})
    assert heir(neither, LOCK, "db-1") is None

    alone = dataclasses.replace(neither, voters=frozenset({"db-1"}), quorum=0)
    assert heir(alone, LOCK, "db-1") is None, "db-2 was struck off, and may have confirmed what was acknowledged"


@pytest.mark.parametrize("timeline", [None, 1])
def test_while_the_history_does_not_tell_of_the_leaders_timeline_nobody_is_the_heir(timeline: int | None) -> None:
    """It was promoted a moment ago: db-2 has followed it, db-1 has not."""
    fences = {"db-1": Fence("7", 1, 9000, "db-0"), "db-2": Fence("7", 2, 1000, "db-0")}
    assert heir(dataclasses.replace(SYNC, timeline=timeline, fences=fences), LOCK, "db-1") is None


@pytest.mark.parametrize(
    ("history", "transitions", "timeline"),
    [
        (None, 0, None),
        (History(), 0, 1),
        (History(), 1, None),
        (History(5, "db-0"), 4, 5),
        (History(5, "db-2"), 4, None),
    ],
    ids=["not read", "the first primary", "the second, which has not written it yet", "its own", "of the one before"],
)  # fmt: skip
def test_the_leaders_timeline_is_known_once_the_history_is_its_own(history: History | None, transitions: int, timeline: int | None) -> None:
    assert settled(SYNC, dataclasses.replace(LOCK, transitions=transitions), history).timeline == timeline


def test_the_heir_is_a_voter_even_where_another_has_more_of_the_log() -> None:
    sync = dataclasses.replace(SYNC, voters=frozenset({"db-1", "db-2"}), fences=FENCED | {"db-3": Fence("7", 1, 2000, "db-0")})

    assert heir(sync, LOCK, "db-3") in ("db-1", "db-2")


def test_where_a_commit_waits_for_two_of_four_three_fences_do() -> None:
    """Five members in three zones, the primary's zone is lost with one voter."""
    names = [f"db-{index}" for index in range(1, 5)]
    two = {name: Fence("7", 1, 1000, "db-0") for name in names[:2]}
    sync = Sync("db-0", frozenset(names), quorum=2, changed=5, floor=1000, fences=two, timeline=1)
    assert heir(sync, LOCK, "db-1") is None

    assert heir(dataclasses.replace(sync, fences={name: Fence("7", 1, 1000, "db-0") for name in names[:3]}), LOCK, "db-1")


def test_a_voter_that_lags_does_not_win_with_no_votes() -> None:
    """Three members in two zones: both standbys confirm each commit. One fence ends the acknowledging; the other may lag all the same."""
    sync = dataclasses.replace(fenced("db-1"), quorum=0)
    assert heir(sync, LOCK, "db-1") is None


@pytest.mark.parametrize(
    ("voted", "quorum", "may"),
    [({"db-1"}, 0, True), ({"db-1", "db-2", "db-3"}, 1, True), ({"db-1", "db-3"}, 1, False), ({"db-3"}, 0, False), (set(), 0, False)],
    ids=["one joined", "one left whom nobody waited for", "one left who may have confirmed alone", "others", "nobody"],
)
def test_where_the_lock_was_not_renewed_since_the_voters_changed_the_earlier_ones_have_to_be_fenced_too(
    voted: set[str], quorum: int, may: bool
) -> None:
    """A primary that dies within two seconds after a standby came back is no reason to wait for 20 s."""
    sync = dataclasses.replace(fenced("db-1", "db-2"), earlier=(Electorate(frozenset(voted), quorum),))

    assert (heir(sync, LOCK, "db-1") is not None) == may


@pytest.mark.parametrize(
    ("sync", "lock"),
    [
        (fenced("db-1", "db-2"), dataclasses.replace(LOCK, term="8")),
        (fenced("db-1", "db-2"), dataclasses.replace(LOCK, leader=None)),
        (fenced("db-1", "db-2"), dataclasses.replace(LOCK, leader="db-2")),
        (dataclasses.replace(SYNC, fences={name: Fence("7", 1, 1000, "db-9") for name in ("db-1", "db-2")}), LOCK),
        (dataclasses.replace(fenced("db-1", "db-2"), floor=1001), LOCK),
        (dataclasses.replace(fenced("db-1", "db-2"), floor=None), LOCK),
        (dataclasses.replace(fenced("db-1", "db-2"), voters=frozenset()), LOCK),
        (dataclasses.replace(fenced("db-1", "db-2"), voters=frozenset({"db-1", "db-3"})), LOCK),
    ],
    ids=["another term", "no leader", "another leader", "fences against the one before", "the fenced lag",
         "the voters were never settled", "no voters", "a voter that is not fenced"],
)  # fmt: skip
def test_it_may_not_with(sync: Sync, lock: Lock) -> None:
    assert heir(sync, lock, "db-1") is None
