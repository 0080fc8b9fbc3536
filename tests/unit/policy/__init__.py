"""From an observation to a decision: stories of what happens to a cluster, without a cluster."""
