"""Programs that the lab runs: output captured or kept in a log file, failures as sentences."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from baas_lab.errors import CommandFailed, Missing

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
    returned. Raises CommandFailed on a non-zero exit (unless `check` is false) or when `timeout_seconds` passed,
    Missing when the program does not exist. `env` is added to the environment, not a replacement of it.
    """
    words = [str(word) for word in args]
    environment = {**os.environ, **(env or {})}
    data = input.encode() if isinstance(input, str) else input
    stdin = {"input": data} if data is not None else {"stdin": subprocess.DEVNULL}
    try:
        if log is None:
            done = subprocess.run(
                words, env=environment, cwd=cwd, capture_output=True, timeout=timeout_seconds, check=False, **stdin
            )  # type: ignore[call-overload]
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as sink:
                sink.write(f"$ {shlex.join(words)}\n".encode())
                sink.flush()
                done = subprocess.run(
                    words,
                    env=environment,
                    cwd=cwd,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    timeout=timeout_seconds,
                    check=False,
                    **stdin,
                )  # type: ignore[call-overload]
    except FileNotFoundError as error:
        raise Missing(f"The program {words[0]} is not installed, or not on PATH.") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(
            f"`{brief(words)}` did not end within {timeout_seconds:.0f} s.", returncode=124, output="", log=log
        ) from error
    result = subprocess.CompletedProcess(
        words, done.returncode, (done.stdout or b"").decode(errors="replace"), (done.stderr or b"").decode(errors="replace")
    )
    if check and result.returncode != 0:
        said = tail(log.read_text(errors="replace")) if log else tail(result.stderr or result.stdout)
        raise CommandFailed(
            f"`{brief(words)}` failed with exit code {result.returncode}.",
            returncode=result.returncode,
            output=said,
            log=log,
        )
    return result


def brief(words: Sequence[str], limit: int = 120) -> str:
    """A command line short enough for a sentence."""
    line = shlex.join(words)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of an output, which is where programs say what went wrong."""
    return "\n".join(text.strip().splitlines()[-lines:])
