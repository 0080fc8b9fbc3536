"""A ledger of acknowledged writes: a client in the cluster that keeps it, and the judgement of what it says. Nothing here knows what
is written to but a PostgreSQL URI, so that a rival is measured with the same ruler.
"""
