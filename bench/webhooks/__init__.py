"""Webhooks, measured: events to an endpoint that fails, hangs and goes away, while the dispatchers are killed again and again.

`python -m bench.webhooks --help`, or `make bench-webhooks`. Everything is real and on this machine: three NATS servers, dispatchers as
processes, and an endpoint that verifies each signature with the library `standardwebhooks` and keeps a ledger of what it took.
"""
