"""Property tests have no deadline (the machine may be busy) and keep no database: a failure prints what reproduces it."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None, database=None, print_blob=True, max_examples=100)
settings.load_profile("unit")
