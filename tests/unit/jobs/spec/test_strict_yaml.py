"""Job files that are no job files: refused with the line and the rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SpecError
from jobs.spec.job_spec import load_spec
from jobs.spec.strict_yaml import read_mapping, read_value


def refusal(file: Path, content: str | bytes) -> str:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    return str(caught.value)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "line 1: not valid YAML"),
        ("input: p.csv\nb: }\n", "line 2: not valid YAML"),
        ("- a", "mapping of fields"),
        ("", "mapping of fields"),
        ("just text", "mapping of fields"),
        ("input: p.csv\nbudget:\n\trefine: 0.3\n", "line 3: a tab. YAML is indented with spaces"),
        ("seed: 1\ninput: p.csv\nseed: 2\n", "line 3: the key 'seed' is there already, in line 1"),
        ("budget: {refine: 1, refine: 0}", "the key 'refine' is there already, in line 1"),
        (LAUGHS, "with its aliases written out it has more than 10,000 values"),
        ("a: &a [*a]", "an anchor contains its own alias"),
        ("a: " + "[" * 50_000, "nested too deeply"),
        ("1: a", "the field 1 is not text"),
        ("a: 1\n---\nb: 2\n", "line 2: not valid YAML: but found another document"),
        ("a: *b", "line 1: not valid YAML: found undefined alias 'b'"),
        ("name: 2001-99-99", "a value cannot be read: month must be in 1..12"),
        ("seed: " + "9" * 5000, "line 1: 99999999999999999999... is a number of 5,000 characters"),
        ("seed: 0x" + "f" * 99, "line 1: 0xffffffffffffffffff... is a number of 101 characters"),
        ("a: [1, 1.0e+" + "0" * 99 + "]", "is a number of 104 characters"),
        ("seed: 1:30", "line 1: 1:30 is a number to the base of 60 in YAML. Quote it"),
        ("seed: 1:30.5", "line 1: 1:30.5 is a number to the base of 60 in YAML. Quote it"),
        ("seed: " + "1:" * 250_000 + "1", "is a number to the base of 60 in YAML"),
        ("name: \0", "not valid YAML"),
        (b"name: caf\xe9", "not UTF-8 (byte 9)"),
        (b"PK\x03\x04" + bytes(200), "not valid YAML"),
        ("#" * (2**20 + 1), "larger than 1,048,576 bytes"),
    ],
    ids=lambda value: str(value)[:25] if isinstance(value, str) else "bytes",
)
def test_a_file_that_is_no_job_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    found = refusal(tmp_path / "job.yaml", content)
    assert said in found
    assert "job.yaml" in found
    assert "\n" not in found


@pytest.mark.parametrize("number", ["010", "-0777", "0_17", "+01"])
def test_a_number_to_the_base_of_8_is_refused(tmp_path: Path, number: str) -> None:
    """YAML reads 010 as 8."""
    found = refusal(tmp_path / "job.yaml", f"input: p.csv\nseed: {number}\n")
    assert f"line 2: {number} is a number to the base of 8" in found


@pytest.mark.parametrize("number", ["0", "10", "0.5", "0o10", "0x10", "00", "'010'", "2026-11-01"])
def test_other_numbers_are_read(number: str) -> None:
    read_value(number, "here")


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.mkdir [{}]", "!!python/object/new:os.mkdir [{}]", "!mine {}"],
)
def test_a_tag_makes_nothing(tmp_path: Path, tag: str) -> None:
    """An unsafe loader would make the folder."""
    trace = tmp_path / "trace"
    found = refusal(tmp_path / "job.yaml", f"input: p.csv\nname: {tag.format(trace)}\n")
    assert "line 2: the tag" in found
    assert "is not allowed" in found
    assert not trace.exists()


def test_a_missing_job_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        load_spec(tmp_path / "job.yaml")
    with pytest.raises(SpecError, match="Is a directory"):
        load_spec(tmp_path)


def test_honest_aliases_and_merges_are_read(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("\ufeffbase: &b {steps: 4, dtype: float32}\nown: {<<: *b, steps: 9}\nb: *b\n")
    assert read_mapping(file) == {
        "base": {"steps": 4, "dtype": "float32"},
        "own": {"steps": 9, "dtype": "float32"},
        "b": {"steps": 4, "dtype": "float32"},
    }
