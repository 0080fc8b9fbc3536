"""Quantities, as Kubernetes writes them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baas_operator.desired.quantity import parse, parse_bytes


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"), ("250m", "0.25"), ("2", "2"), ("1.5", "1.5"), ("1k", "1000"), ("1Ki", "1024"), ("1M", "1000000"),
        ("1Mi", "1048576"), ("1.5Gi", "1610612736"), ("2Ti", "2199023255552"), ("3T", "3000000000000"),
        ("1Pi", "1125899906842624"), ("2P", "2000000000000000"), ("1Ei", "1152921504606846976"), ("1E", "1000000000000000000"),
        ("5e9", "5000000000"), ("12E6", "12000000"), ("128974848e+0", "128974848"), ("500u", "0.0005"), ("1n", "0.000000001"),
    ],
)  # fmt: skip
def test_table(text: str, value: str) -> None:
    assert parse(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1gi", "1KB", "-1", "1..5", "١", "1e", "1e3Ki", "1e999", "1Gi ", "1Gi\n"])
def test_what_is_no_quantity_is_an_error_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse(text)


@given(st.integers(1, 10**6), st.sampled_from(["Ki", "Mi", "Gi", "Ti"]))
def test_sizes_are_whole_bytes(number: int, unit: str) -> None:
    assert parse_bytes(f"{number}{unit}") == number * 1024 ** (["Ki", "Mi", "Gi", "Ti"].index(unit) + 1)
