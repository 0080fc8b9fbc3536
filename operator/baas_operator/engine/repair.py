"""The effects that throw data away: each looks once more, at what is so now, before it does."""

from __future__ import annotations

import asyncio
import logging

from baas_operator.api.kinds import NODE, POD, VOLUME, VOLUME_CLAIM
from baas_operator.desired.database import names
from baas_operator.desired.meta import HOST_LABEL
from baas_operator.engine import monitor
from baas_operator.engine.client import Client
from baas_operator.engine.errors import Refused, Waiting
from baas_operator.observe.database import COPYING
from baas_operator.observe.vitals import hosts_of, is_out_of_service
from baas_operator.policy.plan import Reclone, ReplaceVolume

_TRIES, _PAUSE_SECONDS = 12, 0.4
"""A PostgreSQL that does not start is started every two seconds, and Patroni takes no request in between."""
_log = logging.getLogger(__name__)


async def reclone(effect: Reclone, username: str, password: str) -> None:
    """Have a standby copied anew, unless it streams by now or is being copied.

    Raises:
        Waiting: it does not answer, or is busy with something else.
    """
    text = ""
    with monitor.answered("Patroni", again_seconds=5.0):
        for _ in range(_TRIES):
            said = await monitor.patroni_status(effect.ip, names.PATRONI_PORT)
            if (said.get("patroni") or {}).get("name") != effect.name:
                raise Waiting("NoAnswer", f"who answers at {effect.ip} is not {effect.name}", 5.0)
            if said.get("replication_state") == "streaming" or said.get("state") == COPYING or said.get("role") == "primary":
                return
            status, text = await monitor.patroni_reinitialize(effect.ip, names.PATRONI_PORT, username=username, password=password)
            if status == 200:
                _log.warning("a standby is copied anew from the primary", extra={"pod": effect.name})
                return
            await asyncio.sleep(_PAUSE_SECONDS)
    raise Waiting("NotRecloned", f"{effect.name} was not copied anew: {text}", 5.0)


async def replace_volume(effect: ReplaceVolume, namespace: str, client: Client) -> None:
    """Delete a claim and its pod, if the volume can be used on no host that there is.

    Raises:
        Refused: it can, or may.
    """
    claim = await client.get(VOLUME_CLAIM, namespace, effect.claim)
    if claim is not None and claim["metadata"]["uid"] == effect.claim_uid:
        volume = await client.get(VOLUME, None, claim["spec"]["volumeName"])
        hosts = hosts_of(volume) if volume else frozenset()
        if volume is not None and not hosts:
            raise Refused(
                "VolumeNotLocal",
                f"{effect.pod} has no place, and node {effect.node}, for which its volume was made, is gone. The volume is tied to no "
                "host, so it may be whole, and is kept: see why the pod has no place.",
            )
        nodes = await client.list(NODE)
        usable = [
            each["metadata"]["name"] for each in nodes
            if {each["metadata"]["name"], (each["metadata"].get("labels") or {}).get(HOST_LABEL)} & hosts and not is_out_of_service(each)
        ]  # fmt: skip
        if usable or not nodes:
            raise Waiting("NodeIsThere", f"the volume of {effect.pod} can be used on {', '.join(usable) or 'a node yet'}", 10.0)
        await client.delete(VOLUME_CLAIM, namespace, effect.claim, uid=effect.claim_uid)
    await client.delete(POD, namespace, effect.pod, uid=effect.pod_uid)
    _log.warning("the volume of a node that is gone is made anew", extra={"pod": effect.pod, "node": effect.node})
