"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Name = Annotated[str, typer.Option("--name", help="The cluster's name.")]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="In full, short (worker2), or a zone's only node (zone-b).")]
