"""JSON schemas of every kind, for kubeconform: built-in ones from a real kube-apiserver, ours from the CRDs.

Strict: a field that the API server does not know is an error. They are made once a Kubernetes version and kept in the user's cache,
as the usual collections of such schemas are on the network and ours may not be.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from baas_lab import versions
from tests.control_plane.harness.cluster import ControlPlane

Schema = dict[str, Any]

FORMAT = 1
"""Raise it when this file makes other schemas out of the same API: it is part of the cache's key."""

_PREFIX = "#/definitions/"
_GVK = "x-kubernetes-group-version-kind"
_INT_OR_STRING = {"type": ["string", "integer", "null"]}
_QUANTITY = {"type": ["string", "number", "null"]}


def folder() -> Path:
    """The folder with the built-in kinds' schemas; starts a control plane and makes them where they are missing."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "baas-operator"
    made = cache / f"schemas-{versions.KUBERNETES}-{FORMAT}"
    if not made.exists():
        control_plane = ControlPlane.up()
        try:
            status, api = control_plane.request("GET", "/openapi/v2")
            assert status == 200, api
        finally:
            control_plane.down()
        staged = cache / f".schemas-{os.getpid()}"
        staged.mkdir(parents=True)
        for name, schema in built_in(api["definitions"]):
            (staged / name).write_text(json.dumps(schema))
        try:
            staged.rename(made)
        except OSError:  # another process was faster
            shutil.rmtree(staged)
    return made


def file_name(group: str, version: str, kind: str) -> str:
    """What kubeconform's `{{.ResourceKind}}{{.KindSuffix}}.json` becomes."""
    first = group.partition(".")[0]
    return "-".join(filter(None, (kind.lower(), first, version.lower()))) + ".json"


def built_in(definitions: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """File name and schema of each kind in an OpenAPI v2 document's definitions, each with all that it refers to."""
    strict = {name: _strict(name, schema) for name, schema in definitions.items()}
    for name, schema in definitions.items():
        kinds = schema.get(_GVK, [])
        if len(kinds) == 1 and not kinds[0]["group"].startswith("baas-operator"):
            needed = {each: strict[each] for each in sorted(_closure(name, strict))}
            whole = strict[name] | {"definitions": needed}
            yield file_name(kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]), whole


def own(crds: Path) -> Iterator[tuple[str, Schema]]:
    """File name and schema of each kind of ours, with the metadata that every object has."""
    for path in sorted(crds.glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = _strict("", version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            yield file_name(spec["group"], version["name"], spec["names"]["kind"]), schema


def _closure(name: str, definitions: dict[str, Schema]) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        for reference in _references(definitions[todo.pop()]):
            if reference not in found:
                found.add(reference)
                todo.append(reference)
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_PREFIX)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _strict(name: str, schema: Schema) -> Schema:
    if name.endswith(".Quantity"):
        return _QUANTITY
    if name.endswith(".JSON") or name.endswith((".JSONSchemaPropsOrBool", ".JSONSchemaPropsOrArray")):
        return {}
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return _INT_OR_STRING
    made = {key: value for key, value in schema.items() if key not in ("format", "default") and not key.startswith("x-")}
    required = schema.get("required", [])
    if "properties" in schema:
        made["properties"] = {
            key: _nullable(_strict("", value)) if key not in required else _strict("", value) for key, value in schema["properties"].items()
        }
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = _strict("", schema[key])
    return made


def _nullable(schema: Schema) -> Schema:
    """Left out and null are the same to the API server."""
    if isinstance(schema.get("type"), str):
        return schema | {"type": [schema["type"], "null"]} | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})
    return schema
