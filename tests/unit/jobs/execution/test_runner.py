"""Resume, extend and retry, with real parts and a dispatcher that draws on the spot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import OutputError, OutputFailedError, TooManyFailuresError
from jobs.execution.calibration import nothing_to_calibrate
from jobs.execution.observers import JobEvent, SizesChanged
from jobs.execution.progress import Progress
from jobs.execution.run import retry_job, run_job
from jobs.execution.runner import Runner
from jobs.identity import write_job
from jobs.output.folder import STATUS, OutputFolder
from jobs.output.growth import rows_changed
from jobs.output.heartbeat import heartbeat
from jobs.output.verify import verify
from jobs.resolution import Job
from tests.outputs import job_file, part_file, record_file
from tests.unit.jobs.local import LocalDispatcher, bytes_of, local_job, retry, run, write_prompts

ROOT = Path(__file__).parents[4]


def rows_of(folder: OutputFolder) -> list[dict[str, object]]:
    files = sorted((folder.path / "data").rglob("*.parquet"))
    rows: list[dict[str, object]] = pa.concat_tables(map(pq.read_table, files)).to_pylist()
    return rows


# ---- resume


def test_a_broken_record_is_done_again_with_the_same_bytes(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    run(job)
    before = bytes_of(job)
    record_file(job.output, 1).write_text('{"part": 1, "ro')
    dispatcher = LocalDispatcher(job)
    run(job, dispatcher)
    assert dispatcher.drawn == [f"picture {n}" for n in range(4, 8)]
    assert bytes_of(job) == before
    assert list(verify(job.output)) == []


def test_success_is_taken_away_while_parts_are_missing(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out", max_failed=0.0)
    run(job)
    record_file(job.output, 1).unlink()
    with pytest.raises(TooManyFailuresError, match="bottega retry"):
        run(job, LocalDispatcher(job, broken=frozenset({"picture 5"})))
    assert not (job.output.path / "_SUCCESS").exists()


def test_another_job_is_refused_with_every_field_that_differs(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    run(local_job(source, tmp_path / "out"))
    fields = {"seed": 8, "keep": "best", "name": "another", "max_attempts": 7}
    other = local_job(source, tmp_path / "out", **fields)
    other = replace(other, model_files={**other.model_files, "teacher": "a changed file"})
    with pytest.raises(OutputError) as refused:
        run(other)
    shown = str(refused.value)
    assert "\n  model_files.teacher: was 't', is 'a changed file'" in shown
    assert "\n  seed: was 7, is 8" in shown
    assert "\n  keep: was 'teacher', is 'best'" in shown
    assert "name:" not in shown, "a name changes no byte"
    assert "max_attempts" not in shown
    assert run(local_job(source, tmp_path / "out")).resumed_rows == 10


def test_a_letter_that_changed_in_the_middle_of_the_input_is_refused(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 200_000)
    size = source.stat().st_size
    assert size > 2 * 2**20
    job = local_job(source, tmp_path / "out", max_failed=0)
    with pytest.raises(TooManyFailuresError):
        run(job, LocalDispatcher(job, broken=frozenset({"picture 0"})))
    source.write_text(source.read_text().replace("picture 99999", "picturf 99999"))
    assert source.stat().st_size == size
    with pytest.raises(OutputError, match="input_files: was"):
        run(local_job(source, tmp_path / "out", max_failed=0))


def test_a_copy_of_the_input_is_the_same_input(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    run(local_job(source, tmp_path / "out"))
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere/p.csv"
    copy.write_bytes(source.read_bytes())
    os.utime(copy, (1, 1))
    assert run(local_job(copy, tmp_path / "out")).resumed_rows == 10


# ---- rows that fail


@pytest.mark.parametrize(
    ("allowed", "broken", "ends"),
    [(2, 2, False), (2, 3, True), (0, 1, True), (0.1, 20, False), (0.1, 21, True)],
)
def test_a_count_or_a_fraction_of_failed_rows_ends_the_job(
    tmp_path: Path, allowed: float, broken: int, ends: bool
) -> None:
    source = write_prompts(tmp_path / "p.csv", 200)
    job = local_job(source, tmp_path / "out", max_failed=allowed, rows_per_part=50)
    dispatcher = LocalDispatcher(job, broken=frozenset(f"picture {199 - n}" for n in range(broken)))
    if ends:
        with pytest.raises(TooManyFailuresError, match=f"{broken} of 200 rows failed"):
            run(job, dispatcher)
    else:
        assert run(job, dispatcher).failed_rows == broken


def test_a_job_that_fails_broadly_ends_before_its_first_part_is_done(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 400)
    fields: dict[str, Any] = {"rows_per_part": 400, "budget": {"threshold": 0.5}}
    job = local_job(source, tmp_path / "out", **fields)
    dispatcher = LocalDispatcher(job, broken=frozenset(f"picture {n}" for n in range(400)))
    said = (
        r"41 of 400 rows failed, and max_failed allows 10%\. Most of those in unfinished parts: "
        r"draw: .+\. The log and the column"
    )
    with pytest.raises(TooManyFailuresError, match=said):
        run(job, dispatcher)
    assert not job.output.records()


# ---- extend


def test_an_extended_dataset_keeps_every_finished_byte(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    job = local_job(source, tmp_path / "out")
    run(job)
    before, threshold = bytes_of(job), job.output.require_job()["threshold"]
    old_rows = rows_of(job.output)
    write_prompts(source, 17)
    grown = local_job(source, tmp_path / "out")
    dispatcher = LocalDispatcher(grown)
    run(grown, dispatcher, extend=True)
    after = bytes_of(grown)
    assert after[:2] == before[:2]
    assert len(after) == 5
    assert dispatcher.drawn == [f"picture {n}" for n in range(8, 17)]
    assert rows_of(grown.output)[:10] == old_rows
    assert grown.output.require_job()["threshold"] == threshold
    assert list(verify(grown.output)) == []
    assert run(local_job(source, tmp_path / "out")).resumed_rows == 17


def test_a_part_that_cannot_be_read_does_not_prove_that_the_input_grew(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    job = local_job(source, tmp_path / "out")
    run(job)
    file = part_file(job.output, 0)
    file.write_bytes(b"x" * file.stat().st_size)
    write_prompts(source, 12)
    with pytest.raises(OutputError, match=r"part-00000000\.parquet cannot be read"):
        run(local_job(source, tmp_path / "out"), extend=True)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "txt", "parquet"])
def test_every_format_can_grow_and_none_can_change(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"p.{suffix}"

    def write(prompts: list[str]) -> None:
        if suffix == "parquet":
            values = [float("nan")] * len(prompts)
            pq.write_table(pa.table({"prompt": prompts, "n": values}), source, row_group_size=3)
        elif suffix == "jsonl":
            source.write_text("".join(f'{{"prompt": "{p}", "n": [1, 2]}}\n' for p in prompts))
        else:
            head = [] if suffix == "txt" else ["prompt"]
            source.write_text("\n".join([*head, *prompts]))

    prompts = [f"picture {n}" for n in range(6)]
    write(prompts)
    run(local_job(source, tmp_path / "out"))
    write([*prompts[:2], "another", *prompts[3:], "more"])
    with pytest.raises(OutputError, match="row 2: prompt was 'picture 2', and is 'another'"):
        run(local_job(source, tmp_path / "out"), extend=True)
    write([*prompts, "more"])
    assert run(local_job(source, tmp_path / "out"), extend=True).done_rows == 7


def test_a_file_may_follow_and_none_may_come_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_prompts(source / "b.csv", 6)
    run(local_job(source, tmp_path / "out"))
    write_prompts(source / "a.csv", 6)
    with pytest.raises(OutputError, match=r"file 1 was b\.csv, and is a\.csv"):
        run(local_job(source, tmp_path / "out"), extend=True)
    (source / "a.csv").rename(source / "c.csv")
    assert run(local_job(source, tmp_path / "out"), extend=True).done_rows == 12
    # Of files that are as they were no row is read, but of parts that others have a share in.
    grown = local_job(source, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("jobs.output.growth._part_changed", lambda _out, part, _rows: str(part.index))
        assert rows_changed(grown.output, grown.prompts, 12, same_files=0) == "0"
        assert rows_changed(grown.output, grown.prompts, 12, same_files=1) == "1"
        assert rows_changed(grown.output, grown.prompts, 12, same_files=2) is None
    write_prompts(source / "b.csv", 7)
    with pytest.raises(OutputError, match=r"b\.csv changed, and it is not the last"):
        run(local_job(source, tmp_path / "out"), extend=True)


def test_a_column_that_changed_its_type_or_came_new_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "p.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"], "n": [1, 2]}), source)
    run(local_job(source, tmp_path / "out"))
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "n": [1.0, 2.0, 3.0]}), source)
    with pytest.raises(OutputError, match="column 'n' was int64, and is double"):
        run(local_job(source, tmp_path / "out"), extend=True)
    pq.write_table(pa.table({"prompt": ["a", "b", "c"]}), source)
    with pytest.raises(OutputError, match="its columns were prompt, n, and are prompt"):
        run(local_job(source, tmp_path / "out"), extend=True)


def test_an_input_that_shrank_is_refused(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    run(local_job(source, tmp_path / "out"))
    write_prompts(source, 9)
    with pytest.raises(OutputError, match="it had 10 rows, and has 9"):
        run(local_job(source, tmp_path / "out"), extend=True)


def test_seeds_of_old_rows_may_not_change(tmp_path: Path) -> None:
    source = tmp_path / "p.csv"
    source.write_text("prompt,seed\na,1\nb,2\n")
    run(local_job(source, tmp_path / "out", seed_column="seed"))
    source.write_text("prompt,seed\na,1\nb,3\nc,4\n")
    with pytest.raises(OutputError, match="row 1: seed was 2, and is 3"):
        run(local_job(source, tmp_path / "out", seed_column="seed"), extend=True)


def test_extend_does_not_excuse_another_job(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 6)
    run(local_job(source, tmp_path / "out"))
    write_prompts(source, 8)
    with pytest.raises(OutputError, match="seed: was 7, is 8"):
        run(local_job(source, tmp_path / "out", seed=8), extend=True)


def test_without_extend_a_grown_input_is_refused_with_a_hint(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 6)
    run(local_job(source, tmp_path / "out"))
    write_prompts(source, 8)
    with pytest.raises(OutputError, match=r"input_files(.|\n)*If the input only grew.*--extend"):
        run(local_job(source, tmp_path / "out"))


def test_an_extension_that_was_stopped_continues_without_the_option(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 6)
    run(local_job(source, tmp_path / "out"))
    write_prompts(source, 20)
    job = local_job(source, tmp_path / "out", max_failed=0.0)
    with pytest.raises(TooManyFailuresError):
        run(job, LocalDispatcher(job, broken=frozenset({"picture 6"})), extend=True)
    whole = local_job(source, tmp_path / "out", max_failed=1.0)
    assert run(whole).done_rows == 20


def test_an_empty_input_that_grew_is_calibrated(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 0)
    run(local_job(source, tmp_path / "out"))
    write_prompts(source, 12)
    job = local_job(source, tmp_path / "out")
    assert run(job, extend=True).done_rows == 12
    assert job.output.require_job()["calibration"]["rows"] == 8


# ---- retry


def test_a_retry_makes_the_bytes_of_a_run_without_failures(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    fields: dict[str, Any] = {"max_failed": 0.5, "budget": {"threshold": 0.5}}
    undisturbed = local_job(source, tmp_path / "undisturbed", **fields)
    run(undisturbed)
    job = local_job(source, tmp_path / "out", **fields)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 1", "picture 2", "picture 9"})))
    assert [row["status"] for row in rows_of(job.output)].count("failed") == 3
    quiet = record_file(job.output, 1).read_bytes()
    dispatcher = LocalDispatcher(job)
    end = retry(job, dispatcher)
    assert dispatcher.drawn == ["picture 1", "picture 2", "picture 9"]
    assert end.failed_rows == 0
    assert bytes_of(job) == bytes_of(undisturbed)
    assert record_file(job.output, 1).read_bytes() == quiet
    assert list(verify(job.output)) == []


def test_a_retry_that_fails_again_changes_nothing(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    job = local_job(source, tmp_path / "out", max_failed=0.5)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 5"})))
    before = bytes_of(job)
    assert retry(job, LocalDispatcher(job, broken=frozenset({"picture 5"}))).failed_rows == 1
    assert bytes_of(job) == before


def test_a_retry_of_a_good_dataset_starts_nothing(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 6), tmp_path / "out")
    run(job)
    dispatcher = LocalDispatcher(job)
    assert retry(job, dispatcher).failed_rows == 0
    assert dispatcher.drawn == []


def test_rows_that_cannot_be_drawn_load_no_model_and_write_no_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing about an empty prompt changes; the parts with other failures are drawn alone."""
    source = tmp_path / "p.csv"
    prompts = ["picture 0", "", "picture 2", "picture 3", "", "picture 5", "picture 6"]
    source.write_text("\n".join(["id,prompt", *(f"{n},{p}" for n, p in enumerate(prompts)), ""]))
    job = local_job(source, tmp_path / "out", max_failed=0.9, rows_per_part=3)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 6"})))
    quiet = record_file(job.output, 0).stat().st_mtime_ns
    dispatcher = LocalDispatcher(job)
    with caplog.at_level("INFO"):
        end = retry(job, dispatcher)
    assert dispatcher.drawn == ["picture 6"]
    assert (end.done_rows, end.resumed_rows, end.num_rows, end.failed_rows) == (7, 6, 7, 2)
    assert record_file(job.output, 0).stat().st_mtime_ns == quiet
    assert "2 failed rows cannot be drawn" in caplog.text
    assert "to be drawn again: 1 failed row of 1 part" in caplog.text
    assert retry_job(job, lambda _: pytest.fail("nothing can be drawn")).failed_rows == 2


def test_a_retry_counts_the_rows_that_it_draws(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 12), tmp_path / "out", max_failed=0.5)
    broken = frozenset({"picture 1", "picture 2", "picture 9"})
    run(job, LocalDispatcher(job, broken=broken))
    runner = Runner(job, retry=True)
    before = runner.progress()
    assert (before.num_rows, before.resumed_rows, before.done_rows) == (12, 9, 9)


# ---- refinements that fail


@pytest.mark.parametrize("keep", ["teacher", "best"])
@pytest.mark.parametrize("save_student", [True, False])
def test_a_row_without_a_teachers_picture_keeps_the_students_and_is_counted(
    tmp_path: Path, keep: str, save_student: bool
) -> None:
    source = write_prompts(tmp_path / "p.csv", 12)
    fields: dict[str, Any] = {
        "budget": {"threshold": 2.0}, "keep": keep, "save_student": save_student, "max_failed": 0.5,
    }  # fmt: skip
    job = local_job(source, tmp_path / "out", **fields)
    bad = frozenset({"picture 1", "picture 2", "picture 9"})
    run(job, LocalDispatcher(job, broken=frozenset({"picture 3"}), not_finite=bad))
    rows = {str(row["prompt"]): row for row in rows_of(job.output)}
    for prompt in bad:
        row = rows[prompt]
        assert (row["source"], row["teacher_score"], row["status"]) == ("student", None, "ok")
        assert (row["error"], row["nfe"]) == (None, 10), "the teacher's evaluations were spent"
        assert row["image"] is not None
    assert rows["picture 3"]["status"] == "failed"
    counts = [r.get("kept_after_failed_refinement", 0) for r in job.output.records().values()]
    assert counts == [2, 0, 1]
    for page in ("README.md", "report.html"):
        assert "as the teacher made no picture" in (job.output.path / page).read_text()
    retry(job)  # of the failed row alone
    record = job.output.records()[0]
    assert (record["failed"], record["kept_after_failed_refinement"]) == (0, 2)
    assert list(verify(job.output)) == []
    file = record_file(job.output, 0)
    for says, wrong in ((1, "it has 2 for kept_after_failed_refinement"), (0, "was not refined")):
        file.write_text(json.dumps({**record, "kept_after_failed_refinement": says}))
        assert any(wrong in problem.what for problem in verify(job.output))


def test_a_teacher_that_makes_no_pictures_ends_the_job(tmp_path: Path) -> None:
    """Or it would take its GPUs to the end, for the student's pictures."""
    source = write_prompts(tmp_path / "p.csv", 200)
    job = local_job(source, tmp_path / "out", budget={"threshold": 0.5}, rows_per_part=50)
    nothing = frozenset(f"picture {n}" for n in range(200))
    with pytest.raises(TooManyFailuresError, match="in the teacher, so that they keep the student"):
        run(job, LocalDispatcher(job, not_finite=nothing))


# ---- drivers


def test_the_second_driver_is_told_and_both_are_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    undisturbed = local_job(source, tmp_path / "undisturbed")
    run(undisturbed)
    assert "another run" not in caplog.text
    first, second = (local_job(source, tmp_path / "out") for _ in range(2))

    class Rival(LocalDispatcher):
        """Has a second driver run the whole job while the first has drawn half of it."""

        def send(self, owner: object, call: object) -> None:
            if len(self.drawn) == 14 and not self.rivalled:
                self.rivalled = True
                run(second)
            super().send(owner, call)  # type: ignore[arg-type]

        rivalled = False

    dispatcher = Rival(first)
    run(first, dispatcher)
    assert dispatcher.rivalled
    assert "another run writes to" in caplog.text
    assert bytes_of(first) == bytes_of(undisturbed)
    assert list(verify(first.output)) == []


def test_of_two_thresholds_the_first_is_everybodys(tmp_path: Path) -> None:
    """Two drivers that both calibrate, and time gives them different thresholds."""
    source = write_prompts(tmp_path / "p.csv", 10)
    job = local_job(source, tmp_path / "out")
    first, second = ({**nothing_to_calibrate(job), "threshold": text} for text in ("0.25", "0.75"))
    with heartbeat(job.output):
        write_job(job, first)
        write_job(job, second)
    assert job.output.require_job()["threshold"] == "0.25"


# ---- what a disk does


FULL = """
import resource, sys
from pathlib import Path
from actors.errors import OutputFailedError
from tests.unit.jobs.local import local_job, run
job = local_job(Path(sys.argv[1]), Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    run(job)
except OutputFailedError as error:
    print(error)
"""


def test_a_disk_that_is_full_ends_the_job_in_a_sentence_and_finished_parts_stay(
    tmp_path: Path,
) -> None:
    """The last part is larger than the process may write; a limit always works, a mount may not."""
    source = tmp_path / "p.csv"
    rows = [f"id-{n},picture {n}" for n in range(8)]
    noise = "".join(chr(33 + sha256(b"%d" % n).digest()[0] % 90) for n in range(40_000))
    source.write_text("\n".join(["id,prompt", *rows, f'id-8,"{noise.replace(chr(34), "")}"']))
    ended = subprocess.run(
        [sys.executable, "-c", FULL, source, tmp_path / "out", "24000"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert f"part 2 cannot be written: the output folder '{tmp_path / 'out'}' has no room" in (
        ended.stdout
    ), ended.stderr
    job = local_job(source, tmp_path / "out")
    assert sorted(job.output.records()) == [0, 1]
    assert job.output.storage.strays(time.time() + 1e6) == []
    dispatcher = LocalDispatcher(job)
    run(job, dispatcher)
    assert len(dispatcher.drawn) == 1
    assert list(verify(job.output)) == []


SMALL_DISK = """
mount -t tmpfs -o size="$ROOM" tmpfs "$2"
"$0" -c "$SCRIPT" "$1" "$2"
ls "$2"/records/* "$2"/data/*
mount -o remount,size=16m "$2"
"$0" -c "$SCRIPT" "$1" "$2"
cp -r "$2" "$3"
"""
RUN = """
import sys
from pathlib import Path
from actors.errors import OutputFailedError
from tests.unit.jobs.local import local_job, run
try:
    print("done:", run(local_job(Path(sys.argv[1]), Path(sys.argv[2]))).resumed_rows, "were there")
except OutputFailedError as error:
    print(error)
"""


def test_a_small_file_system_fills_up_and_with_room_the_job_goes_on(tmp_path: Path) -> None:
    """One of its own, which no other process sees."""
    source = write_prompts(tmp_path / "p.csv", 12)
    undisturbed = local_job(source, tmp_path / "undisturbed")
    run(undisturbed)
    (tmp_path / "out").mkdir()
    page = os.sysconf("SC_PAGE_SIZE")
    first = (
        job_file(undisturbed.output),
        part_file(undisturbed.output, 0),
        record_file(undisturbed.output, 0),
        undisturbed.output.path / STATUS,
    )
    pages = 1 + sum(-(-file.stat().st_size // page) for file in first)
    assert part_file(undisturbed.output, 1).stat().st_size > page, (
        "the page to spare would do for it"
    )
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    folders = [tmp_path / "out", tmp_path / "k"]
    ended = subprocess.run(
        [*alone, "bash", "-ec", SMALL_DISK, sys.executable, source, *folders],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "SCRIPT": RUN, "ROOM": str(pages * page)},
    )  # fmt: skip
    shown, _, rest = ended.stdout.partition("\n")
    assert "part 1 cannot be written" in shown, ended.stderr
    assert "has no room left. Make room there" in shown
    assert rest.split()[-4:] == ["done:", "4", "were", "there"]
    assert rest.count("part-") == 2, "one part and its record; no half a file"
    kept = local_job(source, tmp_path / "k")
    assert bytes_of(kept) == bytes_of(undisturbed)
    assert list(verify(kept.output)) == []


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 4)
    with pytest.raises(OutputFailedError, match=r"/proc/nowhere/out' is gone\."):
        run(local_job(source, Path("/proc/nowhere/out")))


def test_a_folder_that_is_away_for_a_while_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """For 15 seconds of the dispatcher's clock; what is written meanwhile waits too."""
    source = write_prompts(tmp_path / "p.csv", 40)
    job, undisturbed = (local_job(source, tmp_path / name) for name in ("out", "undisturbed"))
    run(undisturbed)
    left = [20]

    class Away(LocalDispatcher):
        def wait(self, timeout_seconds: float) -> Any:
            away = tmp_path / "away"
            if len(self.drawn) >= 20 and left[0]:
                if job.output.path.exists():
                    job.output.path.rename(away)
                left[0] -= 1
                if left[0]:
                    self.observers.notify(SizesChanged(1.0, {}, 0.5, {}, {}, f"{left[0]} left"))
                    return []
                away.rename(job.output.path)
            return super().wait(timeout_seconds)

    run(job, Away(job))
    assert left == [0]
    assert "is gone. Bring it back, or mount its disk again); the job waits" in caplog.text
    assert "the output folder is back after" in caplog.text
    assert bytes_of(job) == bytes_of(undisturbed)


def test_a_folder_that_vanishes_ends_the_job_in_a_sentence(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")

    class Vanishing(LocalDispatcher):
        def send(self, owner: object, call: object) -> None:
            if len(self.drawn) == 14 and job.output.path.exists():
                job.output.path.rename(tmp_path / "elsewhere")
            super().send(owner, call)  # type: ignore[arg-type]

    with pytest.raises(OutputFailedError, match=r"out' is gone\. Bring it back"):
        run(job, Vanishing(job))
    assert not job.output.path.exists()
    (tmp_path / "elsewhere").rename(job.output.path)
    run(job)
    assert list(verify(job.output)) == []


def test_a_resumed_job_writes_down_what_a_retry_needs(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 8)
    run(local_job(source, tmp_path / "out"))
    job = local_job(source, tmp_path / "out", max_failed=0.9)
    run(job)
    written = job.output.read_job()
    assert written is not None
    assert written["spec"]["max_failed"] == 0.9


def test_a_dataset_is_not_whole_while_its_failed_rows_are_drawn_again(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 8), tmp_path / "out", max_failed=0.5)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 5"})))
    success = job.output.path / "_SUCCESS"
    there: set[bool] = set()

    class Watching(LocalDispatcher):
        def send(self, owner: Any, call: Any) -> None:
            there.add(success.exists())
            super().send(owner, call)

    assert success.is_file()
    retry(job, Watching(job))
    assert there == {False}
    assert success.is_file()


def test_observers_see_the_calibration_and_then_the_job(tmp_path: Path) -> None:
    """Loading and calibrating take long: the live view shows the pools meanwhile."""
    job = local_job(write_prompts(tmp_path / "p.csv", 20), tmp_path / "out")
    dispatcher: Any = LocalDispatcher(job)
    events: list[JobEvent] = []
    run_job(job, lambda _: dispatcher, [events.append])
    seen = [event for event in events if isinstance(event, Progress)]
    kinds = [progress.calibrating for progress in seen]
    assert kinds == sorted(kinds, reverse=True)
    assert {progress.num_rows for progress in seen if progress.calibrating} == {8}
    assert {progress.num_rows for progress in seen if not progress.calibrating} == {20}


# ---- somebody removes files


class Removing(LocalDispatcher):
    """Somebody clears data/ each time that so many calls were sent, `times` in all."""

    def __init__(self, job: Job, every: int, times: int) -> None:
        super().__init__(job)
        self.every, self.left, self.sent = every, times, 0

    def send(self, owner: Any, call: Any) -> None:
        self.sent += 1
        super().send(owner, call)

    def wait(self, timeout_seconds: float) -> Any:
        events = super().wait(timeout_seconds)
        data = self.job.output.path / "data"
        if self.left and self.sent >= self.every and any(data.rglob("*.parquet")):
            self.left, self.sent = self.left - 1, 0
            rmtree(data)
        return events


def test_parts_that_disappear_while_a_job_runs_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write_prompts(tmp_path / "p.csv", 20)
    undisturbed, job = (local_job(source, tmp_path / name) for name in ("undisturbed", "out"))
    run(undisturbed)
    end = run(job, Removing(job, every=40, times=1))
    assert "disappeared and is made again" in caplog.text
    assert bytes_of(job) == bytes_of(undisturbed)
    assert list(verify(job.output)) == []
    assert (end.done_rows, end.resumed_rows, end.num_rows) == (20, 0, 20)
    timeline = (job.output.path / "timeline.jsonl").read_text().splitlines()
    assert len(timeline) == 2, "the job began twice, and each beginning has one line"


def test_a_job_whose_parts_disappear_all_the_time_fails(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 20), tmp_path / "out")
    with pytest.raises(OutputFailedError, match=r"disappeared after being written(?s:.*)same comm"):
        run(job, Removing(job, every=8, times=100))
    assert not (job.output.path / "_SUCCESS").exists()
    run(job)
    assert list(verify(job.output)) == []


def test_parts_that_disappear_while_an_input_grows_are_made_again(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "p.csv", 10)
    run(local_job(source, tmp_path / "out"))
    write_prompts(source, 20)
    job = local_job(source, tmp_path / "out")
    assert run(job, Removing(job, every=1, times=1), extend=True).done_rows == 20
    assert list(verify(job.output)) == []


def test_parts_that_disappear_during_a_retry_are_no_success(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out", max_failed=0.5)
    run(job, LocalDispatcher(job, broken=frozenset({"picture 5"})))

    class RemovingTheFirst(LocalDispatcher):
        def send(self, owner: Any, call: Any) -> None:
            part_file(job.output, 0).unlink(missing_ok=True)
            super().send(owner, call)

    with pytest.raises(OutputFailedError, match=r"part 0 of .* disappeared while failed rows"):
        retry(job, RemovingTheFirst(job))
    assert not (job.output.path / "_SUCCESS").exists()


def test_a_retry_without_the_data_takes_the_success_away(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    run(job)
    rmtree(job.output.path / "data")
    assert retry(job).parts_done == 0
    assert not (job.output.path / "_SUCCESS").exists()


def test_a_finished_job_whose_data_is_gone_is_done_again(tmp_path: Path) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out")
    run(job)
    before = bytes_of(job)
    rmtree(job.output.path / "data")
    assert run(job).resumed_rows == 0
    assert bytes_of(job) == before
