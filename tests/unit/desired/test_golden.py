"""Every manifest as it is, to be read in a review: a change of one is a change of its file in `golden/`.

`UPDATE_GOLDEN=1 pytest tests/unit/desired/test_golden.py` writes them anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.desired.rendered import CASES, CHILDREN

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


class _Dumper(yaml.SafeDumper):
    """Text of many lines as such, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _text)


@pytest.mark.parametrize(("kind", "size"), CASES)
def test_manifests_are_as_they_were_reviewed(kind: str, size: str) -> None:
    made = yaml.dump_all(CHILDREN[kind, size], Dumper=_Dumper, sort_keys=False, width=140)
    path = GOLDEN / f"{kind.lower()}-{size}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(made)

    assert made == path.read_text(), "if this is meant, run the test with UPDATE_GOLDEN=1 and commit what it wrote"


def test_there_is_no_file_that_nothing_makes() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{kind.lower()}-{size}.yaml" for kind, size in CASES}
