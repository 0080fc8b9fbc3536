"""`make verify`'s look at everything that is rendered: helm lint, then kubeconform -strict over chart, examples and children."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from baas_lab import versions
from tests.control_plane.harness.tools import tool
from tests.schemas import openapi

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "baas-operator"
RENDERED = {"BaasInstance", "DatabaseReplica", "EventQueue"}
VALUES = {
    "default values": [],
    "two namespaces": ["--set", "watchNamespaces={shop,blog}"],
    "one replica of a mirror": ["--set", "replicas=1", "--set", "imageRegistry=mirror.example.com/baas"],
}


def run(*command: str | Path, stdin: str = "") -> str:
    """Output of a command; ends the program with what it said when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def manifests(text: str) -> list[dict[str, object]]:
    """The Kubernetes objects of a YAML stream."""
    return [each for each in yaml.safe_load_all(text) if isinstance(each, dict) and "apiVersion" in each and "kind" in each]


def examples() -> dict[Path, str]:
    """Files of examples/ that hold Kubernetes objects."""
    found = {path: path.read_text() for path in sorted((REPOSITORY / "examples").rglob("*.yaml"))}
    return {path: text for path, text in found.items() if manifests(text)}


def conform(schemas: list[Path], what: str, text: str) -> None:
    """Hold a YAML stream against the schemas; every object must have one."""
    places = [f"-schema-location={folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json" for folder in schemas]
    said = json.loads(run(tool("kubeconform"), "-strict", "-summary", "-output=json", *places, "-", stdin=text))["summary"]
    if said["valid"] == 0 or said["skipped"] or said["invalid"] or said["errors"]:
        sys.exit(f"{what}: {said}")
    print(f"  {said['valid']:4} objects  {what}")


def main() -> None:
    """Everything in order; the first thing that is wrong ends it."""
    print("helm lint")
    run(tool("helm"), "lint", "--strict", "--kube-version", versions.KUBERNETES, CHART)
    print("kubeconform -strict")
    with tempfile.TemporaryDirectory() as folder:
        for name, schema in openapi.own(REPOSITORY / "crds"):
            (Path(folder) / name).write_text(json.dumps(schema))
        schemas = [Path(folder), openapi.folder()]
        for what, values in VALUES.items():
            command = ["template", "baas-operator", CHART, "--namespace", "baas-system", "--kube-version", versions.KUBERNETES]
            conform(schemas, f"chart with {what}", run(tool("helm"), *command, "--include-crds", *values))
        for path, text in examples().items():
            name = path.relative_to(REPOSITORY)
            conform(schemas, str(name), text)
            if {each["kind"] for each in manifests(text)} & RENDERED:
                conform(schemas, f"{name}, rendered", run(sys.executable, "-m", "kubectl_baas", "render", "--filename", path))


if __name__ == "__main__":
    main()
