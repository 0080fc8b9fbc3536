"""Whether an object is as a manifest wants it: no write too many, and no drift unseen."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from baas_operator.engine.differ import HASH_ANNOTATION, contained, up_to_date, with_hash

names = st.sampled_from(["name", "image", "ports", "spec", "replicas", "cpu", "memory"])
leaves = st.one_of(st.sampled_from(["a", "b", "", "10m", "1Gi"]), st.integers(0, 5), st.booleans())
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=12)
objects = st.dictionaries(names, trees, min_size=1, max_size=4)

Path = tuple[str | int, ...]


def leaf_paths(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Where the leaves of an object are."""
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaf_paths(value, (*path, key))
    else:
        yield path


def list_paths(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Where its lists are."""
    if isinstance(tree, dict | list):
        if isinstance(tree, list):
            yield path
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from list_paths(value, (*path, key))


def at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree


@given(objects)
def test_an_object_contains_itself(wanted: dict[str, Any]) -> None:
    assert contained(wanted, copy.deepcopy(wanted))


@given(objects, st.data())
def test_fields_that_others_add_never_matter(wanted: dict[str, Any], data: st.DataObject) -> None:
    live = copy.deepcopy(wanted)
    maps = [()] + [path for path in leaf_paths(wanted) for _ in [0] if isinstance(at(wanted, path[:-1]), dict)]
    spot = data.draw(st.sampled_from(maps))
    at(live, spot[:-1])["addedByAnother"] = data.draw(trees)

    assert contained(wanted, live)


@given(objects, st.data())
def test_a_leaf_that_changed_is_seen(wanted: dict[str, Any], data: st.DataObject) -> None:
    paths = list(leaf_paths(wanted))
    assume(paths)
    path = data.draw(st.sampled_from(paths))
    live = copy.deepcopy(wanted)
    at(live, path[:-1])[path[-1]] = "something else"

    assert not contained(wanted, live)


@given(objects, st.data())
def test_a_leaf_that_was_removed_is_seen_unless_it_was_empty(wanted: dict[str, Any], data: st.DataObject) -> None:
    paths = [path for path in leaf_paths(wanted) if isinstance(path[-1], str)]
    assume(paths)
    path = data.draw(st.sampled_from(paths))
    live = copy.deepcopy(wanted)
    removed = at(live, path[:-1]).pop(path[-1])

    assert contained(wanted, live) is (removed in ("", False, 0)), "the API server leaves empty fields out"


@given(objects, st.data(), st.booleans())
def test_a_list_with_an_item_more_or_less_is_a_change(wanted: dict[str, Any], data: st.DataObject, more: bool) -> None:
    paths = list(list_paths(wanted))
    assume(paths)
    live = copy.deepcopy(wanted)
    spot = at(live, data.draw(st.sampled_from(paths)))
    assume(more or spot)
    if more:
        spot.append("sidecar")
    else:
        spot.pop()

    assert not contained(wanted, live)


@pytest.mark.parametrize("kept", ["", False, 0, [], {}])
def test_empty_equals_absent(kept: Any) -> None:
    assert contained({"spec": {"field": kept}}, {"spec": {}})


def test_what_is_wanted_empty_and_is_not_is_a_change() -> None:
    assert not contained({"readOnly": False}, {"readOnly": True})
    assert not contained({"args": []}, {"args": ["--unsafe"]})


@pytest.mark.parametrize(
    ("wanted", "have", "same"),
    [("1024Mi", "1Gi", True), ("0.5", "500m", True), ("2", "2000m", True), ("1Gi", "1G", False), ("1Gi", "2Gi", False)],
)
def test_quantities_are_compared_as_numbers(wanted: str, have: str, same: bool) -> None:
    assert contained({"cpu": wanted}, {"cpu": have}) is same


@pytest.mark.parametrize("odd", ["100n", "1E", "1e3", "-1", "lots"])
def test_a_quantity_that_we_can_not_read_is_a_change_and_no_error(odd: str) -> None:
    """Whoever wrote it: it is not what was wanted, and an error would keep it from ever being put right."""
    assert not contained({"cpu": "1"}, {"cpu": odd})


def test_quantities_elsewhere_are_words() -> None:
    assert not contained({"name": "1024Mi"}, {"name": "1Gi"})


# --- the hash, which tells what was stopped to be asked for ----------------------------------------------------------


def manifest(**spec: Any) -> dict[str, Any]:
    return {"kind": "EndpointSlice", "metadata": {"name": "db-rw", "resourceVersion": "7"}, **spec}


def hashed(found: dict[str, Any]) -> str:
    return str(with_hash(found)["metadata"]["annotations"][HASH_ANNOTATION])


def test_endpoints_and_versions_are_no_part_of_the_hash() -> None:
    one = manifest(ports=[1], endpoints=[{"addresses": ["10.0.0.1"]}])
    other = manifest(ports=[1], endpoints=[])
    other["metadata"]["resourceVersion"] = "8"

    assert hashed(one) == hashed(other)
    assert with_hash(one)["endpoints"] == one["endpoints"], "they are applied all the same"


def test_a_field_that_is_no_longer_wanted_is_seen_by_the_hash() -> None:
    live = with_hash(manifest(spec={"replicas": 3, "paused": True}))

    assert not up_to_date(with_hash(manifest(spec={"replicas": 3})), live)


def test_annotations_of_others_are_kept_out_of_it() -> None:
    live = with_hash(manifest(spec={"replicas": 3}))
    live["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = "now"
    live["metadata"]["resourceVersion"] = "9"

    assert up_to_date(with_hash(manifest(spec={"replicas": 3})), live)


def test_hashing_twice_changes_nothing() -> None:
    assert with_hash(manifest()) == with_hash(manifest())
    once = manifest(metadata={"name": "x"})
    with_hash(once)
    assert once == manifest(metadata={"name": "x"}), "what was given stays as it is"
