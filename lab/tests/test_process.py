"""Programs that fail are reported as sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from baas_lab.errors import CommandError, LabError, MissingError
from baas_lab.process import brief, run, tail
from baas_lab.waiting import wait_until


def test_output_comes_back() -> None:
    assert run(["sh", "-c", "cat; echo $WORD"], input="in ", env={"WORD": "out"}).stdout == "in out\n"


def test_a_failure_says_what_failed_and_how() -> None:
    with pytest.raises(CommandError) as failure:
        run(["sh", "-c", "echo no such thing >&2; exit 3"])
    assert failure.value.returncode == 3
    assert "exit code 3" in str(failure.value)
    assert "no such thing" in str(failure.value)


def test_a_failure_names_its_log(tmp_path: Path) -> None:
    log = tmp_path / "logs/step.log"
    with pytest.raises(CommandError) as failure:
        run(["sh", "-c", "echo the reason; exit 1"], log=log)
    assert str(log) in str(failure.value)
    assert "the reason" in str(failure.value)
    assert log.read_text().startswith("$ sh -c")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(MissingError, match="no-such-program-here"):
        run(["no-such-program-here"])


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(CommandError, match="did not end"):
        run(["sleep", "60"], timeout_seconds=0.1)


def test_long_commands_are_shortened() -> None:
    assert len(brief(["x" * 500])) == 120
    assert tail("\n".join(str(number) for number in range(100)), lines=2) == "98\n99"


def test_waiting_ends_with_the_condition_or_names_it() -> None:
    answers = iter([False, False, True])
    wait_until(lambda: next(answers), timeout_seconds=5, what="it is so", poll_seconds=0.001)
    with pytest.raises(LabError, match="it is so"):
        wait_until(lambda: False, timeout_seconds=0.01, what="it is so", poll_seconds=0.001)
