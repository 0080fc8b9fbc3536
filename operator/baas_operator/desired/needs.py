"""What a workload needs among the other manifests of its object: what its pods mount, read, run as, and are isolated by.

A workload that went ahead of one of these would start pods with what was there before, and would not be rolled again for the rest. And a
policy that shuts many pods needs those that open some of them again: ahead of these it would be an outage of what serves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from baas_operator.desired.meta import Manifest

Ref = tuple[str, str]
"""Kind and name."""


def needs(workload: Manifest, others: Sequence[Manifest]) -> frozenset[Ref]:
    """Those of the other manifests that are to be as they should before a workload is, or a policy; none for what has no pods."""
    if workload["kind"] == "NetworkPolicy":
        return frozenset(_opened(workload, others))
    template = _template(workload)
    if template is None:
        return frozenset()
    pod = template["spec"]
    named = set(_named(pod))
    for each in others:
        body, name = each.get("spec") or {}, each["metadata"]["name"]
        if each["kind"] == "NetworkPolicy" and _selects(body["podSelector"], template["metadata"].get("labels") or {}):
            named.add(("NetworkPolicy", name))
        if each["kind"] == "RoleBinding" and pod.get("serviceAccountName") in {who["name"] for who in each["subjects"]}:
            named |= {("RoleBinding", name), (each["roleRef"]["kind"], each["roleRef"]["name"])}
    return frozenset(named & set(map(_ref, others)))


def with_needs(refs: Collection[Ref], manifests: Sequence[Manifest]) -> list[Manifest]:
    """Those of the manifests that are named, with all that they need, in their order."""
    found: set[Ref] = set()
    left = {_ref(each): each for each in manifests}
    asked = [ref for ref in refs if ref in left]
    while asked:
        if (ref := asked.pop()) not in found:
            found.add(ref)
            asked += needs(left[ref], manifests)
    return [each for each in manifests if _ref(each) in found]


def _ref(manifest: Manifest) -> Ref:
    return manifest["kind"], manifest["metadata"]["name"]


def _opened(policy: Manifest, others: Iterable[Manifest]) -> Iterator[Ref]:
    """The policies that are for some of the pods that this one is for."""
    for each in others:
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] != policy["metadata"]["name"]:
            labels = each["spec"]["podSelector"].get("matchLabels") or {}
            if _selects(policy["spec"]["podSelector"], labels) and labels != (policy["spec"]["podSelector"].get("matchLabels") or {}):
                yield "NetworkPolicy", each["metadata"]["name"]


def _template(workload: Manifest) -> Manifest | None:
    body = workload.get("spec") or {}
    if job := body.get("jobTemplate"):
        body = job["spec"]
    template: Manifest | None = body.get("template")
    return template if template and "spec" in template else None


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether it may: what an expression says is not looked into."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())


def _named(pod: dict[str, Any]) -> Iterator[Ref]:
    if account := pod.get("serviceAccountName"):
        yield "ServiceAccount", account
    for volume in pod.get("volumes") or []:
        yield from _sources([volume, *(volume.get("projected") or {}).get("sources", [])])
    for container in [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]:
        for each in container.get("env") or []:
            said = each.get("valueFrom") or {}
            yield from (
                (kind, said[ref]["name"])
                for ref, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")) if ref in said
            )  # fmt: skip


def _sources(volumes: Iterable[dict[str, Any]]) -> Iterator[Ref]:
    for each in volumes:
        if secret := each.get("secret"):
            yield "Secret", secret.get("secretName") or secret["name"]  # the name that it has as a part of a projected one
        if config_map := each.get("configMap"):
            yield "ConfigMap", config_map["name"]
