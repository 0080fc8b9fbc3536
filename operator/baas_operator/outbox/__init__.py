"""From a table to a stream: rows that a transaction inserts become messages once it has committed (docs/decisions/outbox.md)."""
