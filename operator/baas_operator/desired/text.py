"""Operand text (configuration files, SQL) from templates; manifests are never made this way."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined


def _sql_literal(text: str) -> str:
    """Quote text as a PostgreSQL string literal (manual 4.1.2.1: double the quotes)."""
    return "'" + text.replace("'", "''") + "'"


def _sql_identifier(text: str) -> str:
    """Quote text as a PostgreSQL identifier (manual 4.1.1)."""
    return '"' + text.replace('"', '""') + '"'


_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def _json(value: Any) -> str:
    """JSON on one line that YAML reads as the same (YAML 1.1 takes a surrogate pair of escapes for two characters, so what is
    printable is written as it is)."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_UNKNOWN_TO_NATS = re.compile(r"\\(?:u00([0-9a-f]{2})|(.))")
_NATS_ESCAPES = {"b": r"\x08", "f": r"\x0c"}


def _nats(value: Any) -> str:
    """JSON on one line that NATS' configuration reads as the same. Of JSON's escapes it does not know those of control characters, and
    takes nothing of a file that has one (nats-server 2.14.10, conf/lex.go)."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return _UNKNOWN_TO_NATS.sub(lambda found: rf"\x{found[1]}" if found[1] else _NATS_ESCAPES.get(found[2], found[0]), text)


def _userinfo(text: str) -> str:
    """Quote a user name or password as a part of a URL (RFC 3986, 3.2.1)."""
    return quote(text, safe="")


_ENVIRONMENT = Environment(
    loader=PackageLoader("baas_operator.desired", "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - no HTML here; what goes into SQL or YAML is quoted by the filters below
)
_ENVIRONMENT.filters["json"] = _json
_ENVIRONMENT.filters["nats"] = _nats
_ENVIRONMENT.filters["userinfo"] = _userinfo
_ENVIRONMENT.filters["literal"] = _sql_literal
_ENVIRONMENT.filters["identifier"] = _sql_identifier


def render(template: str, **values: Any) -> str:
    """Fill a template of `templates/`.

    Raises:
        jinja2.UndefinedError: the template uses a value that was not given.
    """
    return _ENVIRONMENT.get_template(template).render(**values)
