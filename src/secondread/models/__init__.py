"""Architectures by name, and their losses."""
