"""Every reason that the code can give is in the reference, and none is there that no code gives."""

from __future__ import annotations

import re
from pathlib import Path

from baas_operator.engine.errors import CHILD_GOING, OLD_CHILDREN_GOING
from baas_operator.observe.reasons import REASONS

PACKAGE = Path(__file__).resolve().parents[2] / "operator" / "baas_operator"
GIVEN = re.compile(r'(?:Finding|Refused|refusal)\(\s*(f?)"([^"]+)"|Condition\([^"]*?"([A-Z][A-Za-z]+)"')

KINDS = (("DatabaseReplica", "Secret"), ("EventQueue", "ConfigMap"))
"""What `{kind.name}` and, for what the user made, `{one.kind.name}` stand for in a reason."""
WAITS = {CHILD_GOING, OLD_CHILDREN_GOING}
"""Of those that a reconcile waits with, the ones that it tells."""


def given() -> set[str]:
    found: set[str] = set()
    for path in [*(PACKAGE / "policy").rglob("*.py"), *(PACKAGE / "engine").glob("*.py")]:
        for formatted, reason, condition in GIVEN.findall(path.read_text()):
            if formatted:
                found |= {reason.replace("{kind.name}", kind).replace("{one.kind.name}", other) for kind, other in KINDS}
            else:
                found.add(reason or condition)
    return found - {"True"} | WAITS


def test_every_reason_that_is_given_is_documented() -> None:
    assert given() - set(REASONS) == set()


def test_every_documented_reason_is_given() -> None:
    assert set(REASONS) - given() == set()
