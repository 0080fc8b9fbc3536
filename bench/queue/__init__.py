"""Queues, measured: the same faults on an EventQueue, and on plain NATS from its public chart's settings.

`python -m bench.queue --help`, or `make bench-queue`. The ruler is that of the chaos tests: `tests/chaos/rehearsal.py`.
"""
