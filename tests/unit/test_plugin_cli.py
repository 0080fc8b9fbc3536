"""The commands as they are typed: exit codes, formats, errors; the connection talks to a small HTTP server of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import kubectl_baas
from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OPERATION
from kubectl_baas.cli import app

from .test_plugin_example import condition, healthy_database, lost_database, lost_instance, lost_queue, operation

Manifest = dict[str, Any]


class Server(HTTPServer):
    """An API server that knows the objects in `answers` (path -> object, or (status, message))."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Any] = {
            kind.path(where): {"items": []}
            for kind in (BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OPERATION)
            for where in ("prod", None)
        }
        self.tokens: set[str] = set()

    def hold(self, *resources: Manifest) -> None:
        for each in resources:
            kind = next(k for k in (BAAS_INSTANCE, DATABASE_REPLICA, EVENT_QUEUE, OPERATION) if k.name == each["kind"])
            for where in ("prod", None):
                self.answers[kind.path(where)]["items"].append(each)
            self.answers[kind.path("prod", each["metadata"]["name"])] = each


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.tokens.add(self.headers.get("Authorization", ""))
        answer = self.server.answers.get(self.path.partition("?")[0], (404, "404 page not found"))
        status, body = (answer[0], {"message": answer[1]}) if isinstance(answer, tuple) else (200, answer)
        self._send(status, body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["metadata"]["generateName"] + "abcde"
        self._send(201, body | {"metadata": {"name": name, "namespace": "prod"}})

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as made:
        _kubeconfig(tmp_path, monkeypatch, made.server_port)
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def _kubeconfig(folder: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    text = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "shown-to-nobody"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "prod"}}],
    }  # fmt: skip
    (folder / "config").write_text(yaml.safe_dump(text))
    monkeypatch.setenv("KUBECONFIG", str(folder / "config"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


HOSTILE = "\x1b[2J\x1b]0;x\x07\x9b2J\u202e"
"""Clears the screen, names the window, turns around what follows it."""
OBEYED_BY_NONE = "\\x1b[2J\\x1b]0;x\\x07\\x9b2J\\u202e"


def test_what_others_wrote_is_shown_and_never_obeyed(server: Server) -> None:
    database, queue, instance = healthy_database(), lost_queue(), lost_instance()
    database["status"]["conditions"][1] |= {"status": "False", "message": f"PostgreSQL: {HOSTILE}"}
    queue["status"]["conditions"][0]["message"] = f"Last words: {HOSTILE}"
    instance["status"]["components"][1]["reason"] = HOSTILE
    refused = operation("shop-db-switchover-abcde", "Refused", steps=[{"name": HOSTILE, "finishedAt": "2026-05-01T12:00:01Z"}])
    refused["status"]["conditions"] = [condition("Ready", "False", "NoTarget", HOSTILE)]
    server.hold(database, queue, instance, refused)
    server.answers["/version"] = {"gitVersion": HOSTILE}
    done = {command: run(*command.split()) for command in ("status", "status -o wide", "switchover shop-db", "doctor")}
    server.answers[EVENT_QUEUE.path("prod")] = (403, f"no: {HOSTILE}\nand more")
    done["error"] = run("status")
    for command, each in done.items():
        assert OBEYED_BY_NONE in each.stdout + each.stderr, command
        assert not set("\x1b\x07\x9b\u202e") & set(each.stdout + each.stderr), command
    assert done["status"].stdout.count(OBEYED_BY_NONE) == 3
    assert OBEYED_BY_NONE in done["switchover shop-db"].stdout
    assert OBEYED_BY_NONE in done["switchover shop-db"].stderr
    assert done["error"].stderr == f"error: no: {OBEYED_BY_NONE}\nand more\n"


def test_all_that_is_printed_goes_through_one_place() -> None:
    """What makes a Text by itself forgets to take out what a terminal would obey."""
    folder = Path(kubectl_baas.__file__).parent
    assert [each.name for each in folder.rglob("*.py") if "rich.text" in each.read_text()] == ["show.py"]


def test_all_ready_is_0(server: Server) -> None:
    server.hold(healthy_database())
    done = run("status")
    assert done.exit_code == 0
    assert done.stdout.startswith("shop-db  DatabaseReplica  Ready")
    assert server.tokens == {"Bearer shown-to-nobody"}


def test_something_not_ready_is_1(server: Server) -> None:
    server.hold(lost_instance(), lost_database(), lost_queue())
    assert run("status").exit_code == 1
    assert run("status", "shop-db").exit_code == 0
    assert "prod/shop" in run("status", "-A").stdout


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_read_the_same_in_both_formats(server: Server, form: str, read: Any) -> None:
    server.hold(lost_instance(), lost_database(), lost_queue())
    done = run("status", "-o", form)
    data = read(done.stdout)
    assert (done.exit_code, data["ready"], data["instances"][0]["name"]) == (1, False, "shop")


LEASES = "/apis/coordination.k8s.io/v1/leases"


def lease(*, ago: float) -> Manifest:
    renewed = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    return {"metadata": {"name": "baas-operator"}, "spec": {"holderIdentity": "pod-a", "leaseDurationSeconds": 10, "renewTime": renewed}}


def test_an_operator_that_works_is_not_mentioned(server: Server) -> None:
    server.hold(healthy_database())
    server.answers[LEASES] = {"items": [lease(ago=2)]}
    done = run("status")
    assert (done.exit_code, "operator" in done.stdout) == (0, False)
    assert json.loads(run("status", "-o", "json").stdout)["operator"]["running"] is True


@pytest.mark.parametrize(("ago", "says"), [(250, "UTC, 4m"), (None, "it has left no Lease")])
def test_without_an_operator_nothing_that_is_shown_is_sure(server: Server, ago: float | None, says: str) -> None:
    server.hold(healthy_database())
    server.answers[LEASES] = {"items": [lease(ago=ago)] if ago else []}
    done = run("status")
    assert done.exit_code == 1
    assert done.stdout.startswith("! the operator is not running")
    assert says in done.stdout.splitlines()[0]
    data = json.loads(run("status", "-o", "json").stdout)
    assert (data["ready"], data["operator"]["running"], data["databases"][0]["ready"]) == (False, False, True)


def test_who_may_not_see_the_lease_is_told_nothing_of_the_operator(server: Server) -> None:
    server.hold(healthy_database())
    server.answers[LEASES] = (403, "leases is forbidden")
    assert run("status").exit_code == 0
    assert json.loads(run("status", "-o", "json").stdout)["operator"] is None


def test_nothing_there_is_told_on_standard_error_and_no_failure(server: Server) -> None:
    done = run("status")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "There is no BaasInstance, DatabaseReplica or EventQueue in namespace prod." in done.stderr


def test_a_name_that_is_not_there_is_2(server: Server) -> None:
    done = run("status", "nobody")
    assert done.exit_code == 2
    assert "error: there is no BaasInstance, DatabaseReplica or EventQueue named nobody in namespace prod." in done.stderr


def test_no_permission_is_2_in_the_api_servers_words(server: Server) -> None:
    server.answers[EVENT_QUEUE.path("prod")] = (403, 'eventqueues is forbidden: User "u" cannot list')
    done = run("status")
    assert (done.exit_code, done.stderr) == (2, 'error: eventqueues is forbidden: User "u" cannot list\n')


def test_no_crds_is_2_and_says_so(server: Server) -> None:
    server.answers.clear()
    done = run("status")
    assert done.exit_code == 2
    assert "are the CRDs of baas-operator installed?" in done.stderr


def test_no_connection_is_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as gone:
        port = gone.server_port
    _kubeconfig(tmp_path, monkeypatch, port)
    done = run("status")
    assert done.exit_code == 2
    assert f"error: the API server at http://127.0.0.1:{port} does not answer: Connection refused" in done.stderr


def test_no_kubeconfig_and_no_such_context_are_2(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("status", "--context", "there")
    assert done.exit_code == 2
    assert f"there is no context there in {tmp_path / 'config'}; it has here. Check --context and KUBECONFIG.\n" in done.stderr
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = run("status")
    assert done.exit_code == 2
    assert f"there is no kubeconfig at {tmp_path / 'none'}. Check --context and KUBECONFIG.\n" in done.stderr
    (tmp_path / "none").write_text("{")
    done = run("status")
    assert (done.exit_code, "no cluster to talk to" in done.stderr, ".." in done.stderr) == (2, True, False)


def test_help_is_whole_and_there_is_a_version() -> None:
    assert "..." not in run("--help").stdout.replace("[ARGS]...", "")
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"kubectl-baas {version('baas-operator')}\n")


def test_wrong_usage_is_2(server: Server) -> None:
    assert run("status", "-n", "prod", "-A").exit_code == 2
    done = run("status", "-o", "yml")
    assert (done.exit_code, "there is no format 'yml': give one of table, wide, json, yaml." in done.stderr) == (2, True)
    assert run("switchover", "shop-db", "--timeout", "1").exit_code == 2


def test_a_switchover_that_succeeds(server: Server) -> None:
    result = {"fromMember": "shop-db-0", "toMember": "shop-db-1", "durationSeconds": 1.0}
    steps = [{"name": "Switch", "startedAt": "2026-05-01T12:00:00Z", "finishedAt": "2026-05-01T12:00:01Z"}]
    server.hold(healthy_database(), operation("shop-db-switchover-abcde", "Succeeded", result=result, steps=steps))
    done = run("switchover", "shop-db")
    assert (done.exit_code, done.stdout) == (0, "shop-db: shop-db-0 -> shop-db-1 in 1.0 s\n")
    assert done.stderr == "operation prod/shop-db-switchover-abcde\n  Switch: done\n"


def test_a_switchover_that_is_refused_is_1(server: Server) -> None:
    refused = operation("shop-db-switchover-abcde", "Refused")
    refused["status"]["conditions"] = [condition("Ready", "False", "NoTarget", "No standby is ready to take over.")]
    server.hold(healthy_database(), refused)
    done = run("switchover", "shop-db")
    assert (done.exit_code, done.stdout) == (1, "Refused: No standby is ready to take over.\n")


def test_a_switchover_need_not_be_waited_for(server: Server) -> None:
    server.hold(healthy_database())
    done = run("switchover", "shop-db", "--no-wait")
    assert (done.exit_code, done.stdout) == (0, "operation prod/shop-db-switchover-abcde created\n")


def test_doctor_fails_with_1_and_is_read_by_programs(server: Server) -> None:
    server.answers["/version"] = {"gitVersion": "v1.20.0"}
    done = run("doctor", "-o", "json")
    data = json.loads(done.stdout)
    assert (done.exit_code, data["fit"]) == (1, False)
    assert data["checks"][0]["level"] == "fail"
    assert "fail  kubernetes version  v1.20.0 is older" in run("doctor").stdout
