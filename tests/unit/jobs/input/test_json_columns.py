"""A place in JSON Lines has one type that holds its values exactly, or its line is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.jobs.reading import only_part, refusal

WIDE = 2**53 + 1

CONTRADICTIONS: dict[str, tuple[list[str], str]] = {
    "true, then a fraction": (["true", "1.5"], "column 'x'"),
    "true, then an integer": (["true", "1"], "column 'x'"),
    "a wide integer, then a fraction": ([str(WIDE), "0.5"], f"column 'x' has {WIDE}"),
    "a wide integer below zero": ([str(-WIDE), "0.5"], f"column 'x' has {-WIDE}"),
}
NESTS = {
    "itself": ("%s", ""),
    "list": ("[%s]", " (at x[])"),
    "object": ('{"a": %s}', " (at x.a)"),
    "object in a list": ('[{"a": %s}]', " (at x[].a)"),
    "list in an object": ('{"a": [null, %s]}', " (at x.a[])"),
}


def _two_lines(second: str) -> list[str]:
    return ['{"prompt": "a"}', f'{{"prompt": "b", "x": {second}}}']


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("name", CONTRADICTIONS)
@pytest.mark.parametrize("turned", [False, True])
def test_what_no_type_holds_is_refused_with_its_line(
    tmp_path: Path, name: str, nest: str, turned: bool
) -> None:
    values, said = CONTRADICTIONS[name]
    form, place = NESTS[nest]
    said = said.replace("'x'", f"'x'{place}")
    lines = [
        f'{{"prompt": "a", "x": {form % value}}}' for value in (values[::-1] if turned else values)
    ]
    file = tmp_path / "p.jsonl"
    file.write_text("\n".join(lines))
    message = refusal(file)
    assert "line 2 does not fit" in message
    assert said in message
    for number, line in enumerate(lines):
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / f"two/{number}.jsonl").write_text(line)
    message = refusal(tmp_path / "two")
    assert "1.jsonl does not fit the files before it" in message
    assert said in message


@pytest.mark.parametrize("values", ["[true, 1.5]", "[1.5, true]", "[1, true]", f"[0.5, {WIDE}]"])
def test_a_list_of_no_one_type_is_refused_with_its_line(tmp_path: Path, values: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("\n".join(_two_lines(values)))
    assert "line 2 does not fit" in (message := refusal(file))
    assert "column 'x' (at x[]) has" in message


@pytest.mark.parametrize("number", ["1e400", "-1e400", "[1e999]", '{"a": -1.5e309}'])
@pytest.mark.parametrize("name", ["p.jsonl", "p.json"])
def test_a_number_beyond_64_bits_is_no_infinity(tmp_path: Path, number: str, name: str) -> None:
    lines = _two_lines(number)
    text = "\n".join(lines) if name == "p.jsonl" else f"[{','.join(lines)}]"
    (tmp_path / name).write_text(text)
    message = refusal(tmp_path / name)
    assert "is larger than any number of 64 bits" in message
    assert "line 2 is not JSON" in message or name == "p.json"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_nests_too_deep_is_refused_with_its_line(tmp_path: Path, opening: str) -> None:
    for depth in (101, 900):
        closing = "]" if opening == "[" else "}"
        nested = f"{opening * depth}1{closing * depth}"
        (tmp_path / "p.jsonl").write_text("\n".join(_two_lines(nested)))
        message = refusal(tmp_path / "p.jsonl")
        assert "line 2 does not fit" in message
        assert "column 'x' nests lists and objects more than 100 deep" in message


KEPT: dict[str, list[Any]] = {
    "integers and fractions": [[1, 2**53], [0.5], None, [-(2**53)]],
    "objects of other fields": [{"a": 1}, {"b": [True]}, None, {"a": 0.5, "": 2}],
    "nulls, then more": [None, [], [None], [{"a": None}], [{"a": [2**63 - 1]}]],
    "largest floats": [1.7976931348623157e308, 5e-324, 1],
}


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("num_files", [1, 2])
def test_what_one_type_holds_is_kept(tmp_path: Path, name: str, num_files: int) -> None:
    values = KEPT[name]
    for number, value in enumerate(values):
        with (tmp_path / f"{number * num_files // len(values)}.jsonl").open("a") as file:
            file.write(json.dumps({"prompt": "a", "x": value}) + "\n")
    found = only_part(tmp_path).table["x"].to_pylist()
    assert [_without_nulls(value) for value in found] == [_without_nulls(value) for value in values]


def _without_nulls(value: Any) -> Any:
    """A field that is null is as one that is not there, for a type holds all fields."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
