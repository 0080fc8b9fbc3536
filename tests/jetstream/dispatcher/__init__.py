"""The dispatcher against real NATS servers, and real endpoints on loopback."""
