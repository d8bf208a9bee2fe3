"""An output folder as its reader sees it."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import pytest

from actors.errors import OutputError
from jobs.output.dataset import Output, OutputProgress, open_output
from jobs.output.folder import OutputFolder
from jobs.output.pages.report import report
from jobs.resolution import Job
from tests.unit.jobs.local import LocalDispatcher, local_job, run, write_prompts


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """10 rows in parts of 4, 4 and 2; row 5 failed."""
    folder = tmp_path_factory.mktemp("done")
    job = local_job(write_prompts(folder / "p.csv", 10), folder / "out", max_failed=0.5)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 5"})))
    return job


@pytest.fixture
def output(done: Job, tmp_path: Path) -> Output:
    copytree(done.output.path, tmp_path / "out")
    return open_output(str(tmp_path / "out"))


def test_rows_come_in_input_order_with_pictures_and_reasons(output: Output) -> None:
    rows = list(output.rows())
    assert [row["prompt"] for row in rows] == [f"picture {n}" for n in range(10)]
    assert [row["image"] is None for row in rows] == [n == 5 for n in range(10)]
    assert rows[0]["image"]["bytes"].startswith(b"\x89PNG")
    assert rows[5]["error"]
    assert [set(row) for row in output.rows(["seed", "id"])] == [{"seed", "id"}] * 10


def test_parts_records_and_job_are_those_of_the_folder(output: Output, done: Job) -> None:
    assert list(output.parts()) == list(output.records()) == [0, 1, 2]
    assert output.parts()[2] == f"{output.url}/data/00000/part-00000002.parquet"
    assert [record["rows"] for record in output.records().values()] == [4, 4, 2]
    assert output.job == done.output.read_job()
    assert f"{float(output.job['threshold']):.4g} refines" in output.threshold_line()
    assert output.spec.prompt_column == "prompt"
    assert output.spec.output == output.url


def test_progress_goes_by_the_records(output: Output) -> None:
    whole = output.progress()
    assert whole == OutputProgress(
        num_rows=10, done_rows=10, refined_rows=whole.refined_rows, failed_rows=1, num_parts=3,
        parts_done=3, finished=True,
    )  # fmt: skip
    assert 0 < whole.refined_rows < 10
    Path(output.url, "records/00000/part-00000001.json").unlink()
    Path(output.url, "_SUCCESS").unlink()
    part = output.progress()
    assert (part.done_rows, part.failed_rows, part.parts_done, part.finished) == (6, 0, 2, False)
    assert len(list(output.rows())) == 6, "a part without a record does not count"


def test_verify_finds_what_is_wrong(output: Output) -> None:
    assert list(output.verify()) == []
    Path(output.parts()[1]).unlink()
    (problem,) = output.verify()
    assert problem.where == "part 1"


def test_a_contact_sheet_goes_into_the_folder_or_where_it_is_said(
    output: Output, tmp_path: Path
) -> None:
    assert output.contact_sheet() == f"{output.url}/sheet.png"
    assert Path(output.contact_sheet(tmp_path / "mine.png", rows_each=1)).is_file()


def test_another_folder_and_another_column_are_refused(output: Output, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"has no job\.json"):
        open_output(tmp_path)
    with pytest.raises(OutputError, match=r"no column 'picture'\. It has: id, prompt, image"):
        next(output.rows(["picture"]))


def test_a_part_that_cannot_be_read_is_refused_with_the_next_step(output: Output) -> None:
    file = Path(output.parts()[0])
    file.write_bytes(b"x" * file.stat().st_size)
    said = r"cannot be read .*`bottega verify` says"
    with pytest.raises(OutputError, match=said):
        next(output.rows())
    with pytest.raises(OutputError, match=said):
        output.contact_sheet()
    with pytest.raises(OutputError, match=said):
        report(OutputFolder(output.url))
