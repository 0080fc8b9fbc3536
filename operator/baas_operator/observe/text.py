"""Words for people: sentences that end, numbers that agree with their noun, and what others said, cut where it may be."""

from __future__ import annotations

import re

_PREEMPTION = re.compile(r",?\s*(no new claims to deallocate,\s*)?preemption: .*$", re.DOTALL)
"""What the scheduler says last of every pod that has no place: that there is nobody to drive out."""


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, cut between two words where there are any."""
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    words = head.rpartition(" ")[0]
    return (words if len(words) > limit // 3 else head).rstrip(" ,;:") + "…"


def of_scheduler(text: str) -> str:
    """Why a pod has no place, without what the scheduler adds about preemption."""
    return _PREEMPTION.sub("", text)


def sentence(text: str) -> str:
    """The text with its full stop."""
    text = text.strip()
    return text if not text or text[-1] in ".…!?" else f"{text}."


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`0 servers`, `1 server`, `3 servers`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def are(number: int) -> str:
    """`is` for one, `are` for others."""
    return "is" if number == 1 else "are"
