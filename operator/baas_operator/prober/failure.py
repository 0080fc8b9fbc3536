"""What went wrong with a transaction, in a sentence for people."""

from __future__ import annotations

_MAX_QUOTE = 160
"""Characters of somebody else's words that are repeated: the cause comes first."""


class Failure(Exception):  # noqa: N818 - it is a result, and no mistake of this program
    """A transaction that did not do what it should. `kind`: a word that stays the same while the cause does, such as `503` or `timeout`;
    the sentence may differ each time."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def quoted(text: str | bytes) -> str:
    """The first line of what somebody said, without what no log should hold, and not too much of it."""
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    line = next((each.strip() for each in said.splitlines() if each.strip()), "")
    clean = "".join(each if each.isprintable() else " " for each in line)
    return clean if len(clean) <= _MAX_QUOTE else clean[: _MAX_QUOTE - 1].rstrip() + "…"
