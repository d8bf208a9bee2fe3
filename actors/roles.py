"""The roles that models play in a job."""

from __future__ import annotations

ROLES = ("student", "oracle", "teacher")
"""The three roles, in a picture's order; each has an actor pool of its own."""
