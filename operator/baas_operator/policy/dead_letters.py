"""Dead letters that are about to expire: what somebody should look at before it is gone."""

from __future__ import annotations

from datetime import datetime, timedelta

from baas_operator.api.streams import DeadLetter
from baas_operator.observe.moments import read_time
from baas_operator.observe.text import are, counted
from baas_operator.policy.plan import Finding


def expiring(stream: str, count: int, oldest: str | None, letters: DeadLetter, now: datetime) -> Finding | None:
    """Why somebody should look at the dead letters of a stream now. `oldest`: when the oldest was buried, in RFC 3339, as NATS tells it."""
    since = read_time(oldest)
    if not count or since is None:
        return None
    gone = since + timedelta(hours=letters.max_age_hours)
    if now < gone - timedelta(hours=letters.alarm_hours):
        return None
    hours = max(0, int((gone - now).total_seconds() // 3600))
    return Finding(
        "DeadLettersExpiring",
        f"{counted(count, 'dead letter')} of {stream} {are(count)} kept, and the oldest expires in {counted(hours, 'hour')}: replay or "
        "purge what is there (`kubectl baas dlq list`), or raise deadLetter.maxAgeHours.",
    )
