"""`bottega verify`: each thing that can be wrong with a dataset is found, and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import OutputError
from actors.seeds import row_seed
from jobs.output.columns import ROW_GROUP_ROWS
from jobs.output.folder import OutputFolder
from jobs.output.pages.contact_sheet import make_sheet
from jobs.output.verify import verify
from jobs.parquet_writing import write_parquet
from jobs.resolution import Job
from tests.outputs import part_file, record_file
from tests.unit.jobs.local import LocalDispatcher, local_job, run, write_prompts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """10 rows in parts of 4, 4 and 2; row 5 failed."""
    folder = tmp_path_factory.mktemp("whole")
    source = write_prompts(folder / "p.csv", 10)
    job = local_job(source, folder / "out", id_column="id", max_failed=0.5)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 5"})))
    return job


@pytest.fixture
def folder(whole: Job, tmp_path: Path) -> OutputFolder:
    copytree(whole.output.path, tmp_path / "out")
    return OutputFolder(tmp_path / "out")


def problems(folder: OutputFolder) -> list[str]:
    return [str(problem) for problem in verify(folder)]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"
"""Of a dataset that may be somebody else's. Pillow would have Ghostscript draw it."""


def rewrite(folder: OutputFolder, index: int, change: Callable[[pa.Table], pa.Table]) -> None:
    """Another table in a part's place, with a record that fits its bytes."""
    file = part_file(folder, index)
    table = change(pq.ParquetFile(file).read())
    groups = (table.slice(first, ROW_GROUP_ROWS) for first in range(0, len(table), ROW_GROUP_ROWS))
    with file.open("wb") as opened:
        content = write_parquet(opened, table.schema, groups)
    rewrite_record(folder, index, bytes=content.size, sha256=content.digest.hexdigest())


def rewrite_record(folder: OutputFolder, index: int, **fields: Any) -> None:
    file = record_file(folder, index)
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def with_values(table: pa.Table, name: str, change: Callable[[list[Any]], None]) -> pa.Table:
    values = table[name].to_pylist()
    change(values)
    place = table.column_names.index(name)
    return table.set_column(place, name, pa.array(values, table.schema.field(name).type))


def test_a_whole_dataset_has_no_problem(folder: OutputFolder) -> None:
    assert problems(folder) == []


def test_a_truncated_part_is_found(folder: OutputFolder) -> None:
    whole = part_file(folder, 1).read_bytes()
    part_file(folder, 1).write_bytes(whole[:-1])
    (found,) = problems(folder)
    assert found.startswith(f"part 1: it has {len(whole) - 1} bytes, and was written with")
    assert found.endswith("Run the job again: the part is done anew.")


def test_a_flipped_bit_is_found(folder: OutputFolder) -> None:
    content = bytearray(part_file(folder, 1).read_bytes())
    content[len(content) // 2] ^= 1
    part_file(folder, 1).write_bytes(content)
    (found,) = problems(folder)
    assert "part 1: its bytes are not those that were written (sha256)" in found


def test_a_record_without_its_part_and_a_part_without_its_record(folder: OutputFolder) -> None:
    part_file(folder, 0).unlink()
    record_file(folder, 1).unlink()
    zero, one = problems(folder)
    assert zero.startswith("part 0: it has a record, and no file")
    assert one.startswith("part 1: it has no record, so it does not count")


def test_parts_that_were_never_made_are_counted(folder: OutputFolder) -> None:
    for index in (1, 2):
        part_file(folder, index).unlink()
        record_file(folder, index).unlink()
    assert problems(folder) == [
        "part 1: 2 of 3 parts are not there, this one first. Run the job again."
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b'{"part": 1, "rows"', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "it is not a record"),
        (b'{"part": 1}', "its 'first_row' is None"),
    ],
)
def test_a_broken_record_is_one_problem_and_its_part_does_not_count(
    folder: OutputFolder, content: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    record_file(folder, 1).write_bytes(content)
    (found,) = problems(folder)
    assert found.startswith("records/00000/part-00000001.json: ")
    assert said in found
    assert sorted(folder.records()) == [0, 2]
    assert "part-00000001.json does not count" in caplog.text


def test_a_record_of_another_part_does_not_count(folder: OutputFolder) -> None:
    record_file(folder, 1).write_bytes(record_file(folder, 0).read_bytes())
    (found,) = problems(folder)
    assert "it is of part 0" in found
    assert sorted(folder.records()) == [0, 2]


@pytest.mark.parametrize("field", ["first_row", "refined", "nfe"])
def test_a_record_that_says_other_numbers_is_found(folder: OutputFolder, field: str) -> None:
    rewrite_record(folder, 1, **{field: 3})
    assert any(field in found and "record says" in found for found in problems(folder))


@pytest.mark.parametrize("field", ["rows", "failed", "from_student", "from_teacher"])
def test_a_record_whose_rows_do_not_add_up_does_not_count(folder: OutputFolder, field: str) -> None:
    rewrite_record(folder, 1, **{field: 9})
    (found,) = problems(folder)
    assert "have a source or failed" in found
    assert sorted(folder.records()) == [0, 2]


def test_rows_in_another_order_are_found(folder: OutputFolder) -> None:
    rewrite(folder, 1, lambda table: table.take([3, 2, 1, 0]))
    found = problems(folder)
    assert sum("it is of another row" in text for text in found) >= 3
    rewrite(
        folder,
        2,
        lambda table: with_values(table, "seed", lambda seeds: seeds.reverse()),
    )
    assert any("its seed is not that of 'id-8': wrong order" in text for text in problems(folder))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("seed", None, "it has no seed"),
        ("status", "failed", "status 'failed' with error None and a picture"),
        ("error", "odd", "status 'ok' with error 'odd' and a picture"),
        ("image", None, "status 'ok' with error None and no picture"),
        (
            "image",
            {"bytes": b"no picture", "path": "000000000004.png"},
            "image: it does not decode (UnidentifiedImageError)",
        ),
        (
            "image",
            {"bytes": EPS, "path": "000000000004.png"},
            "image: it does not decode (UnidentifiedImageError)",
        ),
    ],
)
def test_a_row_that_cannot_be_is_found(
    folder: OutputFolder, column: str, value: Any, said: str
) -> None:
    def change(values: list[Any]) -> None:
        values[0] = value

    rewrite(folder, 1, lambda table: with_values(table, column, change))
    assert any(f"row 4 (id 'id-4'): {said}" in text for text in problems(folder)), problems(folder)


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("student_score", lambda old: old and old + 1, "it was refined, and its score"),
        ("student_score", lambda old: old and old - 1, "below the threshold, and it was not"),
        ("student_score", lambda _: None, "it has no student_score"),
        ("student_score", lambda _: float("inf"), "its student_score is inf, which is no score"),
        ("teacher_score", lambda _: None, "below the threshold, and it was not refined"),
        ("teacher_score", lambda old: old or 0.5, "it was refined, and its score"),
        ("source", lambda _: "student", "its source is 'student', which does not follow"),
        ("source", lambda _: "teacher", "its source is 'teacher', which does not follow"),
        ("source", lambda _: None, "its source is None"),
        ("source", lambda _: "teacher", "it failed, and its source is 'teacher'"),
        ("nfe", lambda _: None, "its nfe is None"),
        ("nfe", lambda old: -old, "its nfe is -4"),
        ("nfe", lambda _: 4, "accepted, is 4"),
        ("student_image", lambda _: None, "it was refined, and has no student_image"),
    ],
)
def test_a_row_against_the_rules_of_its_job_is_found(
    folder: OutputFolder, column: str, change: Callable[[Any], Any], said: str
) -> None:
    for index in range(3):
        rewrite(
            folder,
            index,
            lambda table: with_values(
                table, column, lambda values: values.__setitem__(slice(None), map(change, values))
            ),
        )
    assert any(said in text for text in problems(folder))


def test_a_contact_sheet_refuses_a_picture_of_another_format(folder: OutputFolder) -> None:
    def strange(images: list[Any]) -> None:
        images[:] = [{"bytes": EPS, "path": "000000000000.png"}] * len(images)

    rewrite(folder, 0, lambda table: with_values(table, "image", strange))
    with pytest.raises(OutputError, match=r"'000000000000.png' does not decode .*`bottega verify`"):
        make_sheet(folder, folder.path / "sheet.png", rows_each=12)


def test_a_truncated_picture_is_found(folder: OutputFolder) -> None:
    def cut(images: list[Any]) -> None:
        images[0]["bytes"] = images[0]["bytes"][:-30]

    rewrite(folder, 0, lambda table: with_values(table, "image", cut))
    assert any("row 0 (id 'id-0'): image: it does not decode" in text for text in problems(folder))


def test_strangers_and_strays_are_found(folder: OutputFolder) -> None:
    copy = part_file(folder, 0).read_bytes()
    part_file(folder, 9).write_bytes(copy)
    (folder.path / "data/thesis.parquet").touch()
    (folder.path / "data/.part-00000001.parquet.gone-host.1.0123abcd").touch()
    found = problems(folder)
    assert len(found) == 2, "a young temporary file of another host may be a live one's"
    assert all("it is no part of this job" in text for text in found)


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no job\.json"):
        list(verify(OutputFolder(tmp_path)))


def test_a_job_that_has_not_ended_is_not_well(folder: OutputFolder) -> None:
    (folder.path / "_SUCCESS").unlink()
    (found,) = problems(folder)
    assert found.startswith("_SUCCESS: it is not there: the job has not ended")


def test_rows_without_an_id_are_well_also_as_an_older_version_seeded_them(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"id": 5, "prompt": "a"}\n{"id": null, "prompt": "b"}\n{"id": 1, "prompt": "c"}\n'
    )
    job = local_job(tmp_path / "p.jsonl", tmp_path / "out", id_column="id")
    run(job)
    assert problems(job.output) == []
    rewrite(
        job.output,
        0,
        lambda table: with_values(
            table, "seed", lambda seeds: seeds.__setitem__(1, row_seed(7, "1"))
        ),
    )
    file = job.output.path / "job.json"
    written = json.loads(file.read_text())
    assert any("its seed is not that of None" in text for text in problems(job.output))
    for name in (job.output.part_name(0), job.output.record_name(0)):
        (job.output.path / name).rename(job.output.path / name.replace("00000/", ""))
    file.write_text(json.dumps({**written, "format": 2}))
    assert problems(job.output) == []
    file.write_text(json.dumps({**written, "format": 3}))
    assert any("its seed is not that of None" in text for text in problems(job.output))
