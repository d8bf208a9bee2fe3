"""Stand-in models in a real job: everything is real but the pictures."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.output.verify import verify
from tests.cluster.conftest import RunJob, rows_of


def test_a_job_of_stand_ins_takes_the_time_of_their_profiles(
    run_here: RunJob, tmp_path: Path
) -> None:
    """300 times as fast as real; by the schedule the second half of the rows is refined."""
    pq.write_table(
        pa.table({"prompt": [f"picture {n}" for n in range(96)], "row": range(96)}),
        tmp_path / "prompts.parquet",
    )
    own = {"batch_size": 4, "width": 64, "height": 64}
    fast = {"load_seconds": 0.1, "speed": 300}
    job, _ = run_here(
        models={
            "preset": "timed",
            "student": {"timed": fast, **own},
            "oracle": {"timed": {**fast, "rejected": [[0, 0.0], [48, 1.0]]}, "batch_size": 4},
            "teacher": {"timed": fast, **own},
        },
        input=str(tmp_path / "prompts.parquet"),
        output=str(tmp_path / "out"),
        seed_column="row",
        budget={"threshold": 0.5},
        rows_per_part=32,
        teacher_steps=30,
    )
    rows = rows_of(job.output.path)
    assert [row["source"] for row in rows] == ["student"] * 48 + ["teacher"] * 48
    assert all((row["student_score"] < 0.5) == (row["row"] >= 48) for row in rows)
    assert {row["nfe"] for row in rows} == {1, 61}
    records = job.output.records().values()
    seconds = {
        pool: sum(r["seconds"].get(pool, 0) for r in records)
        for pool in ("student", "oracle", "teacher")
    }
    # 24 batches drawn and 36 scored; 12 refined, 30 steps of the 50 that the profile has.
    wanted = {"student": 24 * 0.22, "oracle": 36 * 0.08, "teacher": 12 * 0.6 * 3.68}
    for pool, whole in wanted.items():
        assert whole / 300 <= seconds[pool] < whole / 300 + 2, pool
    assert list(verify(job.output)) == []
