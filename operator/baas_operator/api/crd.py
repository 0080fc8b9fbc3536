"""pydantic models -> CustomResourceDefinitions.

A CRD takes a *structural* schema (Kubernetes documentation, "Specifying a structural schema"): no `$ref`, no `anyOf` for the
shape, defaults that are complete objects. pydantic writes JSON schema with both, so this resolves the references, folds
`Optional[X]` into X, and drops what the API server has no use for.
"""

from __future__ import annotations

import re
from typing import Any

from baas_operator.api.group import GROUP, VERSION
from baas_operator.api.kinds import OWN_KINDS, OwnKind


def _name_rules(kind: OwnKind) -> list[dict[str, str]]:
    return [
        {
            "rule": f"size(self.metadata.name) <= {kind.max_name}",
            "message": f"metadata.name is too long: use at most {kind.max_name} characters, as names of children are longer.",
        },
        {
            "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "message": "metadata.name must be one DNS label: lower case letters, digits and '-', beginning with a letter.",
        },
        *kind.name_rules,
    ]


def _clean(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def structural(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """Turn one node of pydantic's JSON schema into a structural one.

    Raises:
        ValueError: the model uses a union that no structural schema can say.
    """
    if "$ref" in node:
        target = dict(defs[node["$ref"].rsplit("/", 1)[1]])
        extra = {key: value for key, value in node.items() if key != "$ref"}
        both = target.get("x-kubernetes-validations", []) + extra.get("x-kubernetes-validations", [])
        merged = target | extra | ({"x-kubernetes-validations": both} if both else {})
        return structural(merged, defs)
    if "anyOf" in node:
        branches = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
        if len(branches) != 1:
            raise ValueError(f"a union of {len(branches)} types has no structural schema: {node}")
        extra = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
        inner = structural(branches[0], defs)
        return inner | {k: v for k, v in structural(extra | {"type": inner["type"]}, defs).items() if k != "type"}
    made: dict[str, Any] = {}
    for key, value in node.items():
        match key:
            case "title" | "const" | "additionalProperties" if key != "additionalProperties" or isinstance(value, bool):
                continue
            case "properties":
                made[key] = {name: structural(prop, defs) for name, prop in value.items()}
            case "propertyNames":
                raise ValueError(f"no structural schema says what keys of a map may be; use a CEL rule: {node}")
            case "items" | "additionalProperties":
                made[key] = structural(value, defs)
            case "description":
                made[key] = _clean(value)
            case "default" if value is None:
                continue
            case "default" if isinstance(value, dict):
                made[key] = _without_nulls(value)
            case _:
                made[key] = value
    if "enum" in made:
        made["enum"] = list(made["enum"])
    if made.get("default") and made.get("type") == "object" and not _has_rules(made):
        # The API server fills nested defaults in by itself, so an empty object says the same and reads better. Where there are
        # CEL rules it must be whole: the API server runs them on the default as it is written, before anything is filled in.
        made["default"] = {}
    return made


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def _has_rules(node: Any) -> bool:
    if isinstance(node, dict):
        return "x-kubernetes-validations" in node or any(_has_rules(value) for value in node.values())
    return False


def _schema(kind: OwnKind) -> dict[str, Any]:
    spec = kind.spec.model_json_schema(by_alias=True)
    status = kind.status.model_json_schema(by_alias=True, mode="serialization")
    spec_schema = structural({k: v for k, v in spec.items() if k != "$defs"}, spec.get("$defs", {}))
    status_schema = structural({k: v for k, v in status.items() if k != "$defs"}, status.get("$defs", {}))
    _drop_defaults(status_schema)
    needs_spec = bool(spec_schema.get("required"))
    if not needs_spec:
        whole = kind.spec().model_dump(mode="json", by_alias=True, exclude_none=True)
        spec_schema["default"] = whole if _has_rules(spec_schema) else {}
    return {
        "type": "object",
        "description": kind.description,
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema,
            "status": status_schema,
        },
        "required": ["spec"] if needs_spec else [],
        "x-kubernetes-validations": _name_rules(kind),
    }


def _drop_defaults(node: Any) -> None:
    """A status says what is: nothing in it is filled in by a default, and nothing is required but list keys."""
    if isinstance(node, dict):
        node.pop("default", None)
        for value in node.values():
            _drop_defaults(value)
    elif isinstance(node, list):
        for value in node:
            _drop_defaults(value)


def crd(kind: OwnKind) -> dict[str, Any]:
    """The CustomResourceDefinition of one of our kinds, as a manifest."""
    schema = _schema(kind)
    if not schema["required"]:
        del schema["required"]
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale:
        spec_path, status_path = kind.scale
        subresources["scale"] = {
            "specReplicasPath": spec_path,
            "statusReplicasPath": status_path,
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": ["baas"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [
                        {"name": c.name, "jsonPath": c.json_path, "type": c.type}
                        | ({"priority": 1} if c.wide else {})
                        | ({"description": c.description} if c.description else {})
                        for c in kind.columns
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def all_crds() -> dict[str, dict[str, Any]]:
    """File name -> CRD, for `crds/` and the chart's copy."""
    return {f"{GROUP}_{kind.plural}.yaml": crd(kind) for kind in OWN_KINDS}
