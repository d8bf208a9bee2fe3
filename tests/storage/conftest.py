"""Storages against real servers."""

from __future__ import annotations

from tests.servers.fixtures import in_object_store, object_store

__all__ = ["in_object_store", "object_store"]
