"""PgBouncer's companion: it follows the primary, and pauses clients for a planned move."""
