"""Words for people: cut between words, without what says nothing, and with a full stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.api.kinds import DATABASE_REPLICA
from baas_operator.observe.text import counted, sentence, shorten
from baas_operator.observe.view import trouble
from tests.unit.objects import owner, pod

UNSCHEDULABLE = "0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient memory."


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_what_is_cut_is_short_enough_and_says_so(text: str, limit: int) -> None:
    made = shorten(text, limit)

    assert len(made) <= limit
    assert made == text if len(text) <= limit else made.endswith("…")


def test_it_is_cut_between_words() -> None:
    assert shorten('failed to pull: Head "https://registry-1.docker.io/v2/library/x"', 40) == "failed to pull: Head…"
    assert shorten("x" * 50, 40) == "x" * 39 + "…"


@pytest.mark.parametrize(
    "tail",
    [
        "",
        " preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod.",
        " no new claims to deallocate, preemption: 0/4 nodes are available: 1 Preemption is not helpful for scheduling.",
    ],
)
def test_the_scheduler_is_quoted_without_its_word_on_preemption(tail: str) -> None:
    found = pod(owner(DATABASE_REPLICA, "db"), "db-0", "postgresql", on=None, ready=False)
    found["status"] = {
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": UNSCHEDULABLE + tail}]
    }

    assert trouble(found) == f"Unschedulable: {UNSCHEDULABLE}".rstrip(".")


@pytest.mark.parametrize("made", ["It is so", "It is so.", "It is so. "])
def test_a_sentence_ends_once(made: str) -> None:
    assert sentence(made) == "It is so."
    assert sentence("It is…") == "It is…"


def test_numbers_agree_with_their_noun() -> None:
    assert [counted(number, "zone") for number in range(3)] == ["0 zones", "1 zone", "2 zones"]
    assert counted(2, "copy", "copies") == "2 copies"
