"""Waiting for conditions, never for time."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from baas_lab.errors import LabError

POLL_SECONDS = 0.25


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float, what: str, poll_seconds: float = POLL_SECONDS) -> None:
    """Return as soon as `condition()` is true. Raises LabError, naming `what`, after `timeout_seconds`."""
    attempts = Retrying(
        retry=retry_if_result(lambda reached: not reached),
        stop=stop_after_delay(timeout_seconds),
        wait=wait_fixed(poll_seconds),
    )
    try:
        attempts(condition)
    except RetryError as error:
        raise LabError(f"Waited {timeout_seconds:.0f} s, and still not: {what}.") from error
