"""Which dated outputs go, and that nothing goes that the job did not write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import SpecError
from jobs.job_id import fill_in
from jobs.output.dated_outputs import retire
from jobs.output.folder import SAMPLE
from jobs.output.retention import DatedOutput, DatedPlaces, decide
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.storage.local import LocalStorage
from tests.unit.jobs.local import FIELDS, local_job, run, write_prompts

DATES = ("2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23")


@pytest.mark.parametrize(
    ("pattern", "folder", "place"),
    [
        ("/data/faces/{date}", "2026-11-23", ("2026-11-23", "2026-11-23")),
        ("/data/{date}-faces/v1", "2026-11-23-faces", ("2026-11-23", "2026-11-23-faces/v1")),
        ("s3://b/{for}", "2026-11-23t03-00", ("2026-11-23t03-00", "2026-11-23t03-00")),
        (
            "s3://b/{for}/{date}",
            "2026-11-23t03-00",
            ("2026-11-23t03-00", "2026-11-23t03-00/2026-11-23"),
        ),
        ("/data/{date}", "2026-11-23.old", None),
        ("/data/{date}", "latest", None),
        ("/data/{for}", "some-label", None),
        ("/data/{date}.{date}", "2026-11-23.2026-11-24", None),
        ("/data/a.b-{date}", "axb-2026-11-23", None),
    ],
)
def test_a_pattern_names_its_folders_and_no_others(
    pattern: str, folder: str, place: tuple[str, str] | None
) -> None:
    assert DatedPlaces.of(pattern).place(folder) == place


outputs = st.lists(
    st.builds(
        DatedOutput,
        url=st.uuids().map(str),
        date=st.dates().map(str),
        finished=st.booleans(),
        kept_because=st.sampled_from(["", "", "foreign"]),
    ),
    max_size=12,
)


@given(outputs, st.integers(1, 5))
def test_the_newest_finished_ones_stay_and_so_does_what_is_not_ours(
    found: list[DatedOutput], keep: int
) -> None:
    verdicts = decide(found, keep)
    assert sorted(one.output.url for one in verdicts) == sorted(one.url for one in found)
    stay = [one.output for one in verdicts if not one.goes]
    go = [one.output for one in verdicts if one.goes]
    ours = [one for one in found if one.finished and not one.kept_because]
    newest = sorted(ours, key=lambda one: one.date, reverse=True)[:keep]
    assert all(any(one is other for other in stay) for one in newest)
    assert not [one for one in go if one.kept_because]
    assert not go or len(newest) == keep, "with fewer finished ones nothing goes"
    assert all(one.date < newest[-1].date for one in go)


def test_the_output_of_this_run_stays_also_for_a_date_of_long_ago() -> None:
    found = [DatedOutput(date, date, finished=True) for date in DATES]
    verdicts = {one.output.date: one for one in decide(found, 1, current=DATES[0])}
    assert verdicts[DATES[0]].reason == "it is this run's"
    assert [date for date, one in verdicts.items() if one.goes] == [DATES[2], DATES[1]]


@pytest.fixture
def nights(tmp_path: Path) -> JobSpec:
    """Four nights below `out`; the job keeps two."""
    source = write_prompts(tmp_path / "p.csv", 6)
    for date in DATES:
        run(local_job(source, tmp_path / "out" / date, name="faces"))
    return keeping(tmp_path, f"{tmp_path}/out/{{date}}")


def keeping(folder: Path, of: str, keep: int = 2) -> JobSpec:
    retention = {"keep": keep, "of": of}
    places = {"input": str(folder / "p.csv"), "output": str(folder / "out" / DATES[3])}
    return make_spec({**FIELDS, **places, "name": "faces", "after": {"retention": retention}})


def there(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def reasons(spec: JobSpec, **options: Any) -> dict[str, str]:
    return {one.output.date: str(one) for one in retire(spec, **{"delete": True, **options})}


def test_without_the_flag_it_shows_what_would_go_and_touches_nothing(
    nights: JobSpec, tmp_path: Path
) -> None:
    before = there(tmp_path)
    shown = [str(one) for one in retire(nights, delete=False)]
    assert [": would go (not among the newest 2" in one for one in shown] == [
        *(False, False, True, True)
    ]
    assert there(tmp_path) == before


def test_with_it_old_ones_go_and_every_byte_of_the_others_stays(
    nights: JobSpec, tmp_path: Path
) -> None:
    kept = {date: there(tmp_path / "out" / date) for date in DATES[2:]}
    shown = reasons(nights)
    assert ": deleted (not among the newest 2" in shown[DATES[0]]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == list(DATES[2:])
    assert {date: there(tmp_path / "out" / date) for date in DATES[2:]} == kept
    assert not any("deleted" in one for one in reasons(nights).values())


def _strange_file(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def _strange_part(folder: Path) -> None:
    (folder / "data/00000/part-00000000.parquet").write_bytes(b"mine, and larger or smaller")


def _hidden(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("ref")


def _no_job(folder: Path) -> None:
    (folder / "job.json").unlink()


def _broken_job(folder: Path) -> None:
    (folder / "job.json").write_text("{")


def _another_job(folder: Path) -> None:
    file = folder / "job.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "name": "others"}))


def _link_in_it(folder: Path) -> None:
    (folder / "data/00000/link").symlink_to(folder.parents[1] / "p.csv")


def _link_to_a_folder(folder: Path) -> None:
    (folder / "data").rename(folder.parents[1] / "moved")
    (folder / "data").symlink_to(folder.parents[1] / "moved")


def _is_a_link(folder: Path) -> None:
    folder.rename(folder.parents[1] / "elsewhere")
    folder.symlink_to(folder.parents[1] / "elsewhere")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_strange_file, "notes.txt in it is not ours"),
        (_strange_part, "records/00000/part-00000000.json does not count"),
        (_hidden, ".git/HEAD in it is not ours"),
        (_no_job, "it has no job.json, so it is no output of ours"),
        (_broken_job, "job.json is not JSON"),
        (_another_job, "it is of another job, 'others'"),
        (_link_in_it, "is a link"),
        (_link_to_a_folder, "is a link"),
        (_is_a_link, "is a link"),
    ],
)
def test_what_the_job_did_not_write_is_not_deleted(
    change: Any, said: str, nights: JobSpec, tmp_path: Path
) -> None:
    change(tmp_path / "out" / DATES[0])
    before = there(tmp_path)
    shown = reasons(nights)[DATES[0]]
    assert ": stays (" in shown
    assert said in shown
    after = there(tmp_path)
    gone = {name for name in before if name not in after}
    assert gone, "the other old one went"
    assert all(name.startswith(f"out/{DATES[1]}/") for name in gone)
    assert {name: before[name] for name in after} == after


def test_folders_that_the_pattern_does_not_name_stay(nights: JobSpec, tmp_path: Path) -> None:
    for name in ("2020-01-01.bak", "latest", "20200101"):
        run(local_job(tmp_path / "p.csv", tmp_path / "out" / name, name="faces"))
    reasons(nights)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {*DATES[2:], "2020-01-01.bak", "latest", "20200101"}


def test_a_driver_that_is_at_an_old_one_keeps_it(nights: JobSpec, tmp_path: Path) -> None:
    file = tmp_path / "out" / DATES[0] / "status.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "state": "running"}))
    (tmp_path / "out" / DATES[0] / "_SUCCESS").unlink()
    assert "a driver is at it" in reasons(nights)[DATES[0]]
    assert file.exists()


def test_a_deletion_that_is_cut_short_anywhere_goes_on(
    nights: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen = LocalStorage.erase, [0]

    def erase(storage: LocalStorage, paths: Any) -> None:
        # One file each time, and then the process dies.
        whole(storage, list(paths)[:1])
        seen[0] += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStorage, "erase", erase)
    while (tmp_path / "out" / DATES[0]).exists() or (tmp_path / "out" / DATES[1]).exists():
        with pytest.raises(KeyboardInterrupt):
            list(retire(nights, delete=True))
        assert seen[0] < 50
    assert seen[0] > 10


def test_a_link_that_is_put_in_the_way_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/part-00000000.parquet").write_text("precious")
    storage = LocalStorage(tmp_path / "out")
    storage.create()
    storage.put("job.json", b"{}")
    (tmp_path / "out/data").symlink_to(tmp_path / "victim")
    with pytest.raises(Exception, match=r"does not work|is gone"):
        storage.erase(["data/part-00000000.parquet", "job.json"])
    assert (tmp_path / "victim/part-00000000.parquet").read_text() == "precious"


def test_a_job_without_dates_has_no_retention() -> None:
    fields = {"output": "/data/faces", "after": {"retention": {"keep": 14}}}
    with pytest.raises(SpecError, match=r"has no \{date\}"):
        fill_in(fields)
    dated = fill_in({**fields, "output": "/data/{date}"}, "2026-11-23")
    assert dated["after"]["retention"] == {"keep": 14, "of": "/data/{date}"}
    assert dated["output"] == "/data/2026-11-23"


def test_scores_that_were_kept_do_not_keep_an_output(nights: JobSpec, tmp_path: Path) -> None:
    """`bottega calibrate` leaves them beside the dataset: such an output stayed for ever."""
    (tmp_path / "out" / DATES[0] / SAMPLE).write_text("{}")
    assert "deleted" in reasons(nights)[DATES[0]]
    assert not (tmp_path / "out" / DATES[0]).exists()


def test_a_pilot_counts_for_nothing_among_the_outputs_of_the_whole_job(tmp_path: Path) -> None:
    """Its folder is one of `{for}`: finished pilots made whole outputs go."""
    source = write_prompts(tmp_path / "p.csv", 6)
    for date in DATES[2:]:
        run(local_job(source, tmp_path / "out" / date, name="faces"))
        run(local_job(source, tmp_path / "out" / f"{date}-pilot-4", name="faces", limit=4))
    shown = reasons(keeping(tmp_path, f"{tmp_path}/out/{{for}}"))
    assert all(": stays (" in one for one in shown.values()), shown
    assert "it is a pilot" in shown[f"{DATES[3]}-pilot-4"]
