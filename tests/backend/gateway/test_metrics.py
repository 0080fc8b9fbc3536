"""What Prometheus is told: enough to alert on, by route and status, and not Envoy's thousands of series."""

from __future__ import annotations

import asyncio

from baas_operator.desired.instance.gateway import GatewaySpec, Limits, Rate
from tests.backend.gateway.conftest import Build
from tests.backend.gateway.harness.load import ask

MOST_SERIES = 450


async def test_requests_are_counted_by_route_and_status(build: Build) -> None:
    world = await build(spec=GatewaySpec(replicas=1, limits=Limits(per_key=Rate(1, 3))))
    url = f"{world.gateway.url}/rest/v1/notes"
    headers = world.anon
    said = [each.status for each in await asyncio.gather(*(ask(world.session, "GET", url, headers=headers) for _ in range(20)))]
    good, refused = said.count(200), said.count(429)
    assert good + refused == 20
    assert good
    assert refused
    assert (await ask(world.session, "GET", url)).status == 401
    other = {"authorization": f"Bearer {world.key.token('authenticated', sub='alice')}"}
    assert (await ask(world.session, "POST", f"{world.gateway.url}/other/v1/x", headers=other)).status == 200

    told = await world.gateway.statistics()

    def one(name: str, *labels: str) -> float:
        found = [value for key, value in told.items() if key.split("{")[0] == name and all(label in key for label in labels)]
        assert found, f"{name} {labels}: {[key for key in told if key.startswith(name[:20])]}"
        return sum(found)

    assert one("envoy_vhost_route_upstream_rq", 'envoy_route="rest_v1_reads"', 'envoy_response_code="200"') == good
    assert one("envoy_vhost_route_upstream_rq", 'envoy_route="other_v1_writes"', 'envoy_response_code="200"') == 1
    assert one("envoy_http_downstream_rq_xx", 'envoy_http_conn_manager_prefix="http"', 'envoy_response_code_class="4"') == refused + 1
    assert one("envoy_cluster_upstream_rq_total", 'envoy_cluster_name="rest"') == good
    assert one("envoy_cluster_membership_healthy", 'envoy_cluster_name="rest"') == 1
    assert one("envoy_http_local_rate_limit_rate_limited") == refused
    assert one("envoy_http_jwt_authn_denied") == 1
    assert one("envoy_server_live") == 1
    series = {key for key in told if "_bucket" not in key}
    assert len(series) < MOST_SERIES, len(series)
