"""`kubectl baas rotate`: one Operation, for a backend that there is."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from baas_operator.api.kinds import OPERATION
from baas_operator.api.operation import Action, OperationSpec
from kubectl_baas.cli import app
from kubectl_baas.rotate import operation

from .test_plugin_cli import Server, server
from .test_plugin_example import condition, resource

assert server, "the API server, a fixture"


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rotate", "keys", *arguments])


def test_it_is_an_operation_that_is_followed(server: Server) -> None:
    server.hold(resource("BaasInstance", "shop", spec={}))
    sentence = "Key abc signs, and all know it; tokens of xyz count until 2026-05-08T12:00:00Z."
    over = resource("Operation", "shop-rotate-keys-abcde", condition("Ready", "True", "KeysRotated", sentence), phase="Succeeded")
    server.answers[OPERATION.path("prod", "shop-rotate-keys-abcde")] = over
    result = typed("shop")
    assert (result.exit_code, " ".join(result.stdout.split())) == (0, sentence)

    over["status"] |= {"phase": "Refused"}
    assert typed("shop").exit_code == 1
    assert "prod/shop-rotate-keys-abcde created" in typed("shop", "--no-wait").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing",), "there is no BaasInstance nothing in namespace prod."),
        (("No Name",), "'No Name' can not be the name of a backend"),
    ],
)
def test_what_is_wrong_is_a_sentence(server: Server, arguments: tuple[str, ...], sentence: str) -> None:
    result = typed(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_the_operation_says_what_was_asked_for() -> None:
    spec = OperationSpec.model_validate(operation("shop", reason="audit", timeout_seconds=900)["spec"])
    assert (spec.action, spec.target.kind, spec.target.name) == ("rotate-keys", "BaasInstance", "shop")
    assert (spec.reason, spec.timeout_seconds) == ("audit", 900)


def test_passwords_are_an_operation_of_their_own(server: Server) -> None:
    server.hold(resource("BaasInstance", "shop", spec={}))
    result = CliRunner().invoke(app, ["rotate", "passwords", "shop", "--no-wait"])
    assert (result.exit_code, "prod/shop-rotate-passwords-abcde created" in result.stdout) == (0, True), result.output
    made = operation("shop", Action.ROTATE_PASSWORDS, reason=None, timeout_seconds=1800)
    assert OperationSpec.model_validate(made["spec"]).action == "rotate-passwords"
