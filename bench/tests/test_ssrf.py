"""The bench of ways inside, as a test: it says the same of the code as of a release."""

from __future__ import annotations

from typing import Any

import pytest

from bench.ssrf.__main__ import broken, tried, within


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    return tried()


def test_nobody_comes_inside(found: list[dict[str, Any]]) -> None:
    assert broken(found) == []


def test_there_is_an_inside_to_come_to(found: list[dict[str, Any]]) -> None:
    """Where a plain client came nowhere, ours has proven nothing."""
    led = {each["url"] for each in found if within(each["plain"])}
    assert len(led) >= 25


def test_what_may_be_reached_is_reached(found: list[dict[str, Any]]) -> None:
    assert [each["url"] for each in found if not each["inside"] and each["plain"] == each["ours"] != []]


def test_one_that_comes_inside_is_told() -> None:
    came = {"kind": "a name", "url": "http://a/", "inside": True, "ours": ["1.1.1.1", "10.0.0.1"], "ours_says": "", "plain": []}
    assert broken([came]) == ["http://a/ (a name) led to 10.0.0.1"]
    assert broken([came | {"inside": False, "ours": []}])
