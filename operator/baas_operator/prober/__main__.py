"""`python -m baas_operator.prober`: the same as `python -m baas_operator probe`, at two thirds of its memory.

The command line of the others loads Typer, and that pydantic (14 MiB, measured): of no weight beside an operator, but of a third here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from baas_operator.prober.main import PORT, run_prober


def main() -> None:
    """Read the command line and probe."""
    parser = argparse.ArgumentParser(prog="baas_operator.prober", allow_abbrev=False)
    parser.add_argument("config", type=Path)
    parser.add_argument("secrets", type=Path)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--host")
    said = parser.parse_args()
    run_prober(said.config, said.secrets, said.port, said.host)


if __name__ == "__main__":
    main()
