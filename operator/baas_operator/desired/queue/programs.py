"""What the workers and jobs of backends are called in the queue that they use."""

from __future__ import annotations

from dataclasses import dataclass

from baas_operator.api.instance.programs import Program, Worker
from baas_operator.api.streams import QueueUser
from baas_operator.desired.queue import names


class ProgramUser(QueueUser):
    """A program's user. `keeps`: (stream, consumer) of its own that JetStream has, whatever is declared by now: what its pods have in hand
    they may still acknowledge."""

    keeps: list[tuple[str, str]] = []


@dataclass(frozen=True)
class QueueProgram:
    """A worker or job, and the BaasInstance that it belongs to."""

    instance: str
    program: Program

    @property
    def user(self) -> str:
        """Its user. A declared user has no full stop in its name; the last word keeps a program that is called `…-alt` from being the
        other name of another."""
        return f"{self.instance}.{self.program.name}.{'worker' if isinstance(self.program, Worker) else 'job'}"

    @property
    def has_login(self) -> bool:
        """Whether it has to do with the queue at all."""
        return isinstance(self.program, Worker) or bool(self.program.publish)

    def secret(self, queue: str) -> str:
        """Secret with its login."""
        return names.user_secret(queue, self.user)

    @property
    def consumer(self) -> str:
        """Consumer of a worker. Neither name has an underscore in it, so that no two backends' are the same."""
        assert isinstance(self.program, Worker)
        return self.program.consumer or self.own_consumer

    @property
    def own_consumer(self) -> str:
        """The one that is made for a worker that names none."""
        return f"{self.instance}_{self.program.name}"
