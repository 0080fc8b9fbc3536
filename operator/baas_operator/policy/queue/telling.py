"""Servers and dispatchers of a queue that are told of new users, links and webhooks at once."""

from __future__ import annotations

from baas_operator.api.kinds import CONFIG_MAP, POD, SECRET
from baas_operator.desired.queue import names
from baas_operator.observe.view import View
from baas_operator.policy.plan import TellPod
from baas_operator.policy.telling import untold


def tell(view: View) -> list[TellPod]:
    """The servers and dispatchers that were not told of what they mount now."""
    queue = view.owner.name
    servers = (view.child(SECRET, names.auth_secret(queue)), view.child(CONFIG_MAP, names.config_map(queue)))
    dispatchers = (view.child(CONFIG_MAP, names.dispatcher(queue)), *view.all(SECRET, names.DISPATCHER))
    return [*untold(view.all(POD, names.COMPONENT), servers), *untold(view.all(POD, names.DISPATCHER), dispatchers)]
