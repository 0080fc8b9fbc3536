"""Pods that are told of something new at once: users, links, webhooks, keys, routes.

What a pod mounts is brought by its node's kubelet when it next looks at the pod, which is within a minute and a half. It looks at once when
the pod itself changes (Kubernetes documentation, "Configure a Pod to Use a ConfigMap": an annotation has it refreshed), so the versions of
what a pod mounts are written on it. That is a courtesy: who is not told learns of it all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from baas_operator.desired.meta import Manifest
from baas_operator.policy.plan import TellPod

TOLD_ANNOTATION = "baas-operator.io/told"
"""On a pod: the versions of what it mounts, as far as it was told."""


def untold(pods: Iterable[Manifest], mounted: Iterable[Manifest | None], others: Iterable[str] = ()) -> list[TellPod]:
    """The pods that were not told of what they mount now. `others`: versions of what they mount beside."""
    versions = "-".join(sorted([*(str(each["metadata"]["resourceVersion"]) for each in mounted if each is not None), *others]))
    return [
        TellPod(str(metadata["name"]), str(metadata["uid"]), TOLD_ANNOTATION, versions)
        for metadata in (pod["metadata"] for pod in pods)
        if versions and not metadata.get("deletionTimestamp")
        if (metadata.get("annotations") or {}).get(TOLD_ANNOTATION) != versions
    ]


def told_of(pod: Manifest, version: str) -> bool:
    """Whether a pod was told of that version of something."""
    return version in ((pod["metadata"].get("annotations") or {}).get(TOLD_ANNOTATION) or "").split("-")
