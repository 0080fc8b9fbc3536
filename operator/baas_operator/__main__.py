"""Entry point: `python -m baas_operator COMMAND`.

The same as `cli`, but that agents are begun without a command line: there is one beside every server, and Typer is a sixth of its memory.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Console script."""
    match sys.argv[1:]:
        case ["agent"]:
            from baas_operator.agent.main import run_agent

            run_agent()
        case ["pooler-agent"]:
            from baas_operator.pooler.main import run_pooler_agent

            run_pooler_agent()
        case ["queue-agent"]:
            from baas_operator.queue_agent.main import run_queue_agent

            run_queue_agent()
        case _:
            from baas_operator.cli import app

            app()


if __name__ == "__main__":
    main()
