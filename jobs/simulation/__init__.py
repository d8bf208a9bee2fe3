"""Executors on a virtual clock."""
