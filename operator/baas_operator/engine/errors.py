"""Errors, by what the loop should do about them."""

from __future__ import annotations


class ApiError(Exception):
    """The API server refused a request. `status` is the HTTP status, `message` its own sentence."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def not_found(self) -> bool:
        """Whether there is no such object."""
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """Whether somebody else was faster: look again and decide again."""
        return self.status == 409

    @property
    def invalid(self) -> bool:
        """Whether the object itself was refused: it will be refused again until somebody changes something."""
        return self.status in (400, 403, 422)


class Waiting(Exception):  # noqa: N818 - it is a state, no error
    """Nothing is wrong; it is too early. The reconcile comes back after `seconds`."""

    def __init__(self, reason: str, message: str, seconds: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.seconds = seconds


class Refused(Exception):  # noqa: N818 - as above
    """Going on would be unsafe or impossible until somebody changes something; the conditions say what."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
