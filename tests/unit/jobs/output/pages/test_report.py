"""report.html: one page, nothing of the input as markup, the same for the same dataset."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.output.pages.report import histogram, report
from jobs.resolution import Job
from tests.unit.jobs.local import local_job, run, write_prompts

EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Which tags a page has, with which attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("report")
    source = folder / "p.csv"
    prompts = [f"{EVIL.replace(chr(34), chr(39))} {n}" for n in range(24)]
    source.write_text("\n".join(["prompt", *prompts, ""]))
    job = local_job(source, folder / "out", name=EVIL)
    run(job)
    return job


def test_the_page_is_written_and_depends_on_the_dataset_alone(job: Job) -> None:
    page = (job.output.path / "report.html").read_text()
    assert report(job.output) == page


def test_everything_from_the_input_is_escaped(job: Job) -> None:
    page = Page(report(job.output))
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "link", "object")]
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert EVIL in page.text
    assert page.text.count("<script>alert('x')</script>") == 6


def test_the_page_loads_nothing(job: Job) -> None:
    page = Page(report(job.output))
    sources = [a[name] for _, a in page.tags for name in ("src", "href") if a.get(name)]
    assert sources
    assert all((source or "").startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in report(job.output)
    assert "@import" not in report(job.output)


def test_the_page_says_what_came_out(job: Job) -> None:
    text = re.sub(r"\s+", " ", Page(report(job.output)).text)
    records = job.output.records().values()
    refined = sum(record["refined"] for record in records)
    assert 0 < refined < 24
    assert "rows 24 " in text
    assert f"refined by the teacher {refined} " in text
    assert f"spent, a row {(24 * 4 + refined * 6) / 24:.2f} " in text
    teacher = job.spec.models.teacher
    alone = teacher.steps * teacher.evaluations_per_step
    assert f"the teacher alone would take {alone} " in text
    assert f"+0.25 on average over {refined} refined rows; 100 % of them gained" in text


def test_before_and_after_are_shown_where_the_student_was_kept(job: Job, tmp_path: Path) -> None:
    alts = [a.get("alt") for tag, a in Page(report(job.output)).tags if tag == "img"]
    assert alts == ["before", "after"] * 6
    plain = local_job(write_prompts(tmp_path / "p.csv", 12), tmp_path / "out", save_student=False)
    run(plain)
    assert {a.get("alt") for tag, a in Page(report(plain.output)).tags if tag == "img"} == {"after"}


@pytest.mark.parametrize("fields", [{"budget": {"refine": 0}}, {"budget": {"refine": 1}}])
def test_all_or_nothing_refined_has_a_page(tmp_path: Path, fields: dict[str, Any]) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 5), tmp_path / "out", **fields)
    run(job)
    assert "Scores of the student" in report(job.output)


def test_a_dataset_without_rows_has_a_page(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 0), tmp_path / "out")
    run(job)
    assert "rows" in Page((job.output.path / "report.html").read_text()).text


def test_a_histogram_counts_every_value_and_places_its_mark() -> None:
    shape = histogram(np.array([0, 0, 1, 4], np.float32), 1.0)
    assert shape is not None
    assert sum(rows for *_, rows in shape.bars) == 4
    assert (shape.low, shape.high, shape.mark) == (0.0, 4.0, 25.0)
    assert max(height for _, _, height, _ in shape.bars) == 100
    assert histogram(np.array([], np.float32), 1.0) is None
    outside = histogram(np.array([1, 2], np.float32), float("inf"))
    assert outside is not None
    assert outside.mark is None
