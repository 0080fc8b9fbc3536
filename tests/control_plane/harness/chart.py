"""What the chart gives the operator: its rights and its environment, so that both are under test too."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from baas_lab import versions
from tests.harness.api import Object

from .tools import run

REPOSITORY = Path(__file__).resolve().parents[3]
SYSTEM_NAMESPACE = "baas-system"


@cache
def rendered() -> tuple[Object, ...]:
    """The chart's manifests with its default values."""
    chart = REPOSITORY / "charts" / "baas-operator"
    options = ("--namespace", SYSTEM_NAMESPACE, "--kube-version", versions.KUBERNETES)
    done = run("helm", "template", "baas-operator", chart, *options)
    return tuple(manifest for manifest in yaml.safe_load_all(done.stdout) if manifest)


def rights() -> list[Object]:
    """Its RBAC, granted to every ServiceAccount of the namespace: each operator here has one of its own (see audit.py)."""
    everyone = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Group",
        "name": f"system:serviceaccounts:{SYSTEM_NAMESPACE}",
    }
    found = [dict(each) for each in rendered() if each["apiVersion"].startswith("rbac.authorization.k8s.io/")]
    for manifest in found:
        if "subjects" in manifest:
            manifest["subjects"] = [everyone]
    return found


def environment() -> dict[str, str]:
    """The variables of the operator's container that have a fixed value."""
    deployment = next(each for each in rendered() if each["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}
