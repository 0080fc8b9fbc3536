"""Failover, measured: the same faults on stock Patroni as it comes, on stock Patroni with the tightest timers that it takes, and on ours.

`python -m bench.failover --help`, or `make bench-failover`. The ruler is that of the chaos tests: `tests/chaos/rehearsal.py`.
"""
