"""The API as a document: fields, defaults, bounds and rules, out of the same schema that the API server enforces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from baas_operator.api.crd import crd
from baas_operator.api.database import RESERVED_PARAMETERS
from baas_operator.api.kinds import OWN_KINDS, OwnKind


def _type(node: dict[str, Any]) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{each}`" for each in node["enum"])
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}"
    if node.get("type") == "object" and "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    bounds = [f"{word} {node[key]}" for key, word in (("minimum", "≥"), ("maximum", "≤")) if key in node]
    return " ".join([node.get("type", "any"), *bounds])


def _fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    required = set(node.get("required", []))
    for name, child in (node.get("properties") or {}).items():
        here = f"{path}.{name}"
        yield here, child, name in required
        inner, inner_path = (child["items"], f"{here}[]") if child.get("type") == "array" else (child, here)
        yield from _fields(inner, inner_path)


def _rules(node: dict[str, Any]) -> Iterator[str]:
    for each in node.get("x-kubernetes-validations", []):
        yield each["message"]
    for key in ("properties",):
        for child in (node.get(key) or {}).values():
            yield from _rules(child)
    if "items" in node:
        yield from _rules(node["items"])


def _default(node: dict[str, Any]) -> str:
    if "default" not in node or isinstance(node["default"], dict):
        return ""
    return f"`{json.dumps(node['default'])}`"


def _kind(kind: OwnKind) -> str:
    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    lines = [f"## {kind.name}", "", f"{kind.description} Short name: `{kind.short}`.", ""]
    for part in ("spec", "status"):
        lines += [f"### {kind.name} {part}", "", "| field | type | default | what it is |", "|---|---|---|---|"]
        for path, node, required in _fields(schema["properties"][part], part):
            description = node.get("description", "").replace("|", "\\|")
            default = "**required**" if required and part == "spec" else _default(node)
            lines.append(f"| `{path}` | {_type(node)} | {default} | {description} |")
        lines.append("")
    said = list(dict.fromkeys(_rules(schema)))
    lines += ["What the API server refuses, and says:", "", *(f"- {each}" for each in said), ""]
    return "\n".join(lines)


def reference(reasons: dict[str, str], metrics: dict[str, list[tuple[str, str, str]]]) -> str:
    """The whole reference. `metrics`: whose -> (name, type, what it is)."""
    parts = [
        "# Reference\n\nMade by `make generate` from the models; do not edit.\n",
        *(_kind(kind) for kind in OWN_KINDS),
        "## Reserved parameters\n",
        "The operator or Patroni sets these, or needs them as they are, to keep data safe and clients served; "
        "`spec.parameters` of a DatabaseReplica takes none of them:\n",
        ", ".join(f"`{name}`" for name in sorted(RESERVED_PARAMETERS)) + ".\n",
        "## Reasons of conditions\n\n| reason | what it says |\n|---|---|",
        *(f"| `{name}` | {text} |" for name, text in sorted(reasons.items())),
    ]
    for whose, table in metrics.items():
        parts.append(f"\n## Metrics of the {whose}\n\n| metric | type | what it is |\n|---|---|---|")
        parts += [f"| `{name}` | {kind} | {text} |" for name, kind, text in table]
    return "\n".join(parts) + "\n"
