"""Addresses as they stand in URLs."""

from __future__ import annotations


def authority(address: str, port: int) -> str:
    """An address and a port as they stand in a URL: one of IPv6 in brackets (RFC 3986, 3.2.2)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
