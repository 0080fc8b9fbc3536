"""`kubectl baas dlq`: letters are read through a pod, by a kubectl of the test's own; what changes them is an Operation."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from baas_operator.api.kinds import EVENT_QUEUE, OPERATION, POD
from baas_operator.api.operation import Action, HeaderMatch, LetterFilter
from kubectl_baas.cli import app
from kubectl_baas.dlq import letter_filter, operation, payload_text
from kubectl_baas.errors import PluginError

from .test_plugin_cli import Server, server
from .test_plugin_example import condition, resource

assert server, "the API server, a fixture"

LETTER = {
    "sequence": 7, "buriedAt": "2026-05-01T12:00:00.000Z", "stream": "orders", "consumer": "billing", "sourceSequence": 41,
    "subject": "orders.new", "storedAt": "2026-05-01T11:00:00.000Z", "deliveries": 5, "reason": "MaxDeliveries", "detail": "",
    "complete": True, "headers": [["Trace", "a"]],
}  # fmt: skip


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """A kubectl that notes how it was called, and says what is in `says` (code, standard output, standard error)."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "kubectl"
    script.write_text(
        f"#!{sys.executable}\nimport json, sys, pathlib\nhere = pathlib.Path(__file__).parent\n"
        "(here / 'called').write_text(json.dumps(sys.argv[1:]))\ncode, out, err = json.loads((here / 'says').read_text())\n"
        "sys.stdout.write(out)\nsys.stderr.write(err)\nsys.exit(code)\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    streams = [{"name": each, "subjects": [each]} for each in ("plain", "sent")]
    spec = {
        "streams": [{"name": "orders", "subjects": ["orders.>"], "deadLetter": {}}, *streams],
        "webhooks": [{"name": "partner", "stream": "sent", "url": "https://partner.example/"}],
    }
    server.hold(resource("EventQueue", "events", spec=spec))
    server.answers[POD.path("prod")] = {"items": [
        {"metadata": {"name": "events-dispatcher-a"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        {"metadata": {"name": "events-dispatcher-b"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
    ]}  # fmt: skip
    return folder


def says(kubectl: Path, *letters: dict[str, Any], code: int = 0, error: str = "") -> None:
    (kubectl / "says").write_text(json.dumps([code, "".join(json.dumps(each) + "\n" for each in letters), error]))


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["dlq", *arguments])


def test_list_is_read_in_a_dispatcher_that_is_ready(kubectl: Path) -> None:
    says(kubectl, LETTER)
    result = typed("list", "events", "orders", "--consumer", "billing", "--sequence", "5-9", "--header", "Trace=a", "--limit", "10")

    assert result.exit_code == 0
    head, row = result.stdout.splitlines()
    assert head.split() == ["SEQUENCE", "BURIED", "CONSUMER", "REASON", "TRIES", "SUBJECT", "DETAIL"]
    assert row.split() == ["7", "2026-05-01T12:00:00.000Z", "billing", "MaxDeliveries", "5", "orders.new"]
    called = json.loads((kubectl / "called").read_text())
    at = called.index("--")
    assert called[:at] == ["exec", "-n", "prod", "events-dispatcher-b", "-c", "dispatcher"]
    assert called[at + 1 : at + 7] == ["python", "-m", "baas_operator", "dlq", "list", "orders"]
    chosen = LetterFilter.model_validate_json(called[called.index("--filter") + 1])
    assert chosen == LetterFilter(consumer="billing", first_sequence=5, last_sequence=9, headers=[HeaderMatch(name="Trace", value="a")])
    assert called[-2:] == ["--limit", "10"]


def test_list_as_json_is_what_the_pod_said(kubectl: Path) -> None:
    says(kubectl, LETTER)
    assert json.loads(typed("list", "events", "orders", "-o", "json").stdout) == {"letters": [LETTER]}


def test_none_is_said_and_no_failure(kubectl: Path) -> None:
    says(kubectl)
    result = typed("list", "events", "orders", "--reason", "Swept")
    assert (result.exit_code, result.stderr.strip()) == (0, "No dead letter of orders fits.")


def test_what_others_wrote_is_shown_and_never_obeyed(kubectl: Path) -> None:
    hostile = LETTER | {"detail": "\x1b[2J", "subject": "a\x07", "headers": [["Trace", "\x1b]0;x"]], "payload": ""}
    says(kubectl, hostile)
    for shown in (typed("list", "events", "orders").stdout, typed("show", "events", "orders", "7").stdout):
        assert "\\x1b[2J" in shown
        assert not {"\x1b", "\x07"} & set(shown)


def test_show_has_headers_and_payload(kubectl: Path) -> None:
    says(kubectl, LETTER | {"payload": base64.b64encode(b'{"id": 1}').decode()})
    result = typed("show", "events", "orders", "7")
    assert result.exit_code == 0
    assert "sequence 41 of orders" in result.stdout
    assert "Trace: a" in result.stdout
    assert result.stdout.rstrip().endswith('{"id": 1}')

    says(kubectl)
    assert typed("show", "events", "orders", "8").exit_code == 1


def test_what_an_endpoint_did_not_take_is_found_without_a_dead_letter_in_the_spec(kubectl: Path) -> None:
    says(kubectl, LETTER | {"stream": "sent", "consumer": "BAAS_webhook_partner", "reason": "RetriesExhausted"})

    assert "RetriesExhausted" in typed("list", "events", "sent").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("list", "events", "plain"), "events has no stream plain with deadLetter or a webhook; those that have are orders, sent."),
        (("list", "other", "orders"), "there is no EventQueue other in namespace prod."),
        (("list", "events", "orders", "--sequence", "x"), "--sequence 'x' is no range: give 5, 5-9, 5- or -9."),
        (("list", "events", "orders", "--header", "x"), "--header 'x' is not NAME=VALUE."),
        (("list", "events", "orders", "--reason", "a b"), "--reason can not be 'a b'"),
        (("purge", "events", "orders"), "give a filter, or --all."),
    ],
)
def test_what_is_wrong_is_a_sentence(kubectl: Path, arguments: tuple[str, ...], sentence: str) -> None:
    result = typed(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (kubectl / "called").exists()


def test_what_the_pod_says_last_is_the_sentence(kubectl: Path) -> None:
    says(kubectl, code=2, error="stream orders has no dead letters.\ncommand terminated with exit code 2\n")
    result = typed("list", "events", "orders")
    assert (result.exit_code, result.stderr.strip()) == (2, "error: pod events-dispatcher-b: stream orders has no dead letters.")


def test_without_a_dispatcher_that_is_ready_there_is_no_answer(kubectl: Path, server: Server) -> None:
    server.answers[POD.path("prod")]["items"].pop()
    assert "no dispatcher of events is ready" in typed("list", "events", "orders").stderr


def test_replay_is_an_operation_that_is_followed(kubectl: Path, server: Server) -> None:
    sentence = "5 of 5 dead letters of orders are replayed; 0 dead letters are left."
    over = resource("Operation", "events-replay-abcde", condition("Ready", "True", "DeadLettersReplayed", sentence), phase="Succeeded")
    server.answers[OPERATION.path("prod", "events-replay-abcde")] = over
    result = typed("replay", "events", "orders", "--rate", "10")
    assert (result.exit_code, result.stdout.strip()) == (0, sentence)

    over["status"] |= {"phase": "Refused"}
    assert typed("replay", "events", "orders").exit_code == 1
    assert "prod/events-purge-abcde created" in typed("purge", "events", "orders", "--all", "--no-wait").stdout


def test_the_operation_says_what_was_asked_for() -> None:
    wanted = letter_filter(subject="orders.>", sequences="-9")
    made = operation("events", "orders", Action.REPLAY_DEAD_LETTERS, wanted, rate=5, limit=2, timeout_seconds=60)
    assert made["spec"]["target"] == {"kind": EVENT_QUEUE.name, "name": "events"}
    parameters = made["spec"]["parameters"]
    assert (parameters["stream"], parameters["ratePerSecond"], parameters["limit"]) == ("orders", 5, 2)
    assert (parameters["letters"]["subject"], parameters["letters"]["lastSequence"]) == ("orders.>", 9)
    with pytest.raises(PluginError, match="'Events' can not be the name"):
        operation("Events", "orders", Action.PURGE_DEAD_LETTERS, LetterFilter(), rate=None, limit=None, timeout_seconds=60)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", ""),
        ("grüß\n".encode(), "grüß\n"),
        (b"\x00\x01abc", "00000000  00 01 61 62 63"),
        (b"\x1b[31mred", "00000000  1b 5b 33 31 6d 72 65 64"),
        ("ü".encode() * 20, "üüüüü\n(the first 11 of 40 bytes; -o json has all)"),
        (bytes(range(128, 148)), "00000000  80 81 82 83 84 85 86 87 88 89 8a\n(the first 11 of 20 bytes; -o json has all)"),
    ],
)
def test_a_payload_is_text_or_hex_and_never_what_a_terminal_would_obey(payload: bytes, text: str) -> None:
    assert payload_text({"payload": base64.b64encode(payload).decode()}, 11) == text


def test_a_payload_that_was_gone_says_so() -> None:
    assert "gone" in payload_text({"complete": False})
