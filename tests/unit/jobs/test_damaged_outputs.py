"""Whatever is wrong with job.json or a record, whoever reads it ends with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from actors.errors import BottegaError, OutputError
from jobs.execution.run import retry_job
from jobs.identity import continues
from jobs.output.dataset import open_output
from jobs.output.job_file import FORMAT, MOST_ROWS, parse_job
from jobs.output.pages.dataset_card import card
from jobs.output.pages.report import report
from jobs.output.records import parse_record
from jobs.output.verify import verify
from jobs.planning.stage_times import stage_times
from jobs.resolution import Job
from tests.outputs import job_file, record_file
from tests.unit.jobs.local import REFINEMENT, LocalDispatcher, local_job, run, write_prompts

Path_ = tuple[str | int, ...]

LONGEST = 2_000
"""Letters of a refusal: a few lines."""

GONE: Any = object()
DAMAGES: tuple[Any, ...] = (
    *(
        GONE,
        None,
        True,
        "",
        "x",
        -1,
        0,
        3,
        10**12,
        10**400,
        1.5,
        1e308,
        [],
        {},
        [None],
        {"x": None},
    ),
    *("\ud800", "nan", "inf", "\0"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """10 rows in parts of 4, 4 and 2; row 5 failed."""
    folder = tmp_path_factory.mktemp("whole")
    job = local_job(write_prompts(folder / "p.csv", 10), folder / "out", max_failed=0.5)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 5"})))
    return job


@pytest.fixture
def job(whole: Job, tmp_path: Path) -> Job:
    copytree(whole.output.path, tmp_path / "out")
    return local_job(Path(whole.spec.input), tmp_path / "out", max_failed=0.5)


def paths(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every field, at any depth."""
    if not isinstance(value, dict | list):
        return
    for name, below in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, name)
        yield from paths(below, (*path, name))


def damaged(value: Any) -> Iterator[tuple[Path_, Any, Any]]:
    """Each damage of each field: its path, the damage, and the whole."""
    for path in paths(value):
        for damage in DAMAGES:
            changed = deepcopy(value)
            at = changed
            for name in path[:-1]:
                at = at[name]
            if damage is GONE:
                del at[path[-1]]
            else:
                at[path[-1]] = damage
            yield path, damage, changed


def read_by_all(job: Job) -> None:
    """Call all that reads job.json and the records."""
    folder = job.output
    readers = (
        lambda: continues(job),
        lambda: list(verify(folder)),
        lambda: report(folder),
        lambda: card(folder),
        lambda: open_output(folder.path).progress(),
        lambda: open_output(folder.path).threshold_line(),
        lambda: open_output(folder.path).spec,
        lambda: open_output(folder.path).contact_sheet(rows_each=1),
        lambda: stage_times(job.spec, REFINEMENT, measured=folder.path),
        lambda: retry_job(job, lambda _: LocalDispatcher(job)),  # type: ignore[arg-type,return-value]
    )
    for reader in readers:
        assert len(sentence(reader)) < LONGEST


def sentence(reader: Callable[[], object]) -> str:
    """The sentence with which a reader refuses; empty if it refuses nothing."""
    try:
        reader()
    except BottegaError as error:
        return str(error)
    return ""


def test_no_damage_of_job_json_is_a_traceback(job: Job) -> None:
    """Damages that the file's reader refuses are refused to all; the others go to each reader."""
    written = job.output.require_job()
    refused = read = 0
    for path, damage, changed in damaged(written):
        content = json.dumps(changed).encode()
        said = sentence(partial(parse_job, content, job_file(job.output)))
        if said:
            refused += 1
            assert str(job_file(job.output)) in said, (path, damage)
            assert len(said) < LONGEST, (path, damage)
        else:
            # Texts for people, and settings that change no byte, go through; a few are enough.
            read += 1
            if read % 40 == 0:
                job_file(job.output).write_bytes(content)
                read_by_all(job)
    assert refused > 5 * read


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"null", "has no 'name'"),
        (b"[]", "has no 'name'"),
        (b'{"rows": NaN}', "NaN is no number of JSON"),
        (b'{"format": 99}', f"has format 99, and this version reads formats up to {FORMAT}"),
    ],
)
def test_what_is_no_job_json_is_refused(job: Job, content: bytes, said: str) -> None:
    job_file(job.output).write_bytes(content)
    with pytest.raises(OutputError, match=said):
        open_output(job.output.path)
    with pytest.raises(OutputError, match=said):
        continues(job)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("rows", "ten", r"rows: input should be a valid integer, got 'ten'"),
        ("rows", 10**12 + 1, r"rows: input should be less than or equal to 1000000000000"),
        ("identity", None, r"identity: input should be .* got None"),
        ("calibration", None, r"calibration: input should be .* got None"),
        ("identity.spec.rows_per_part", 0, r"identity.spec.rows_per_part: 0, and spec has 4"),
        (
            "spec.rows_per_part",
            0,
            r"spec.rows_per_part: input should be greater than or equal to 1",
        ),
        ("threshold", "nan", r"threshold: nan is no threshold"),
        ("calibration.scores", [2.0, 1.0], r"calibration.scores: the scores have to ascend"),
        ("spec.colour", "red", r"spec.colour: unknown field"),
    ],
)
def test_a_field_that_cannot_be_is_named(job: Job, path: str, value: Any, said: str) -> None:
    change(job, path, value)
    with pytest.raises(OutputError, match=rf"(?s)job\.json is damaged:.*{said}"):
        open_output(job.output.path)


def change(job: Job, path: str, value: Any) -> None:
    written = json.loads(job_file(job.output).read_text())
    *above, last = path.split(".")
    at = written
    for name in above:
        at = at[name]
    at[last] = value
    job_file(job.output).write_text(json.dumps(written))


def test_a_threshold_that_its_scores_do_not_make_is_refused(job: Job) -> None:
    """Half of a job at one threshold and half at another is no dataset of either."""
    written = job.output.require_job()
    true = written["threshold"]
    record_file(job.output, 1).unlink()
    for path in ("threshold", "calibration.threshold"):
        change(job, path, "0.7")
    dispatcher = LocalDispatcher(job)
    said = f"threshold is 0.7, and its budget and its scores make {true}"
    with pytest.raises(OutputError, match=rf"contradicts itself(?s:.*){said}"):
        run(job, dispatcher)
    assert dispatcher.drawn == []
    assert [p.what for p in verify(job.output) if p.where == "job.json"] == [
        said,
        f"calibration.{said}",
    ]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("rows", 9, "rows is 9, and its input has 10"),
        ("calibration.rows", 3, "calibration.rows is 3, and there are 7 scores"),
        ("calibration.scores", [], "it has no scores"),
        ("calibration.refine", 0.9, "calibration.refine is 0.9, and its scores make"),
        ("nfe.teacher", 3, "nfe.teacher is 3, and its steps make 6"),
        ("refinement.steps", 4, "refinement.steps: was 4, is 3"),
    ],
)
def test_whatever_can_be_derived_is_derived_again(
    job: Job, path: str, value: Any, said: str
) -> None:
    change(job, path, value)
    with pytest.raises(OutputError, match=said):
        run(job)


def test_parts_made_by_another_threshold_are_found(tmp_path: Path) -> None:
    """As a run would have made them that believed a job.json in which somebody wrote."""
    source = write_prompts(tmp_path / "p.csv", 10)
    job, other = local_job(source, tmp_path / "out"), local_job(source, tmp_path / "other")
    run(job)
    run(local_job(source, tmp_path / "other", budget={"refine": 1}))
    for made in (job.output.part_name(1), job.output.record_name(1)):
        (job.output.path / made).write_bytes((other.output.path / made).read_bytes())
    found = [str(problem) for problem in verify(job.output)]
    assert found
    assert all("part 1: row" in text and "not below the threshold" in text for text in found)


def test_a_job_of_a_million_million_rows_takes_no_memory(job: Job) -> None:
    change(job, "rows", MOST_ROWS)
    *_, last = verify(job.output)
    assert "249,999,999,997 of 250,000,000,000 parts are not there" in last.what


def test_no_damage_of_a_record_is_a_traceback(job: Job) -> None:
    file = record_file(job.output, 1)
    written = {**json.loads(file.read_text()), "seconds": {"student": 1.0}}
    counted = 0
    for _, _, changed in damaged(written):
        file.write_text(json.dumps(changed))
        counts = False
        with suppress(ValueError):
            counts = bool(parse_record(file.read_bytes(), file.name))
        counted += counts
        if counts and counted % 4 == 0:
            read_by_all(job)
    assert counted < 40
