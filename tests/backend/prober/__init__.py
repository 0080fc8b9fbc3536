"""Probers against real parts of a backend."""
