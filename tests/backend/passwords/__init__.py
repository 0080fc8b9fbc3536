"""Passwords of a backend's roles, rotated for real."""
