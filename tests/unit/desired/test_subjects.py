"""Which subjects meet: held against a matcher that tries messages."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.desired.queue.streams import meet, overlaps

TOKENS = ("a", "b", "other")
"""Two that subjects name, and one that none does: more can make no difference."""


def matches(subject: str, message: tuple[str, ...]) -> bool:
    """Whether a message, of these tokens, is one of the subject's (NATS documentation, "Subject-based messaging")."""
    parts = subject.split(".")
    if parts[-1] == ">":
        return len(message) >= len(parts) and matches(".".join([*parts[:-1], *"*" * (len(message) - len(parts) + 1)]), message)
    return len(parts) == len(message) and all(part in ("*", token) for part, token in zip(parts, message, strict=True))


subjects = st.builds(
    lambda tokens, rest: ".".join([*tokens, ">"] if rest else tokens),
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3),
    st.booleans(),
)


@given(subjects, subjects)
def test_two_overlap_exactly_when_one_message_is_of_both(one: str, other: str) -> None:
    longest = max(len(one.split(".")), len(other.split("."))) + 1
    both = any(
        matches(one, message) and matches(other, message)
        for length in range(1, longest + 1)
        for message in product(TOKENS, repeat=length)
    )  # fmt: skip

    assert overlaps(one, other) is both
    assert overlaps(other, one) is both


@given(subjects, subjects)
def test_what_two_meet_in_has_just_the_messages_of_both(one: str, other: str) -> None:
    met = meet(one, other)
    for length in range(1, max(len(one.split(".")), len(other.split("."))) + 2):
        for message in product(TOKENS, repeat=length):
            assert (met is not None and matches(met, message)) is (matches(one, message) and matches(other, message))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("orders.paid", "orders.paid", True),
        ("orders.paid", "orders.sent", False),
        ("orders.*", "orders.paid", True),
        ("orders.*", "orders.paid.eu", False),
        ("orders.>", "orders.paid.eu", True),
        ("orders.>", "orders", False),
        ("*.paid", "orders.*", True),
        ("*.paid", "orders.>", True),
        ("*.*", "orders.>", True),
        ("a.*.c", "a.b.>", True),
        ("a*", "ab", False),
        ("Orders.paid", "orders.paid", False),
    ],
)
def test_table(one: str, other: str, meet: bool) -> None:
    assert overlaps(one, other) is meet
