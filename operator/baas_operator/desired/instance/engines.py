"""The engines that there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from baas_operator.api.instance.spec import Engine
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.engine import EngineDefinition, Given
from baas_operator.desired.instance.gateway_pod import gateway
from baas_operator.desired.instance.logins import with_logins
from baas_operator.desired.instance.parse import PARSE
from baas_operator.desired.instance.prober import prober
from baas_operator.desired.instance.referred import of_component
from baas_operator.desired.instance.supabase import SUPABASE

ENGINES: Mapping[Engine, EngineDefinition] = {Engine.SUPABASE: SUPABASE, Engine.PARSE: PARSE}


def blueprint(given: Given) -> list[Component]:
    """All components of a backend, the gateway last: it leads nowhere before the others are there."""
    engine = ENGINES[given.spec.engine]
    made = [*engine.components(given), *prober(given), gateway(given, engine.upstreams(given), engine.routes(given))]
    return [_following(with_logins(each, given.owner.name, given.logins), given.versions) for each in made]


def _following(component: Component, versions: Mapping[str, str]) -> Component:
    """One whose pods are rolled when a Secret or ConfigMap changes that variables of theirs are out of: those are read once. One that has
    no such variables stays as it is."""
    names = of_component(component.options)
    return replace(component, rolls=(*component.rolls, *(versions.get(each, "") for each in names))) if names else component
