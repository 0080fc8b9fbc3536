"""Whatever passes the schema of a BaasInstance is planned: a planner that raises tells nobody why nothing happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baas_operator.api.instance.spec import ENGINE_COMPONENTS, Engine
from baas_operator.api.kinds import DATABASE_REPLICA, EVENT_QUEUE
from tests.unit.policy.backend import WELL, Backend

CRD = yaml.safe_load((Path(__file__).parents[3] / "crds/baas-operator.io_baasinstances.yaml").read_text())
SPEC = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
ONE_OF = [{"value", "secret", "configMap"}, {"secret", "configMap", "emptyDir"}, {"secretName", "issuerRef"}]
"""What CEL rules say, as far as the planner would not go on without it."""


def anything(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What a schema takes."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "object" if "properties" in schema:
            made = {name: anything(each) for name, each in schema["properties"].items()}
            must = set(schema.get("required", []))
            one = next((each for each in ONE_OF if each <= set(made)), set())
            whole = st.fixed_dictionaries(
                {name: each for name, each in made.items() if name in must and name not in one},
                optional={name: each for name, each in made.items() if name not in must | one},
            )
            if not one:
                return whole
            return st.one_of(*(st.tuples(whole, made[name]).map(lambda both, name=name: both[0] | {name: both[1]}) for name in sorted(one)))
        case "object":
            return st.dictionaries(st.text(max_size=8), anything(schema["additionalProperties"]), max_size=3)
        case "array":
            least = schema.get("minItems", 0)
            return st.lists(anything(schema["items"]), min_size=least, max_size=max(2, least))
        case "string" if "pattern" in schema:
            return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: len(text) <= schema.get("maxLength", 9999))
        case "string":
            return st.text(min_size=schema.get("minLength", 0), max_size=20)
        case "integer":
            return st.integers(schema.get("minimum", 0), schema.get("maximum", 10**9))
        case _:
            return st.booleans()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(anything(SPEC))
def test_any_spec_is_planned(spec: dict[str, Any]) -> None:
    others = {name for engine, names in ENGINE_COMPONENTS.items() if engine is not Engine(spec.get("engine", "supabase")) for name in names}
    spec["components"] = {name: each for name, each in (spec.get("components") or {}).items() if name not in others}
    shop = Backend(**spec)
    shop.draw_keys()
    shop.has(DATABASE_REPLICA, spec.get("databaseRef", {}).get("name", "shop-db"), WELL)
    shop.has(EVENT_QUEUE, spec.get("queueRef", {}).get("name", "shop-events"), WELL)
    for _ in range(2):
        shop.reconcile()
        shop.bootstrap()
        shop.roll_out()
    assert shop.plan().conditions
