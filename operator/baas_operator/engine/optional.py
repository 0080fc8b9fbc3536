"""Kinds that only some API servers have: the Prometheus operator's, the Gateway API's, cert-manager's.

What the API server has is asked for when the operator begins to lead, and every minute from then on (runtime.py). Children of such kinds
are applied and pruned as others are. They are not watched but listed, with every resync: what is changed by hand is put back then.
"""

from __future__ import annotations

from baas_operator.api.kinds import Kind
from baas_operator.engine.client import Client
from baas_operator.engine.errors import ApiError


async def serves(client: Client, kind: Kind) -> bool:
    """Whether the API server has a kind in that version (Kubernetes documentation, "API discovery": everybody may ask).

    Raises:
        ApiError, or the transport's error: it could not be asked.
    """
    try:
        answer = await client.request("GET", f"/apis/{kind.api_version}", repeat=True)
    except ApiError as error:
        if error.not_found:
            return False
        raise
    return any(each.get("name") == kind.plural for each in answer.get("resources") or [])
