"""The dispatcher's parts that need no NATS."""
