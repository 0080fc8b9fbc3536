"""Fixtures: the lab with the operator in it, as the end-to-end tests have it. `BAAS_LAB_AS_IS` and `BAAS_KEEP_LAB` work here, too."""

from __future__ import annotations

from tests.e2e.conftest import lab

__all__ = ["lab"]
