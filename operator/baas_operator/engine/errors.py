"""Errors, by what the loop should do about them."""

from __future__ import annotations

CHILD_GOING = "ChildGoing"
OLD_CHILDREN_GOING = "OldChildrenGoing"
"""Reasons to wait: a child is being deleted, its own or one of an earlier object of the same name."""


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
        return self.status == 409 and not self.denied

    @property
    def denied(self) -> bool:
        """Whether an admission webhook refused it, whatever status that chose: the API server hands it on, a conflict's, too."""
        return self.message.startswith("admission webhook ")

    @property
    def invalid(self) -> bool:
        """Whether the object itself was refused: it will be refused again until somebody changes something."""
        # What has an entry of a list twice, such as two containers of a name, server-side apply answers with 500 (measured on 1.34).
        refused = self.status in (400, 403, 413, 422) or self.denied
        return (refused and not self.terminating) or self.message.startswith("failed to create typed patch object")

    @property
    def terminating(self) -> bool:
        """Whether it was refused as the namespace is being deleted: all is over soon."""
        return self.status == 403 and "being terminated" in self.message


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


class ObjectRefused(Refused):
    """The same of one object of a plan. What does not need it goes on."""


class Failing(Exception):  # noqa: N818 - as above
    """The API server could not take one object of a plan, by no fault of that object. It is tried again."""
