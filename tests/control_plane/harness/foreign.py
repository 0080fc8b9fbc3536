"""CustomResourceDefinitions of others, as they publish them: out of their Go modules, every byte checked by its module sum."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from tests.harness.api import Object


@dataclass(frozen=True)
class Module:
    """A Go module and a file in it. `sum` is what go.sum has for it."""

    path: str
    version: str
    sum: str
    file: str


MODULES = {
    "PodMonitor": Module(
        "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
    "HTTPRoute": Module(
        "sigs.k8s.io/gateway-api", "v1.4.1", "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8=",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "Certificate": Module(
        "github.com/cert-manager/cert-manager", "v1.21.2", "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        "deploy/crds/cert-manager.io_certificates.yaml",
    ),
}  # fmt: skip


@cache
def crd(kind: str) -> Object:
    """The CustomResourceDefinition of a kind; downloads it when it is not there yet."""
    module = MODULES[kind]
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{module.path}@{module.version}"],
        env=os.environ | {"GOFLAGS": "", "GOWORK": "off"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    said = json.loads(done.stdout or "{}")
    assert done.returncode == 0, said.get("Error") or done.stderr
    assert said["Sum"] == module.sum, f"{module.path} {module.version} is not what it was: {said['Sum']}"
    found = [each for each in yaml.safe_load_all((Path(said["Dir"]) / module.file).read_text()) if each]
    (made,) = [each for each in found if each["kind"] == "CustomResourceDefinition"]
    return dict(made)
