"""Components are rolled one after another: a change of several starts one new pod at a time, and one that does not come up is told before
the next is touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from baas_operator.api.kinds import DEPLOYMENT
from baas_operator.desired.instance import names
from baas_operator.desired.instance.component import Component
from baas_operator.desired.meta import Manifest, checksum
from baas_operator.observe.instance import rolled_out, rollout_trouble
from baas_operator.observe.keys import keys_given, withdrawn
from baas_operator.observe.view import View

TEMPLATE_ANNOTATION = "baas-operator.io/template"
"""On a Deployment: a hash of the pod template that it was given."""


def one_at_a_time(view: View, components: Sequence[Component], manifests: Iterable[Manifest]) -> list[Manifest]:
    """The manifests, with the pod templates of those whose turn it is not as they are. `components` are in the order of their turns: one
    that is under way goes on first. One that is stuck, or that the API server does not take, holds nobody up, as what mends it may be
    another's change. Nor does a key that leaked wait: who verifies with it, signs with it, or holds API keys that it signed is rolled at
    once, each still with no pod less than it has."""
    made = list(manifests)
    deployments = {each["metadata"]["name"]: each for each in made if each["kind"] == DEPLOYMENT.name}
    parts = [(each.name, found) for each in components if (found := deployments.get(f"{view.owner.name}-{each.name}"))]
    for _, each in parts:
        each["metadata"].setdefault("annotations", {})[TEMPLATE_ANNOTATION] = checksum(each["spec"]["template"])
    turns = [name for name, _ in parts if _under_way(view, name)][:1]
    if not turns:
        changed = [(name, (DEPLOYMENT.name, each["metadata"]["name"]) in view.untaken) for name, each in parts if _changes(view, each)]
        turns = [name for name, untaken in changed if untaken] + [name for name, untaken in changed if not untaken][:1]
    urgent = [name for name, each in parts if _lets_a_leaked_key_in(view, each)]
    if urgent:
        holders = {
            each.name for each in components if names.api_keys_secret(view.owner.name) in {source for source, _ in each.secret_env.values()}
        }
        turns = [*turns, *urgent, *holders]
    for name, each in parts:
        live = view.child(DEPLOYMENT, each["metadata"]["name"])
        if live is not None and name not in turns and _changes(view, each):
            each["spec"]["template"] = live["spec"]["template"]
            each["metadata"]["annotations"][TEMPLATE_ANNOTATION] = _given(live)  # as `_changes` has it, there is one
    return made


def _under_way(view: View, component: str) -> bool:
    live = view.child(DEPLOYMENT, f"{view.owner.name}-{component}")
    return live is not None and not rolled_out(live) and rollout_trouble(view, component) is None


def _changes(view: View, manifest: Manifest) -> bool:
    """Whether it has pods of another template. One from before it was noted is taken for one that does not change: it gets its note."""
    live = view.child(DEPLOYMENT, manifest["metadata"]["name"])
    given = _given(live) if live else None
    return given is not None and given != manifest["metadata"]["annotations"][TEMPLATE_ANNOTATION]


def _lets_a_leaked_key_in(view: View, manifest: Manifest) -> bool:
    """Whether its pods have a key that left the set before its time, and would not with another template."""
    live = view.child(DEPLOYMENT, manifest["metadata"]["name"])
    given = keys_given(live) - keys_given(manifest) if live else frozenset()
    return bool(given & withdrawn(view, given))


def _given(live: Manifest) -> str | None:
    note: str | None = (live["metadata"].get("annotations") or {}).get(TEMPLATE_ANNOTATION)
    return note
