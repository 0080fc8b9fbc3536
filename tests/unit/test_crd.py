"""The CRDs that the models become: complete, described, and what a structural schema may be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from baas_operator.api.common import ApiModel, rule, rules
from baas_operator.api.crd import all_crds, structural
from baas_operator.api.database import RESERVED_PARAMETERS
from baas_operator.api.kinds import OWN_KINDS
from baas_operator.api.roles import GRANTABLE_ROLES

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in all_crds().values()}

Node = dict[str, Any]


def schema_of(crd: Node) -> Node:
    found: Node = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every node of a schema with its path; list items are `[]`, map values `{}`."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], f"{path}{{}}")


ALL = [(kind, path, node) for kind, crd in CRDS.items() for path, node in walk(schema_of(crd))]


@pytest.mark.parametrize("folder", ["crds", "charts/baas-operator/crds"])
def test_written_files_are_what_the_models_say(folder: str) -> None:
    written = {path.name: yaml.safe_load(path.read_text()) for path in (REPOSITORY / folder).glob("*.yaml")}

    assert written == all_crds(), "run `make generate`"


def test_every_field_is_described() -> None:
    standard = {".apiVersion", ".kind", ".metadata"}
    missing = [
        f"{kind}{path}"
        for kind, path, node in ALL
        if path.startswith((".spec", ".status")) and path not in standard and not path.endswith(("[]", "{}"))
        if not node.get("description")
    ]

    assert missing == []


def test_descriptions_are_sentences() -> None:
    odd = [f"{kind}{path}: {node['description']}" for kind, path, node in ALL if not node.get("description", ".").endswith((".", "…"))]

    assert odd == []


def test_every_rule_has_a_sentence_that_says_what_to_do() -> None:
    found = [each for _, _, node in ALL for each in node.get("x-kubernetes-validations", [])]

    assert len(found) > 20
    for each in found:
        assert each["message"].endswith("."), each
        assert re.search(r"[:,.] ?\w+|as in", each["message"]), f"what is the user to do? {each['message']}"


def test_everything_in_a_spec_is_bounded() -> None:
    """Without bounds the API server can not tell what a CEL rule may cost, and one object can fill etcd."""
    unbounded = [
        f"{kind}{path}"
        for kind, path, node in ALL
        if path.startswith(".spec")
        if (node.get("type") == "array" and "maxItems" not in node)
        or ("additionalProperties" in node and "maxProperties" not in node)
        or (node.get("type") == "string" and not {"maxLength", "enum", "format"} & set(node))
    ]

    assert unbounded == []


def test_lists_merge_by_what_makes_an_item_unique() -> None:
    """Otherwise server-side apply replaces whole lists, and two appliers undo each other."""
    plain = [
        f"{kind}{path}"
        for kind, path, node in ALL
        if node.get("type") == "array" and node["items"].get("type") == "object" and node.get("x-kubernetes-list-type") != "map"
    ]

    others = [each for each in plain if not each.endswith(".placement.tolerations")]  # nothing in one is its name; one whole in a pod, too
    assert others == [
        "BaasInstance.spec.isolation.clients",  # whole, as in a NetworkPolicy
        "EventQueue.spec.streams[].sources",  # several queues may have a stream of one name
    ]


def test_the_reference_has_the_list_that_a_refusal_points_to() -> None:
    text = (REPOSITORY / "docs" / "reference.md").read_text()
    _, _, section = text.partition("## Reserved parameters")

    assert [name for name in RESERVED_PARAMETERS if f"`{name}`" not in section] == []


@pytest.mark.parametrize(("value", "refused"), [("serializable", True), ("SERIALIZABLE", True), ("repeatable read", False)])
def test_serializable_is_refused_as_the_default_of_all_as_no_standby_answers_a_query_then(value: str, refused: bool) -> None:
    (schema,) = (node for kind, path, node in ALL if (kind, path) == ("DatabaseReplica", ".spec.parameters"))
    (found,) = (each for each in schema["x-kubernetes-validations"] if "default_transaction_isolation" in each["rule"])
    (pattern,) = re.findall(r"matches\('(.*)'\)", found["rule"])

    assert bool(re.match(pattern, value)) is refused
    assert "ALTER DATABASE … SET" in found["message"]


def test_no_role_is_granted_that_makes_a_commit_seem_done() -> None:
    """A commit that is cancelled while it waits for a standby is answered as done, with a warning."""
    assert "pg_signal_backend" not in GRANTABLE_ROLES


def test_how_long_a_connection_may_say_nothing_is_nobodys_to_set() -> None:
    """Poolers hold one for 20 s; ended before, it stands for a primary that goes, and clients wait."""
    assert "authentication_timeout" in RESERVED_PARAMETERS


def test_no_reload_can_keep_everybody_out() -> None:
    """A library that is not in the image stops a rolling update at its first standby, but not a reload."""
    assert {"session_preload_libraries", "local_preload_libraries"} <= set(RESERVED_PARAMETERS)
    assert "shared_preload_libraries" not in RESERVED_PARAMETERS


@pytest.mark.parametrize(
    ("end", "longest", "good", "bad"),
    [
        (".namespace", 63, ["2-web", "web", "2"], ["a.b", "-a", "a-", "A"]),
        ("storage.storageClassName", 253, ["2.fast", "fast-1"], ["Fast", "a..b", "a."]),
        ("ingress.className", 253, ["2.nginx.example"], ["Nginx", ".a"]),
        ("httpRoute.sectionName", 253, ["2.https", "https"], ["HTTPS", "a_b"]),
        ("webhooks[].secretName", 253, ["2.partner"], ["Partner"]),
    ],
)
def test_what_is_not_ours_may_have_any_name_that_kubernetes_takes(end: str, longest: int, good: list[str], bad: list[str]) -> None:
    """Labels and subdomains of RFC 1123 (Kubernetes documentation, "Object Names and IDs"); ours are Services', too, by RFC 1035."""
    found = [node for _, path, node in ALL if path.startswith(".spec") and path.endswith(end)]

    assert found
    for node in found:
        assert node["maxLength"] == longest
        assert [each for each in good if not re.search(node["pattern"], each)] == []
        assert [each for each in bad if re.search(node["pattern"], each)] == []


def test_status_has_no_defaults() -> None:
    filled_in = [f"{kind}{path}" for kind, path, node in ALL if path.startswith(".status") and "default" in node]

    assert filled_in == []


@pytest.mark.parametrize("kind", OWN_KINDS, ids=lambda kind: kind.name)
def test_names_do_not_meet(kind: Any) -> None:
    names = CRDS[kind.name]["spec"]["names"]

    assert names["categories"] == ["baas"]
    assert "baas" not in names["shortNames"], "kubectl reads `get baas NAME` as the category, and refuses the name"
    assert len({each.short for each in OWN_KINDS}) == len(OWN_KINDS)


def test_printer_columns_read_fields_that_exist() -> None:
    for kind, crd in CRDS.items():
        paths = {re.sub(r"\[\]|\{\}", "", path) for _, path, _ in ((kind, p, n) for p, n in walk(schema_of(crd)))}
        for column in crd["spec"]["versions"][0]["additionalPrinterColumns"]:
            plain = re.sub(r"\[\?\(.*?\)\]", "", column["jsonPath"])
            assert plain in paths or plain.startswith(".metadata."), f"{kind}: {column}"


class Inner(ApiModel):
    """Something inside."""

    size: Annotated[int, Field(ge=1)] = 1
    """How much."""
    note: str | None = None
    """What for."""


class Ruled(Inner):
    """The same, with a rule."""

    model_config = {"json_schema_extra": rules(rule("self.size < 9", "size is too large: give less than 9."))}


class Outer(ApiModel):
    """Something around it."""

    plain: Inner = Inner()
    """Has no rules."""
    ruled: Ruled = Ruled()
    """Has a rule."""
    choice: int | str | None = None
    """No structural schema can say this."""


def made() -> Node:
    schema = Outer.model_json_schema(by_alias=True)
    del schema["properties"]["choice"]
    return structural({key: value for key, value in schema.items() if key != "$defs"}, schema["$defs"])


def test_default_is_whole_only_where_rules_read_it() -> None:
    """The API server runs rules on a default before it fills in the defaults inside of it."""
    properties = made()["properties"]

    assert properties["plain"]["default"] == {}
    assert properties["ruled"]["default"] == {"size": 1}


def test_optional_is_folded_and_references_are_gone() -> None:
    note = made()["properties"]["plain"]["properties"]["note"]

    assert note == {"type": "string", "description": "What for."}
    assert "$ref" not in str(made())


def test_union_is_refused() -> None:
    schema = Outer.model_json_schema(by_alias=True)

    with pytest.raises(ValueError, match="no structural schema"):
        structural(schema["properties"]["choice"], schema["$defs"])
