"""What stands beside every server loads no libraries that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("program", ["agent", "pooler", "queue_agent", "prober"])
def test_neither_pydantic_nor_a_command_line_is_loaded(program: str) -> None:
    look = (
        f"import sys, baas_operator.__main__, baas_operator.{program}.main; "
        "print({'pydantic', 'typer', 'rich', 'kopf', 'kubernetes'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"
