"""One process of a test's: its output in a file, its readiness a URL."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGTERM

import aiohttp

_READY_SECONDS = 40.0
_END_SECONDS = 30.0
_LOOK_SECONDS = 0.05


class Process:
    """A program with an environment of its own (nothing of the test's but PATH)."""

    def __init__(
        self, name: str, command: Sequence[str | Path], folder: Path, *, environment: Mapping[str, str], ready: str | None = None,
        where: Path | None = None,
    ) -> None:  # fmt: skip
        self.name, self.ready = name, ready
        self.environment = dict(environment)
        self._command, self._where = [str(each) for each in command], where or folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `wait` tells when it is ready."""
        with self._log.open("ab") as log:
            env = {"PATH": os.environ["PATH"], **self.environment}
            self._process = subprocess.Popen(self._command, cwd=self._where, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    async def wait(self, status: int = 200, seconds: float = _READY_SECONDS) -> None:
        """Until it answers at `ready` with this status."""
        assert self.ready
        deadline = asyncio.get_running_loop().time() + seconds
        seen: object = None
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while seen != status:
                assert self._process is None or self._process.poll() is None, f"{self.name} ended: {self.said}"
                assert asyncio.get_running_loop().time() < deadline, f"{self.name} is not ready, {seen}: {self.said}"
                try:
                    async with session.get(self.ready) as answer:
                        seen = answer.status
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    seen = error
                await asyncio.sleep(_LOOK_SECONDS)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(number)

    def end(self, number: int = SIGTERM) -> int:
        """End it with a signal; its exit code. One that does not end is killed, and that is a failure."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"{self.name} did not end within {_END_SECONDS:.0f} s: {self.said}") from None
        finally:
            self._process = None

    @property
    def resident_kilobytes(self) -> int:
        """Memory that it has."""
        assert self._process
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    @property
    def said(self) -> str:
        """The end of its output."""
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""
