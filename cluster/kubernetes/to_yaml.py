"""Objects as YAML that a person can read: no aliases, and texts of several lines as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(objects: Sequence[Any]) -> str:
    """The objects, as the documents of one file."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=1000)
