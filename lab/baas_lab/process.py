"""Programs that the lab runs: output captured or kept in a log file, failures as sentences."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from baas_lab.errors import CommandError, MissingError

TAIL_LINES = 15


def run(
    args: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    input: str | bytes | None = None,
    timeout_seconds: float | None = None,
    log: Path | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end.

    With `log`, both streams are appended there and the result's stdout is empty; without, stdout and stderr are
    returned. Raises CommandError on a non-zero exit (unless `check` is false) or when `timeout_seconds` passed,
    MissingError when the program does not exist. `env` is added to the environment, not a replacement of it.
    """
    words = [str(word) for word in args]
    environment = {**os.environ, **(env or {})}
    try:
        if log is None:
            done = _wait_for(words, environment, cwd, input, timeout_seconds, subprocess.PIPE, subprocess.PIPE)
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as sink:
                sink.write(f"$ {shlex.join(words)}\n".encode())
                sink.flush()
                done = _wait_for(words, environment, cwd, input, timeout_seconds, sink, subprocess.STDOUT)
    except FileNotFoundError as error:
        raise MissingError(f"The program {words[0]} is not installed, or not on PATH.") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"`{brief(words)}` did not end within {timeout_seconds:.0f} s.", returncode=124, output="", log=log) from error
    result = subprocess.CompletedProcess(
        words, done.returncode, (done.stdout or b"").decode(errors="replace"), (done.stderr or b"").decode(errors="replace")
    )
    if check and result.returncode != 0:
        said = tail(log.read_text(errors="replace")) if log else tail(result.stderr or result.stdout)
        raise CommandError(
            f"`{brief(words)}` failed with exit code {result.returncode}.",
            returncode=result.returncode,
            output=said,
            log=log,
        )
    return result


def _wait_for(
    words: list[str],
    environment: dict[str, str],
    cwd: Path | None,
    input: str | bytes | None,
    timeout_seconds: float | None,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
) -> subprocess.CompletedProcess[bytes]:
    data = input.encode() if isinstance(input, str) else input
    stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
    with subprocess.Popen(words, env=environment, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr) as process:
        try:
            out, err = process.communicate(data, timeout=timeout_seconds)
        except BaseException:  # also on Ctrl-C: nothing that we started goes on by itself
            process.kill()
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def brief(words: Sequence[str], limit: int = 120) -> str:
    """A command line short enough for a sentence."""
    line = shlex.join(words)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of an output, which is where programs say what went wrong."""
    return "\n".join(text.strip().splitlines()[-lines:])
