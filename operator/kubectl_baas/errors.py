"""The one error that commands raise for people to read."""

from __future__ import annotations

NOT_READY = 1
"""Exit code: the answer is "no" (something is not Ready, an Operation was refused or failed, a check failed)."""
ERROR = 2
"""Exit code: there is no answer (wrong usage, no connection, no permission)."""


class PluginError(Exception):
    """Something that the user reads as one sentence. `status`: the HTTP status behind it, when the API server said no."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
