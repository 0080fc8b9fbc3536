"""The operator into the lab's cluster, from its chart, as a user would install it."""

from __future__ import annotations

import json
from pathlib import Path

from baas_lab import bases, images
from baas_lab.cluster import Cluster
from baas_lab.process import run
from baas_lab.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACE = "baas-system"
RELEASE = "baas-operator"
ROLLOUT_SECONDS = 240.0
_OPERATOR_IMAGE = "baas-operator/operator:"


def install(cluster: Cluster, progress: Progress | None = None) -> None:
    """Images built and in the nodes, CRDs applied, chart installed, both replicas of the operator on the image just built.

    Raises CommandError when a step fails.
    """
    from baas_lab import operands  # builds need more than the rest of the lab does

    progress = progress or Progress()
    with progress.step("Images"):
        bases.ensure_all(cluster.docker, cluster.cache, progress)
        references = operands.build_all(cluster.docker, cluster.cache, progress)
    with progress.step("Images into the nodes"):
        images.load(cluster, references, progress)
    operator = next(each for each in references if each.startswith(_OPERATOR_IMAGE))
    with progress.step("The operator, from its chart"):
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / "crds"))
        # The image keeps its tag while it is worked on: its id in an annotation is what rolls the pods.
        annotations = json.dumps({"baas-lab/image-id": cluster.docker.image_id(operator)})
        run(
            ["helm", "upgrade", "--install", RELEASE, str(REPOSITORY / "charts/baas-operator"), "--namespace", NAMESPACE,
             "--create-namespace", "--wait", "--timeout", f"{ROLLOUT_SECONDS:.0f}s", "--set-json", f"podAnnotations={annotations}",
             *(word for value, image in operands.STAND_INS.items() for word in ("--set", f"images.{value}={image}"))],
            env=cluster.environment, timeout_seconds=ROLLOUT_SECONDS + 30,
        )  # fmt: skip
