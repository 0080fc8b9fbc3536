"""Talking to NATS servers."""

from baas_operator.jetstream.waiting import install

install()
