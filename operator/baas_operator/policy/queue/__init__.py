"""EventQueue: what is decided about its servers, and about what it keeps."""

from baas_operator.policy.queue.plan import plan_queue

__all__ = ["plan_queue"]
