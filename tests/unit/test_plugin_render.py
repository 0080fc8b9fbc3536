"""`kubectl baas render`: offline, whole, and without a secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from kubectl_baas.cli import app
from kubectl_baas.errors import PluginError
from kubectl_baas.offline import load, stream

INSTANCE = """\
apiVersion: baas-operator.io/v1alpha1
kind: BaasInstance
metadata: {name: shop}
spec: {}
"""


def rendered(text: str, namespace: str | None = None) -> tuple[str, list[dict[str, Any]]]:
    made = "".join(part for each in load(text, "shop.yaml", namespace) for part in stream(each))
    return made, [each for each in yaml.safe_load_all(made) if each]


def test_an_instance_becomes_its_database_and_queue_too() -> None:
    _, manifests = rendered(INSTANCE)
    found = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    assert {("DatabaseReplica", "shop-db"), ("EventQueue", "shop-events"), ("Deployment", "shop-gateway")} <= found
    assert {("StatefulSet", "shop-db"), ("StatefulSet", "shop-events")} <= found


def test_what_an_instance_refers_to_is_not_rendered() -> None:
    _, manifests = rendered(INSTANCE.replace("{}", "{databaseRef: {name: other}, queueRef: {name: bus}}"))
    assert not [each for each in manifests if each["kind"] in ("StatefulSet", "DatabaseReplica", "EventQueue")]


def test_secrets_are_comments_with_names_and_keys() -> None:
    text, manifests = rendered(INSTANCE)
    assert not [each for each in manifests if each["kind"] == "Secret"]
    assert "# Secret default/shop-db-role-postgres, drawn once by the operator: keys password, username\n" in text
    assert "# Secret default/shop-events-auth" in text
    assert not re.search(r"^(?:stringData|data):\s*\n\s+password:", text, re.MULTILINE)


def test_the_namespace_is_the_manifests_own_then_the_given_one_then_default() -> None:
    own = INSTANCE.replace("{name: shop}", "{name: shop, namespace: live}")
    for text, given, expected in ((own, "prod", "live"), (INSTANCE, "prod", "prod"), (INSTANCE, None, "default")):
        assert {each["metadata"]["namespace"] for each in rendered(text, given)[1]} == {expected}


def test_other_kinds_are_passed_over_and_lists_opened() -> None:
    listed = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(INSTANCE)]})
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---\n---\n" + listed
    assert [each["metadata"]["name"] for each in load(text, "x", None)] == ["shop"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "shop.yaml is not YAML"),
        ("just: this", "it has no kind"),
        (INSTANCE.replace("{}", "{replica: 3}"), r"BaasInstance shop is not valid: spec\.replica: Extra inputs"),
        (INSTANCE.replace("name: shop", "labels: {}"), "metadata.name"),
        (INSTANCE.replace("shop", "2024"), r"^shop\.yaml, document 1: metadata\.name of this BaasInstance is 2024, .* quote it\.$"),
        (INSTANCE.replace("shop", "shop, namespace: 7"), r"metadata\.namespace of this BaasInstance is 7, "),
        (INSTANCE.replace("{name: shop}", "foo"), "metadata of this BaasInstance is 'foo', and has to be a mapping"),
        (INSTANCE.replace("{}", "[]"), r"spec of this BaasInstance is \[\], and has to be a mapping"),
        (INSTANCE.replace("{}", "{7: a}"), "BaasInstance shop is not valid: "),
        (INSTANCE.replace("{}", "{since: 2024-13-01}"), r"^shop\.yaml is not YAML: month must be in"),
        ("[" * 3000, r"^shop\.yaml is not YAML: "),
        (INSTANCE + "---\n---\nkind: [a]", r"^shop\.yaml, document 3 is no manifest: its kind is \['a'\], and has to be a text\.$"),
        ("kind: List\nitems: 5", r"^shop\.yaml, document 1 is a List whose items are 5, and have to be a list\.$"),
        ("kind: List\nitems: [{kind: A}, 5]", r"^shop\.yaml, document 1, items\[1\] is no manifest: it has no kind\.$"),
    ],
)
def test_what_is_wrong_is_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(PluginError, match=sentence):
        rendered(text)


def test_the_command_reads_files_and_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(INSTANCE)
    runner = CliRunner()
    one = runner.invoke(app, ["render", "-f", str(file)])
    other = runner.invoke(app, ["render", "-f", "-"], input=INSTANCE)
    assert (one.exit_code, other.exit_code) == (0, 0)
    assert one.stdout == other.stdout


def test_nothing_is_written_when_one_of_several_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(INSTANCE + "---\n" + INSTANCE.replace("{}", "{replica: 3}"))
    done = CliRunner().invoke(app, ["render", "-f", str(file), "-f", str(tmp_path / "none.yaml")])
    assert (done.exit_code, done.stdout) == (2, "")
    done = CliRunner().invoke(app, ["render", "-f", str(file)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "error: BaasInstance shop is not valid" in done.stderr


def test_every_object_that_is_wrong_is_told(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    wrong = INSTANCE.replace("{}", "{replica: 3}")
    file.write_text("---\n".join([wrong, INSTANCE, wrong.replace("shop", "blog")]))
    said = CliRunner().invoke(app, ["render", "-f", str(file)]).stderr.splitlines()
    assert [each.partition(" is not valid")[0] for each in said] == ["error: BaasInstance shop", "error: BaasInstance blog"]
