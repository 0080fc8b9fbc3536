"""Which dead letters are meant."""

from __future__ import annotations

from baas_operator.api.operation import LetterFilter
from baas_operator.dead_letters.letter import DeadLetter
from baas_operator.observe.moments import read_time


def matches(letter: DeadLetter, wanted: LetterFilter) -> bool:
    """Whether a letter is one of those that are meant. Raises ValueError where a time of the filter is none."""
    return (
        wanted.consumer in (None, letter.consumer)
        and wanted.reason in (None, letter.reason)
        and (wanted.subject is None or subject_fits(letter.subject, wanted.subject))
        and (wanted.first_sequence or 0) <= letter.sequence
        and (wanted.last_sequence is None or letter.sequence <= wanted.last_sequence)
        and _in_time(letter, wanted)
        and all(_has(letter, each.name, each.value) for each in wanted.headers)
    )


def subject_fits(subject: str, pattern: str) -> bool:
    """Whether a subject is one that a pattern with wildcards stands for (NATS documentation, "Subject-based messaging")."""
    have, want = subject.split("."), pattern.split(".")
    for index, part in enumerate(want):
        if part == ">":
            return len(have) > index
        if index >= len(have) or part not in ("*", have[index]):
            return False
    return len(have) == len(want)


def _in_time(letter: DeadLetter, wanted: LetterFilter) -> bool:
    buried = read_time(letter.buried_at)
    bounds = read_time(wanted.since), read_time(wanted.until)
    for text, bound in zip((wanted.since, wanted.until), bounds, strict=True):
        if text and bound is None:
            raise ValueError(f"{text!r} is no time: write it as 2026-05-01T12:00:00Z.")
    since, until = bounds
    return buried is not None and (since is None or buried >= since) and (until is None or buried < until)


def _has(letter: DeadLetter, name: str, value: str) -> bool:
    return any(have.lower() == name.lower() and said == value for have, said in letter.headers)
