"""Names and labels: valid for the longest name that is allowed, and never the user's own in what can not be changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from baas_operator.api.common import MAX_NAME_LENGTH, SqlName
from baas_operator.api.kinds import BAAS_INSTANCE, OWN_KINDS
from baas_operator.desired.database import names as database_names
from baas_operator.desired.meta import Manifest
from baas_operator.desired.render import render, secret_requests
from tests.unit.desired.rendered import CASES, CHILDREN, RICH, resource

LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LONGEST = {kind.name: "x" + "a-b" * 12 + "zzz" for kind in OWN_KINDS} | {BAAS_INSTANCE.name: ("x" + "a-b" * 12)[: BAAS_INSTANCE.max_name]}
HASH_SUFFIX = "-" + "x" * 10
"""What the controllers of StatefulSets and Jobs add, where they put the whole into a label of a pod."""


def labels(node: Any) -> Iterator[tuple[str, str]]:
    """All labels and selectors of a manifest."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("labels", "matchLabels", "selector") and isinstance(value, dict):
                yield from ((k, v) for k, v in value.items() if isinstance(v, str))
            yield from labels(value)
    elif isinstance(node, list):
        for each in node:
            yield from labels(each)


def long_children(kind: str) -> list[Manifest]:
    assert len(LONGEST[kind]) in (MAX_NAME_LENGTH, BAAS_INSTANCE.max_name)
    return render(resource(kind, {k: v for k, v in RICH[kind].items() if not k.endswith("Ref")}, name=LONGEST[kind]))


@pytest.mark.parametrize("kind", list(RICH))
def test_children_of_the_longest_name_have_valid_names(kind: str) -> None:
    for each in long_children(kind):
        name = each["metadata"]["name"]
        assert LABEL.fullmatch(name), f"{each['kind']} {name}"
        if each["kind"] in ("StatefulSet", "Job"):
            suffix = HASH_SUFFIX if each["kind"] == "StatefulSet" else ""
            assert len(name + suffix) <= 63, f"{each['kind']} {name}: it is a label's value of its pods"
        for key, value in labels(each):
            assert len(value) <= 63, key


@pytest.mark.parametrize("kind", list(RICH))
def test_objects_that_it_makes_may_have_their_name(kind: str) -> None:
    limits = {each.name: each.max_name for each in OWN_KINDS}

    for each in long_children(kind):
        if each["kind"] in limits:
            assert len(each["metadata"]["name"]) <= limits[each["kind"]]


@given(st.text("a_9", min_size=1, max_size=63))
def test_the_secret_of_any_role_has_a_valid_name(role: str) -> None:
    try:
        TypeAdapter(SqlName).validate_python(role)
    except ValueError:
        return
    name = database_names.role_secret(LONGEST["DatabaseReplica"], role)

    assert SUBDOMAIN.fullmatch(name), role
    assert len(name) <= 253


@pytest.mark.parametrize("kind", list(RICH))
def test_no_two_children_have_the_same_name(kind: str) -> None:
    found = resource(kind, RICH[kind])
    names = [(each["kind"], each["metadata"]["name"]) for each in render(found)]
    names += [("Secret", each.name) for each in secret_requests(found)]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", list(RICH))
def test_labels_of_the_user_are_in_no_child(kind: str) -> None:
    """Selectors can not be changed: a label that comes and goes in one would be the end of it."""
    plain = render(resource(kind, RICH[kind]))
    labelled = render(resource(kind, RICH[kind], labels={"team": "a", "app.kubernetes.io/component": "mine"}, annotations={"x": "y"}))

    assert labelled == plain


@pytest.mark.parametrize(("kind", "size"), CASES)
def test_selectors_are_our_own_three_labels_and_the_pods_have_them(kind: str, size: str) -> None:
    ours = {"baas-operator.io/kind", "baas-operator.io/name", "app.kubernetes.io/component"}
    for each in CHILDREN[kind, size]:
        if each["kind"] in ("StatefulSet", "Deployment"):
            selector = each["spec"]["selector"]["matchLabels"]
            assert set(selector) == ours
            assert selector.items() <= each["spec"]["template"]["metadata"]["labels"].items()
        if each["kind"] == "Service" and "selector" in each["spec"]:
            assert set(each["spec"]["selector"]) - {"baas-operator.io/role"} == ours


@pytest.mark.parametrize(("kind", "size"), CASES)
def test_every_child_is_found_by_the_watch(kind: str, size: str) -> None:
    for each in CHILDREN[kind, size]:
        assert each["metadata"]["labels"]["baas-operator.io/kind"] == kind
        assert each["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "baas-operator"
        assert each["metadata"]["namespace"] == "prod"


@pytest.mark.parametrize("kind", list(RICH))
def test_rendering_twice_says_the_same(kind: str) -> None:
    assert render(resource(kind, RICH[kind])) == render(resource(kind, RICH[kind]))


def test_nothing_that_a_database_lives_on_has_the_name_of_something_of_a_queue() -> None:
    """Both may be called the same. What is refused then must be refused at the first of the queue's children, and Patroni's own
    ConfigMaps, which it writes whoever made them, must not be among them."""
    queue, database = (
        [(each["kind"], each["metadata"]["name"]) for each in long_children(kind)] for kind in ("EventQueue", "DatabaseReplica")
    )
    name = LONGEST["EventQueue"]

    assert queue[0] == ("PodDisruptionBudget", name)
    assert set(queue) & set(database) == {("PodDisruptionBudget", name), ("StatefulSet", name)}
    assert not {each for kind, each in queue if kind == "ConfigMap"} & set(database_names.patroni_config_maps(name))
