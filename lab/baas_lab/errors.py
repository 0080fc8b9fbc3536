"""What the lab says when it cannot go on: one sentence about what is missing, one about what to do."""

from __future__ import annotations

from pathlib import Path


class LabError(Exception):
    """A failure that its reader can act on. `log` holds the full output of what failed, where there is any."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log

    def __str__(self) -> str:
        parts = [self.message, self.hint, f"Full output: {self.log}" if self.log else ""]
        return "\n".join(part for part in parts if part)


class MissingError(LabError):
    """The machine lacks something that the lab cannot install by itself."""

    exit_code = 3


class NoClusterError(LabError):
    """A command that needs a running cluster found none."""

    exit_code = 4


class CommandError(LabError):
    """A program ended with an error; `returncode` is its own, `output` the end of what it said."""

    def __init__(self, message: str, *, returncode: int, output: str, log: Path | None = None) -> None:
        super().__init__(message, hint=output, log=log)
        self.returncode = returncode
        self.output = output
