"""One Docker daemon, through its command line. Which daemon that is, `daemon.py` decides."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baas_lab.errors import CommandError
from baas_lab.process import run

REGISTRY_PROBE_SECONDS = 10.0  # where there is no registry, an attempt must not hold anyone up
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Docker:
    """A daemon. `host` is its DOCKER_HOST (None: whatever the command line defaults to); `private`: the lab started it."""

    host: str | None = None
    private: bool = False

    @property
    def env(self) -> dict[str, str]:
        """What a program needs in its environment to talk to this daemon."""
        env = {"DOCKER_HOST": self.host} if self.host else {}
        if self.private:
            env["DOCKER_BUILDKIT"] = "0"  # Debian's docker.io has no buildx
        return env

    def run(
        self,
        *args: str | Path,
        input: str | bytes | None = None,
        timeout_seconds: float | None = None,
        log: Path | None = None,
    ) -> str:
        """`docker ARGS`: its stdout (empty when it went to `log`). Raises CommandError."""
        return run(["docker", *args], env=self.env, input=input, timeout_seconds=timeout_seconds, log=log).stdout

    def succeeds(self, *args: str | Path, timeout_seconds: float = 60.0) -> bool:
        """Whether `docker ARGS` ends with exit code 0 in time."""
        try:
            self.run(*args, timeout_seconds=timeout_seconds)
        except CommandError:
            return False
        return True

    def answers(self) -> bool:
        return self.succeeds("version", "--format", "{{.Server.Version}}", timeout_seconds=ANSWER_SECONDS)

    def version(self) -> str:
        return self.run("version", "--format", "{{.Server.Version}}").strip()

    # images

    def image_exists(self, reference: str) -> bool:
        return self.succeeds("image", "inspect", reference)

    def image_id(self, reference: str) -> str:
        """The image's content digest (`sha256:…`). Raises CommandError when there is no such image."""
        return self.run("image", "inspect", "--format", "{{.Id}}", reference).strip()

    def pull(self, reference: str) -> bool:
        """Pull an image if a registry has it and can be reached; false, and soon, if not."""
        if not self.succeeds("manifest", "inspect", reference, timeout_seconds=REGISTRY_PROBE_SECONDS):
            return False
        self.run("pull", "--quiet", reference)
        return True

    def build(
        self,
        context: Path,
        tag: str,
        *,
        dockerfile: Path | None = None,
        target: str | None = None,
        args: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        """Build an image. Steps run in the host's network namespace: name resolution is the host's own."""
        words: list[str | Path] = ["build", "--network", "host", "--tag", tag]
        if dockerfile:
            words += ["--file", dockerfile]
        if target:
            words += ["--target", target]
        for name, value in (args or {}).items():
            words += ["--build-arg", f"{name}={value}"]
        for name, value in (labels or {}).items():
            words += ["--label", f"{name}={value}"]
        self.run(*words, context, log=log)

    def import_root(self, tar: Path, reference: str, *, changes: Sequence[str] = ()) -> None:
        """Make an image of one layer out of a root file system; `changes` are Dockerfile lines (`ENV …`)."""
        words: list[str | Path] = ["import"]
        for change in changes:
            words += ["--change", change]
        self.run(*words, tar, reference)

    # containers

    def exec(self, container: str, *args: str, input: str | None = None, timeout_seconds: float | None = 60.0) -> str:
        """Run a program in a running container; its stdout. Raises CommandError."""
        words = ["exec", *(["-i"] if input is not None else []), container, *args]
        return self.run(*words, input=input, timeout_seconds=timeout_seconds)

    def shell(self, container: str, script: str, *, timeout_seconds: float | None = 60.0) -> str:
        """Run a shell script in a running container, stopping at its first error; its stdout."""
        return self.exec(container, "sh", "-euc", script, timeout_seconds=timeout_seconds)

    def inspect(self, container: str) -> dict[str, Any]:
        """`docker inspect` of one container. Raises CommandError when it does not exist."""
        found: list[dict[str, Any]] = json.loads(self.run("container", "inspect", container))
        return found[0]


def default_docker() -> Docker:
    """The daemon that a plain `docker` would talk to."""
    return Docker(host=os.environ.get("DOCKER_HOST") or None)
