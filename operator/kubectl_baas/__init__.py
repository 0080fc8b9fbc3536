"""`kubectl baas`: what people on call see and do.

The plugin only reads, and creates Operations: whatever is *done* is done by the operator, where it can be refused, audited and
finished after a crash. Of the operator it knows the API and the pure layers, never the engine.
"""
