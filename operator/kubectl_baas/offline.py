"""`kubectl baas render`: the manifests that the operator would make, without a cluster.

Generated secrets are never among them: each is a comment with its name and its keys. What depends on drawn secrets reads
REDACTED. Manifests are those for a cluster of three zones where all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from baas_operator.api.group import API_VERSION
from baas_operator.api.kinds import OPERATION, OWN_KINDS
from baas_operator.desired.render import render, secret_requests
from baas_operator.desired.secrets import SecretRequest
from kubectl_baas.errors import PluginError

Manifest = dict[str, Any]

_RENDERED = {kind.name for kind in OWN_KINDS} - {OPERATION.name}
_RECIPE_KEYS = {"signing-key": "a key pair that signs API keys", "api-keys": "API keys for clients"}


def load(text: str, source: str, namespace: str | None) -> list[Manifest]:
    """The custom resources of a YAML text, each with a namespace (its own, else `namespace`, else `default`). Other kinds are
    passed over, as an ordinary manifest has them too; lists are opened.

    Raises:
        PluginError: it is not YAML, or holds something that is no manifest.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: what looks like a date and is none
        raise PluginError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    made = []
    for where, each in _opened((f"{source}, document {index}", each) for index, each in enumerate(documents, 1) if each is not None):
        if not isinstance(each, dict) or "kind" not in each:
            raise PluginError(f"{where} is no manifest: it has no kind.")
        if not isinstance(each["kind"], str):
            raise PluginError(f"{where} is no manifest: its kind is {each['kind']!r}, and has to be a text.")
        if each.get("apiVersion") == API_VERSION and each["kind"] in _RENDERED:
            _check(each, where)
            metadata = dict(each.get("metadata") or {})
            metadata["namespace"] = metadata.get("namespace") or namespace or "default"
            made.append(each | {"metadata": metadata})
    return made


def _opened(each: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Lists opened; each with the words for where it is."""
    for where, one in each:
        if isinstance(one, dict) and one.get("kind") == "List":
            items = one.get("items")
            if not isinstance(items, list | None):
                raise PluginError(f"{where} is a List whose items are {items!r}, and have to be a list.")
            yield from _opened((f"{where}, items[{index}]", item) for index, item in enumerate(items or []))
        else:
            yield where, one


def _check(resource: Manifest, where: str) -> None:
    """Whether it has the shape that rendering takes for granted; what is left out is for rendering to judge."""
    for field in ("metadata", "spec"):
        if not isinstance(found := resource.get(field), dict | None):
            raise PluginError(f"{where}: {field} of this {resource['kind']} is {found!r}, and has to be a mapping.")
    for field in ("name", "namespace"):
        if not isinstance(found := (resource.get("metadata") or {}).get(field), str | None):
            raise PluginError(f"{where}: metadata.{field} of this {resource['kind']} is {found!r}, and has to be a text: quote it.")


def streams(resources: Iterable[Manifest]) -> str:
    """All of it, before any of it is written: half a stream would pass for a whole one.

    Raises:
        PluginError: specs are not valid; a line for each.
    """
    made, wrong = [], []
    for each in resources:
        try:
            made += list(stream(each))
        except PluginError as error:
            wrong.append(str(error))
    if wrong:
        raise PluginError("\nerror: ".join(wrong))
    return "".join(made)


def stream(resource: Manifest) -> Iterator[str]:
    """YAML documents of all that a custom resource becomes; custom resources among them are opened in turn.

    Raises:
        PluginError: its spec is not valid.
    """
    name = f"{resource['kind']} {(resource.get('metadata') or {}).get('name', '?')}"
    try:
        children, secrets = render(resource), secret_requests(resource)
    except ValidationError as error:
        wrong = "; ".join(f"spec.{'.'.join(str(p) for p in each['loc'])}: {each['msg']}" for each in error.errors())
        raise PluginError(f"{name} is not valid: {wrong}.") from error
    except ValueError as error:
        raise PluginError(str(error)) from error
    yield f"# {name} becomes:\n"
    for each in secrets:
        yield _drawn(each)
    for child in children:
        yield _hidden(child) if child["kind"] == "Secret" else "---\n" + _yaml(child)
    for child in children:
        if child.get("apiVersion") == API_VERSION and child["kind"] in _RENDERED:
            yield from stream(child)


def _drawn(request: SecretRequest) -> str:
    certificate = request.certificate
    keys = certificate.keys if certificate else sorted({*request.random, *request.fixed, *request.extra})
    what = _RECIPE_KEYS.get(request.recipe) or "keys " + ", ".join(keys)
    how = "drawn once by the operator" if certificate is None else "drawn and renewed by the operator"
    return f"# Secret {request.owner.namespace}/{request.name}, {how}: {what}\n"


def _hidden(secret: Manifest) -> str:
    keys = sorted({**(secret.get("data") or {}), **(secret.get("stringData") or {})})
    metadata = secret["metadata"]
    has = f": keys {', '.join(keys)}" if keys else ", made from drawn secrets"
    return f"---\n# Secret {metadata['namespace']}/{metadata['name']}{has}\n"


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks: configuration files are there to be read."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _yaml(manifest: Manifest) -> str:
    text: str = yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
