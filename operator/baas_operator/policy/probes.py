"""What synthetic transactions prove of a backend.

It does not serve where a transaction that matters has failed twice in a row from most of the zones that it is made from. From fewer it may
be those zones; and probers that say nothing prove nothing, for nor against: what was told to fail does so until more is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.instance.status import ProbeStatus
from baas_operator.api.kinds import POD
from baas_operator.desired.instance.prober import PROBER, REPLICAS
from baas_operator.desired.instance.probes import Probes, probes_of
from baas_operator.observe.conditions import ANSWERS, Condition, find
from baas_operator.observe.instance import is_over
from baas_operator.observe.probes import Probed, Verdict, is_majority, verdicts
from baas_operator.observe.text import sentence, shorten
from baas_operator.observe.view import View
from baas_operator.policy.plan import Finding

_MAX_FAILURE = 300
"""Characters of a failure that a status keeps."""

_SHAKEN_SECONDS = 10.0
"""How soon it is looked again while an attempt failed: it is the next one that tells, and nobody tells of it."""


@dataclass(frozen=True)
class Answering:
    """What is told. `conditions`: none where nothing is probed; `unready`: why the backend does not serve; `look_again_seconds`: until
    there is something new to hear."""

    conditions: tuple[Condition, ...] = ()
    unready: Finding | None = None
    status: tuple[ProbeStatus, ...] = ()
    look_again_seconds: float | None = None


def judge_probes(view: View, spec: BaasInstanceSpec) -> Answering:
    """Decide about what `view.external` says of probes."""
    probes = probes_of(spec, view.owner)
    if probes is None or spec.hibernate:
        return Answering()
    before = _before(view, probes)
    again = float(spec.prober.interval_seconds)
    if not isinstance(view.external, Probed):  # nobody was asked yet
        return Answering(_told_before(view), None, tuple(before.values()), again)
    zones = _zones(view)
    places = max(len(set(zones.values())), min(REPLICAS, len(view.zones(spec.components.gateway.placement))), 1)
    found = [
        _held(view, each, before.get(each.transaction), places)
        for each in verdicts([each.name for each in probes.transactions], zones, view.external)
    ]
    vital = {each.name for each in probes.transactions if each.vital}
    failing = [each for each in found if is_majority(each.failing, places)]
    matters = [each for each in failing if each.transaction in vital]
    return Answering(
        conditions=(_condition(found, matters or failing, places),),
        unready=Finding("ProbesFail", _failing(matters)) if matters else None,
        status=tuple(_status(each, before.get(each.transaction)) for each in found),
        look_again_seconds=min(again, _SHAKEN_SECONDS) if any(each.shaken for each in found) else again,
    )


def _held(view: View, verdict: Verdict, before: ProbeStatus | None, places: int) -> Verdict:
    """The verdict, or the one that was told, where that was a failure and nothing else is known yet: probers that are replaced in an outage
    are no end of it. Those of most zones that can not try will not know better for as long, and are not waited for."""
    if before is None or is_majority((*verdict.well, *verdict.failing), places) or is_majority(verdict.troubled, places):
        return verdict
    old = find(view.resource, ANSWERS)
    if old is None or old["reason"] != "ProbesFail" or not is_majority(before.failing, places):
        return verdict
    how = (before.last_failure or "").partition(": ")[2] or "it failed"
    return replace(verdict, well=tuple(before.zones), failing=tuple(before.failing), unknown=(), sentence=verdict.sentence or how)


def _zones(view: View) -> dict[str, str]:
    """Pod -> its zone; the node's name stands for one that is not known, so that one without labels is not taken for another's. A pod that
    is over, as one that was evicted, stays as an object: it is in no zone, and never has anything to say again."""
    made = {}
    for pod in view.all(POD, PROBER):
        node = (pod.get("spec") or {}).get("nodeName")
        if node and not pod["metadata"].get("deletionTimestamp") and not is_over(pod):
            made[pod["metadata"]["name"]] = view.zone_of(pod) or f"node {node}"
    return made


def _condition(found: Sequence[Verdict], failing: Sequence[Verdict], places: int) -> Condition:
    if failing:
        return Condition(ANSWERS, False, "ProbesFail", sentence(_failing(failing)))
    unknown = [each for each in found if not is_majority((*each.well, *each.failing), places)]
    if unknown:
        if not any(each.well or each.failing for each in found) and not any(each.trouble for each in found):
            return Condition(ANSWERS, None, "ProbesStarting", "No prober has done its transactions yet.")
        return Condition(ANSWERS, None, "ProbesSilent", sentence(_unknown(unknown[0], places)))
    return Condition(ANSWERS, True, "InstanceAnswers", _well(found))


def _failing(found: Sequence[Verdict]) -> str:
    """`write fails from zone-a and zone-b: POST /rest/v1/beats: 503`."""
    return "; ".join(f"{each.transaction} fails from {_listed(each.failing)}: {each.sentence.rstrip('.')}" for each in found)


def _unknown(verdict: Verdict, places: int) -> str:
    heard = (*verdict.well, *verdict.failing)
    said = f"of {verdict.transaction} there is word from {_listed(heard) if heard else 'no zone'} alone, where there are {places} zones"
    if verdict.failing:
        said += f", and it fails from {_listed(verdict.failing)}: {verdict.sentence.rstrip('.')}"
    elif verdict.trouble:
        said += f": {verdict.trouble}"
    return said[0].upper() + said[1:]


def _well(found: Sequence[Verdict]) -> str:
    said = (
        f"{_listed([each.transaction for each in found])} succeed from {_listed(sorted({zone for each in found for zone in each.well}))}."
    )
    if some := [each for each in found if each.failing]:
        said += f" But {_failing(some)}."
    return said[0].upper() + said[1:]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _status(verdict: Verdict, before: ProbeStatus | None) -> ProbeStatus:
    """With the last failure that anybody told of: a prober that is replaced knows of none."""
    at, how = verdict.last_failure_at, shorten(verdict.last_failure or "", _MAX_FAILURE) or None
    if before and before.last_failure_at and (at is None or before.last_failure_at >= at):
        at, how = before.last_failure_at, before.last_failure
    return ProbeStatus(
        transaction=verdict.transaction, zones=list(verdict.well), failing=list(verdict.failing), last_failure_at=at, last_failure=how
    )


def _before(view: View, probes: Probes) -> dict[str, ProbeStatus]:
    """What the status says, of transactions that are still asked for."""
    names = {each.name for each in probes.transactions}
    try:
        told = [ProbeStatus.stored(each) for each in (view.resource.get("status") or {}).get("probes") or []]
    except ValidationError:  # written by hand, or by another operator
        return {}
    return {each.transaction: each for each in told if each.transaction in names}


def _told_before(view: View) -> tuple[Condition, ...]:
    old = find(view.resource, ANSWERS)
    return (Condition(ANSWERS, {"True": True, "False": False}.get(old["status"]), old["reason"], old["message"]),) if old else ()
