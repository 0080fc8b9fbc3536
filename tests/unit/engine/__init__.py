"""The tools of the loop: store, queue, difference, secrets, Lease, health."""
