"""Kubernetes quantities (apimachinery's resource.Quantity) that are not negative: ours, and what the API server makes of others'."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_FACTORS: dict[str, int | Decimal] = {
    "": 1, "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("0.001"),
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


def parse(text: str) -> Decimal:
    """The number that a quantity stands for.

    Raises:
        ValueError: it is no quantity.
    """
    match = re.fullmatch(r"([0-9.]+(?:[eE][+-]?[0-9]{1,2}(?![A-Za-z]))?)([A-Za-z]*)", text)
    if not match or match[2] not in _FACTORS:
        raise ValueError(f"{text!r} is no quantity: give a number and one of {', '.join(filter(None, _FACTORS))}")
    try:
        return Decimal(match[1]) * _FACTORS[match[2]]
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no quantity: {match[1]!r} is no number") from error


def parse_bytes(text: str) -> int:
    """The bytes that a size stands for, such as 20Gi."""
    return int(parse(text))
