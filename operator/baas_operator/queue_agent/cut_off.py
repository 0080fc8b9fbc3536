"""Whether the server beside it is cut off from the others, so that clients are better served elsewhere.

A server that hears no majority can take nothing in for a stream, and refuses at once: "no responders". Its clients stay connected to it all
the same, for as long as they reach it, and NATS sends nobody away. Measured: a publisher that asked for its leader was refused for 180 s
while two servers beside it did all that was asked of them.
"""

from __future__ import annotations

from baas_operator.queue_agent.cluster import Cluster

SEND_AWAY_SECONDS = 30.0
"""For so long clients are sent away, who may come back until the pod is out of the Service. After that whoever is still here reaches no
other server, and is left what works without a majority: streams with one copy, and what clients say to one another."""


def is_cut_off(server: str, cluster: Cluster) -> bool:
    """Two things have to be so. No majority answers: an election that a majority takes part in ends by itself. And the server says that it
    hears nobody who leads, or leads, or follows one that leads, whom no majority has answered for a while: others that are slow to answer
    are no reason."""
    return cluster.few() and server in cluster.held and server not in cluster.led
