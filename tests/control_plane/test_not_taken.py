"""What the API server does not take of a backend holds up only what needs it, and is told with its sentence; once the cause is gone, it is
there within the back-off, which is a minute at the most."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.backend.gateway.harness.certificates import certificate
from tests.harness.api import Object
from tests.harness.manifests import own

from .harness.children import condition
from .harness.cluster import ControlPlane

BACK_OFF_SECONDS = 75
"""The longest that it may be (60 s, with jitter 72), and a moment."""


@pytest.fixture(scope="module", autouse=True)
def operator(cp: ControlPlane) -> Iterator[None]:
    with cp.operator():
        yield


def told(cp: ControlPlane, namespace: str, kind: str, reason: str) -> str:
    """The sentence of a condition, once it has that reason."""

    def said() -> Object | None:
        found = condition(cp, namespace, "BaasInstance", "it", kind)
        return found if found and found["reason"] == reason else None

    return str(cp.wait(said, 60, f"{kind} with reason {reason}")["message"])


def assert_all_else(cp: ControlPlane, namespace: str) -> None:
    """What comes after it in the order in which a backend is made."""
    cp.wait(lambda: cp.get("Deployment", namespace, "it-gateway"), 30, "the gateway")
    cp.wait(lambda: cp.get("StatefulSet", namespace, "it-events"), 30, "the queue")


def assert_over(cp: ControlPlane, namespace: str, kind: str, name: str) -> None:
    cp.wait(lambda: cp.get(kind, namespace, name), BACK_OFF_SECONDS, f"{kind} {name}")

    def reasons() -> set[str]:
        found = (cp.get("BaasInstance", namespace, "it") or {}).get("status", {}).get("conditions", [])
        return {each["reason"] for each in found}

    cp.wait(lambda: not reasons() & {"Rejected", "ApiServerFails", "TooLarge"}, 30, "nothing tells of it any more")


def test_a_quota(cp: ControlPlane, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight"},
        "spec": {"hard": {"count/poddisruptionbudgets.policy": "0"}},
    }
    cp.must_apply(quota, namespace)
    cp.wait(lambda: cp.get("ResourceQuota", namespace, "tight").get("status", {}).get("hard"), 30, "the quota is in force")
    cp.must_apply(own("BaasInstance", "it", {}), namespace)

    said = told(cp, namespace, "Stalled", "Rejected")

    assert said.startswith("The API server refused PodDisruptionBudget 'it-gateway': ")
    assert "exceeded quota: tight" in said
    cp.wait(lambda: cp.get("Deployment", namespace, "it-gateway"), 30, "the gateway")
    assert cp.get("PodDisruptionBudget", namespace, "it-gateway") is None

    cp.delete("ResourceQuota", namespace, "tight")
    assert_over(cp, namespace, "PodDisruptionBudget", "it-gateway")
    assert_all_else(cp, namespace)


def test_a_volume_that_can_not_be(cp: ControlPlane, namespace: str) -> None:
    volumes = [{"name": name, "mountPath": "/same", "emptyDir": {}} for name in ("one", "two")]
    cp.must_apply(
        own("BaasInstance", "it", {"hosts": ["it.example"], "components": {"gateway": {"volumes": volumes, "ingress": {}}}}), namespace
    )

    said = told(cp, namespace, "Stalled", "Rejected")

    assert said.startswith("The API server refused Deployment 'it-gateway': ")
    assert "/same" in said
    cp.wait(lambda: cp.get("Ingress", namespace, "it-gateway"), 30, "what comes after it")
    cp.wait(lambda: cp.get("StatefulSet", namespace, "it-events"), 30, "the queue")

    cp.must_apply(own("BaasInstance", "it", {"hosts": ["it.example"], "components": {"gateway": {"ingress": {}}}}), namespace)
    assert_over(cp, namespace, "Deployment", "it-gateway")


def test_a_deployment_that_is_too_large(cp: ControlPlane, namespace: str) -> None:
    env = [{"name": f"LONG_{number}", "value": "x" * 30_000} for number in range(5)]
    cp.must_apply(own("BaasInstance", "it", {"components": {"gateway": {"env": env}}}), namespace)

    said = told(cp, namespace, "Stalled", "TooLarge")

    assert "Deployment 'it-gateway' would have" in said
    cp.wait(lambda: cp.get("StatefulSet", namespace, "it-events"), 30, "the queue")
    assert cp.get("Deployment", namespace, "it-gateway") is None
    cp.must_apply(own("BaasInstance", "it", {}), namespace)
    assert_over(cp, namespace, "Deployment", "it-gateway")


@contextmanager
def hooked(cp: ControlPlane, namespace: str, where: Object) -> Iterator[None]:
    """A webhook that is there, and asked of budgets in this namespace."""
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": namespace},
        "webhooks": [{
            "name": "down.policy.example", "clientConfig": where, "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": ["policy"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["poddisruptionbudgets"]}],
        }],
    }  # fmt: skip
    cp.kubectl("apply", "-f", "-", stdin=json.dumps(hook))
    try:
        yield
    finally:
        cp.kubectl("delete", "validatingwebhookconfiguration", namespace, "--ignore-not-found")


@pytest.fixture
def webhook(cp: ControlPlane, namespace: str) -> Iterator[None]:
    """One that is down."""
    with hooked(cp, namespace, {"url": "https://127.0.0.1:1/"}):
        yield


class _Refuses(BaseHTTPRequestHandler):
    """A webhook that refuses all that it is asked about, with the status of a conflict."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(review["request"]["name"])
        said = {"uid": review["request"]["uid"], "allowed": False, "status": {"code": 409, "reason": "Conflict", "message": "not here"}}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": said}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is told."""


@pytest.fixture
def refusing(cp: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[type[_Refuses]]:
    """The same, which answers."""
    made = certificate()
    (tmp_path / "both.pem").write_text(made["tls.crt"] + made["tls.key"])
    server = HTTPServer(("127.0.0.1", 0), _Refuses)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with hooked(
        cp, namespace, {"url": f"https://127.0.0.1:{server.server_port}/", "caBundle": base64.b64encode(made["tls.crt"].encode()).decode()}
    ):
        yield _Refuses
    server.shutdown()


def test_a_webhook_that_refuses_as_if_somebody_else_were_faster(cp: ControlPlane, namespace: str, refusing: type[_Refuses]) -> None:
    cp.must_apply(own("BaasInstance", "it", {}), namespace)

    said = told(cp, namespace, "Stalled", "Rejected")

    assert 'admission webhook "down.policy.example" denied the request: not here' in said
    cp.wait(lambda: cp.get("Deployment", namespace, "it-gateway"), 30, "the gateway")
    before = refusing.asked.count("it-gateway")
    time.sleep(10)
    assert refusing.asked.count("it-gateway") - before < 15, "it is tried again with back-off"


@pytest.mark.usefixtures("webhook")
def test_a_webhook_that_is_down(cp: ControlPlane, namespace: str) -> None:
    cp.must_apply(own("BaasInstance", "it", {}), namespace)

    said = told(cp, namespace, "Reconciling", "ApiServerFails")

    assert "did not take PodDisruptionBudget 'it-gateway' (500 InternalError)" in said
    assert "down.policy.example" in said
    cp.wait(lambda: cp.get("Deployment", namespace, "it-gateway"), 30, "the gateway")
    assert condition(cp, namespace, "BaasInstance", "it", "Stalled") is None

    cp.kubectl("delete", "validatingwebhookconfiguration", namespace)
    assert_over(cp, namespace, "PodDisruptionBudget", "it-gateway")
    assert_all_else(cp, namespace)
