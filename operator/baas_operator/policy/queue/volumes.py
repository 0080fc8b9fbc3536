"""How large the servers' volumes count as being: no larger than they are.

A spec may ask for more than volumes become: they take their time, and some classes of storage do not grow. JetStream believes what its
configuration says, and takes it in while it runs. Were that more than there is, streams would be promised what no disk has; one that is
full takes nothing for any stream, and all servers fill alike.
"""

from __future__ import annotations

from baas_operator.api.kinds import CONFIG_MAP, VOLUME_CLAIM
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.meta import Manifest
from baas_operator.desired.quantity import parse_bytes
from baas_operator.desired.queue import names
from baas_operator.desired.queue.build import VOLUME_ANNOTATION
from baas_operator.observe.view import View
from baas_operator.policy.placement import is_bound


def volume_bytes(spec: EventQueueSpec, view: View) -> int:
    """What is asked for, as far as the smallest volume has it; never less than servers were told before, as they would refuse that, and a
    new volume is small for a moment only."""
    asked = parse_bytes(spec.storage.size)
    there = [size for each in view.all(VOLUME_CLAIM) if is_bound(each) and (size := _capacity(each))]
    if not there or min(there) >= asked:
        return asked
    return min(asked, max(min(there), _told(view)))


def _capacity(claim: Manifest) -> int:
    """What a claim's volume has; 0 where nobody has said, or nobody understands it."""
    try:
        return parse_bytes(str(((claim.get("status") or {}).get("capacity") or {})["storage"]))
    except (KeyError, ValueError):
        return 0


def _told(view: View) -> int:
    live = view.child(CONFIG_MAP, names.config_map(view.owner.name)) or {}
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(VOLUME_ANNOTATION, "")
    return int(text) if text.isascii() and text.isdigit() else 0
