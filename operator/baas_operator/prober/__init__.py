"""Synthetic transactions: what a client does, from a pod in each zone, through the gateway, and what came of it.

Nothing here imports pydantic, aiohttp or Kubernetes: three of these run beside every backend, and each of those costs more memory than all
of this together (docs/prober.md has the figures).
"""
