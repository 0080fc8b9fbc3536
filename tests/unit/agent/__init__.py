"""What runs beside each PostgreSQL member, against stand-ins for the API server and Patroni."""
