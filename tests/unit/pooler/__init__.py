"""The agent beside PgBouncer, against stand-ins for PgBouncer's console, the API server, and a primary's two ports."""
