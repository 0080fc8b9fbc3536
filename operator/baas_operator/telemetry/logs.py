"""JSON logs: one object a line, with the object and the reconcile that it is about."""

from __future__ import annotations

import contextvars
import logging
import sys

from pythonjsonlogger.json import JsonFormatter

reconcile_id: contextvars.ContextVar[str] = contextvars.ContextVar("reconcile_id", default="")
object_key: contextvars.ContextVar[str] = contextvars.ContextVar("object_key", default="")


class _Context(logging.Filter):
    """Adds what the line is about, so that no call has to say it again."""

    def filter(self, record: logging.LogRecord) -> bool:
        if value := object_key.get():
            record.object = value
        if value := reconcile_id.get():
            record.reconcile = value
        return True


def set_up(level: str) -> None:
    """Send all logs to standard output as JSON.

    Raises:
        ValueError: there is no such level.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s",
                      rename_fields={"asctime": "time", "levelname": "level", "name": "logger"})
    )  # fmt: skip
    handler.addFilter(_Context())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # kopf logs each event of each object at debug and each handler at info: the reconciles tell the same, once.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    # What asyncio says each time that a connection of nats-py over TLS ends: the protocol is asyncio's own StreamReader's.
    logging.getLogger("asyncio").addFilter(lambda record: "eof_received() has no effect" not in record.getMessage())
