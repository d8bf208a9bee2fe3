"""Reads a YAML mapping that a person wrote: safely, and with the line of every mistake.

It refuses tags that make objects, keys that occur twice, and aliases that blow up: nine lines of
them can stand for a billion values.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

from actors.errors import SpecError

MAX_BYTES = 2**20
"""Chosen: the job files here have 500 bytes; a larger file is the input, or a model, by mistake."""
MAX_VALUES = 10_000
"""Of the file with every alias written out. Chosen: a job file with every field has some 600."""

NUMBER_TAGS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
LONGEST_NUMBER = 100
"""Characters. Chosen: every number of a job file fits in 30. Python refuses to show one of more
than 4,300 digits, and took 36 s to make one of 250,000 to the base of 60."""

_OCTAL = re.compile(r"[-+]?0[0-7_]*[1-7][0-7_]*")


def read_mapping(
    path: Path, *, what: str = "job file", example: str = "input: prompts.csv"
) -> dict[str, Any]:
    """The mapping in a YAML file, a `what`. Raises SpecError with the line and the rule."""
    fields = _read(_read_text(path, what), str(path))
    if not isinstance(fields, dict):
        raise SpecError(f"{path}: a {what} is a mapping of fields, such as `{example}`.")
    for key in fields:
        if not isinstance(key, str):
            raise SpecError(f"{path}: the field {key!r} is not text. Quote it, if it is meant.")
    return fields


def read_value(text: str, where: str) -> Any:
    """The value in a piece of YAML; `where` is its place, for errors. Raises SpecError."""
    return _read(text, where)


def _read(text: str, where: str) -> Any:
    try:
        # Only the safe loader's own types: a tag such as !!python/object is refused below.
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Check(where).values(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        _refuse(where, error.problem_mark, _reason(error))
    except yaml.YAMLError as error:
        raise SpecError(f"{where}: not valid YAML: {str(error).splitlines()[0]}.") from error
    except ValueError as error:  # a date such as 2001-99-99
        raise SpecError(f"{where}: a value cannot be read: {error}. Quote it.") from error
    except RecursionError as error:
        raise SpecError(f"{where}: nested too deeply for a job file.") from error


def _read_text(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"cannot read the {what} {str(path)!r}: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise SpecError(f"{path} is larger than {MAX_BYTES:,} bytes. Is it a {what}?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}: not UTF-8 (byte {error.start}). Save the file as UTF-8."
        ) from error


class _Check:
    """Walks through the nodes before the loader makes objects of them."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._sizes: dict[int, int] = {}

    def values(self, node: yaml.Node) -> int:
        """The number of values in a node, with its aliases written out."""
        if isinstance(node, yaml.ScalarNode):
            self._check_number(node)
        if id(node) in self._sizes:
            size = self._sizes[id(node)]
            if not size:
                _refuse(self._where, node.start_mark, "an anchor contains its own alias")
            return size
        self._sizes[id(node)] = 0  # being counted: an alias that meets it again lies inside it
        size = 1 + sum(map(self.values, self._children(node)))
        if size > MAX_VALUES:
            _refuse(
                self._where,
                node.start_mark,
                f"with its aliases written out it has more than {MAX_VALUES:,} values",
            )
        self._sizes[id(node)] = size
        return size

    def _check_number(self, node: yaml.ScalarNode) -> None:
        """Refuse what YAML reads as a number and no person means as one."""
        if node.tag not in NUMBER_TAGS or node.style:
            return
        if ":" in node.value:
            reason = "is a number to the base of 60 in YAML. Quote it"
        elif _OCTAL.fullmatch(node.value):
            reason = "is a number to the base of 8 in YAML. Leave the 0 out, or quote it"
        elif len(node.value) > LONGEST_NUMBER:
            reason = f"is a number of {len(node.value):,} characters. Quote it, if it is text"
        else:
            return
        shown = node.value if len(node.value) <= LONGEST_NUMBER else f"{node.value[:20]}..."
        _refuse(self._where, node.start_mark, f"{shown} {reason}")

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    _refuse(
                        self._where,
                        key.start_mark,
                        f"the key {key.value!r} is there already, in line {seen[key.value]}. "
                        "Remove one",
                    )
                if isinstance(key, yaml.ScalarNode):
                    seen[key.value] = line
            return [child for pair in node.value for child in pair]
        return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "'\\t'" in problem:
        return "a tab. YAML is indented with spaces"
    if "could not determine a constructor for the tag" in problem:
        return f"the tag {problem.split(chr(39))[1]!r} is not allowed: a job file has plain values"
    return f"not valid YAML: {problem}"


def _refuse(where: str, mark: Any, reason: str) -> NoReturn:
    where = f"{where}, line {mark.line + 1}" if mark else where
    raise SpecError(f"{where}: {reason}.")
