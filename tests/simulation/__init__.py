"""Seeded fault plans against the real scheduling code."""
