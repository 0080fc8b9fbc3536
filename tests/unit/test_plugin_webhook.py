"""`kubectl baas webhook enable`: one Operation, for a webhook that there is."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from baas_operator.api.kinds import OPERATION
from baas_operator.api.operation import OperationSpec
from kubectl_baas.cli import app
from kubectl_baas.webhook import operation

from .test_plugin_cli import Server, server
from .test_plugin_example import condition, resource

assert server, "the API server, a fixture"


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["webhook", "enable", *arguments])


@pytest.fixture
def queues(server: Server) -> Server:
    server.hold(resource("EventQueue", "events", spec={"webhooks": [{"name": "partner"}]}), resource("EventQueue", "bare", spec={}))
    return server


def test_it_is_an_operation_that_is_followed(queues: Server) -> None:
    sentence = "Nothing is noted against webhook partner any more."
    over = resource("Operation", "events-enable-abcde", condition("Ready", "True", "WebhookEnabled", sentence), phase="Succeeded")
    queues.answers[OPERATION.path("prod", "events-enable-abcde")] = over
    result = typed("events", "partner")
    assert (result.exit_code, result.stdout.strip()) == (0, sentence)

    over["status"] |= {"phase": "Refused"}
    assert typed("events", "partner").exit_code == 1
    assert "prod/events-enable-abcde created" in typed("events", "partner", "--no-wait").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("events", "other"), "events has no webhook other; those that it has are partner."),
        (("bare", "partner"), "bare has no webhook partner; it has none."),
        (("nothing", "partner"), "there is no EventQueue nothing in namespace prod."),
        (("events", "No Name"), "'No Name' can not be the name of a queue or a webhook"),
    ],
)
def test_what_is_wrong_is_a_sentence(queues: Server, arguments: tuple[str, ...], sentence: str) -> None:
    result = typed(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_the_operation_says_what_was_asked_for() -> None:
    spec = OperationSpec.model_validate(operation("events", "partner", timeout_seconds=60)["spec"])
    assert (spec.action, spec.target.kind, spec.target.name) == ("enable-webhook", "EventQueue", "events")
    assert (spec.parameters.webhook, spec.timeout_seconds) == ("partner", 60)
