"""Operand text (configuration files, SQL) from templates; manifests are never made this way."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def _sql_literal(text: str) -> str:
    """Quote text as a PostgreSQL string literal (manual 4.1.2.1: double the quotes)."""
    return "'" + text.replace("'", "''") + "'"


def _sql_identifier(text: str) -> str:
    """Quote text as a PostgreSQL identifier (manual 4.1.1)."""
    return '"' + text.replace('"', '""') + '"'


_ENVIRONMENT = Environment(
    loader=PackageLoader("baas_operator.desired", "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - no HTML here; what goes into SQL or YAML is quoted by the filters below
)
_ENVIRONMENT.filters["json"] = lambda value: json.dumps(value, sort_keys=True)
_ENVIRONMENT.filters["literal"] = _sql_literal
_ENVIRONMENT.filters["identifier"] = _sql_identifier


def render(template: str, **values: Any) -> str:
    """Fill a template of `templates/`.

    Raises:
        jinja2.UndefinedError: the template uses a value that was not given.
    """
    return _ENVIRONMENT.get_template(template).render(**values)
