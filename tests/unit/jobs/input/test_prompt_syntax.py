"""Syntax of other tools in prompts, which is drawn as it stands."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.execution.run import log_other_syntax
from jobs.input.prompt_syntax import SYNTAX, other_syntax
from jobs.resolution import resolve
from jobs.spec.job_spec import make_spec
from tests.unit.jobs.reading import read


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a (red:1.3) circle", "weights"),
        ("a (red circle:.5)", "weights"),
        ("a ((red)) circle", "weights"),
        ("a circle <lora:style:1>", "networks"),
        ("<LoRA:style:0.8> a circle", "networks"),
        ("a circle --negative_prompt blue", "options"),
        ("a circle --ar 16:9", "options"),
        ("a circle BREAK a square", "BREAK"),
        ("a [circle:square:0.5]", "schedules"),
        ("a [circle:0.5]", "schedules"),
        ("a {red|blue} circle", "choices"),
        ("a __colour__ circle", "wildcards"),
    ],
)
def test_syntax_of_other_tools_is_found(prompt: str, kind: str) -> None:
    rows, kinds = other_syntax([prompt])
    assert rows == 1
    assert [name.split(",")[0] for name in kinds] == [kind]


@pytest.mark.parametrize(
    "prompt",
    [
        "a circle (at 12:30) in the sun",
        "a red circle -- no square -- on gray",
        "lunch break, BREAKFAST at 8:00",
        "a sign that says [open] and {closed}",
        "snake_case and __init",
        "1 < 2 > 0, a ratio of 16:9 (wide)",
        "",
    ],
)
def test_plain_prose_has_none(prompt: str) -> None:
    assert other_syntax([prompt])[0] == 0


def test_the_log_says_it_once_with_the_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "p.parquet"
    texts = ["plain", None, "a (red:1.3) circle BREAK", "b BREAK", "plain"]
    pq.write_table(pa.table({"prompt": texts}), file)
    fields = {"input": str(file), "output": str(tmp_path / "o"), "models": "shapes"}
    job = resolve(make_spec(fields))
    with caplog.at_level(logging.WARNING, "bottega"):
        log_other_syntax(job)
    (line,) = caplog.messages
    assert line.startswith("in 2 of the 5 prompts there is syntax of other tools")
    assert "BREAK in 2, weights, as (word:1.3) in 1" in line
    assert read(file).other_syntax(most=3)[:2] == (3, 1)
    assert len(SYNTAX) == 7
