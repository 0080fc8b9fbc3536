"""What a prober does, by engine: each transaction is a coroutine that returns, or raises a Failure.

Several probers write at the same time, each to a slot of its own. A transaction leaves nothing behind but that slot, which the next one
writes over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from baas_operator.prober.config import Secrets
from baas_operator.prober.transactions.common import Result, Transactions
from baas_operator.prober.transactions.parse import Parse
from baas_operator.prober.transactions.supabase import Supabase

__all__ = ["ENGINES", "Result", "Transactions"]

ENGINES: Mapping[str, Callable[[Secrets, int, Mapping[str, str]], Transactions]] = {"supabase": Supabase, "parse": Parse}
"""`engine` of the configuration -> its transactions."""
