"""The job file: what it takes, and what it says when it does not."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path
from typing import Any

import pytest

from actors.errors import SpecError
from actors.models.presets import PRESETS
from jobs.input.prompts import Prompts
from jobs.spec.job_spec import JobSpec, load_spec, make_spec
from jobs.spec.reference import page

ROOT = Path(__file__).parents[4]


def spec(**fields: Any) -> JobSpec:
    return make_spec({"input": "p.csv", "output": "out", "models": "shapes", **fields})


def test_the_job_file_of_the_documentation_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        """
name: shapes-demo
input: examples/prompts.parquet
prompt_column: prompt
output: out/shapes-demo
models: shapes
budget: {refine: 0.3}
rollback: {strength: 0.6}
keep: teacher
seed: 7
rows_per_part: 256
"""
    )
    job = load_spec(file)
    assert job.models == PRESETS["shapes"]
    assert job.budget.refine == 0.3
    assert job.strategy == "refine"


def test_the_demos_job_file_is_valid() -> None:
    assert load_spec(ROOT / "examples/shapes.yaml").name == "shapes-demo"


def test_the_edits_of_the_examples_are_a_job() -> None:
    job = load_spec(ROOT / "examples/edit.yaml", input=str(ROOT / "examples/edits.parquet"))
    (part,) = Prompts(job).parts()
    assert part.invalid_rows == {}
    assert part.images is not None
    assert len(part.prompts) == 48


def test_a_preset_can_be_changed_in_part() -> None:
    job = spec(models={"preset": "shapes", "teacher": {"steps": 9}})
    assert job.models.teacher.steps == 9
    assert job.models.teacher.path == PRESETS["shapes"].teacher.path
    assert job.models.student == PRESETS["shapes"].student


def test_own_seconds_replace_a_presets_as_a_whole() -> None:
    own = {16: 0.5}
    job = spec(models={"preset": "timed", "oracle": {"timed": {"seconds": own}}})
    assert job.models.oracle.timed is not None
    assert job.models.oracle.timed.seconds == {"any": own}
    assert make_spec(job.model_dump(mode="json")) == job, "as job.json has it"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"promt_column": "x"}, "promt_column: unknown field. Did you mean 'prompt_column'?"),
        (
            {"models": {"preset": "shapes", "techer": {}}},
            "models.techer: unknown field. Did you mean 'teacher'?",
        ),
        (
            {"models": {"preset": "shapes", "teacher": {"step": 4}}},
            "models.teacher.step: unknown field. Did you mean 'steps'?",
        ),
        ({"models": "shape"}, "models: 'shape' is no preset. Did you mean 'shapes'?"),
        (
            {"models": {"preset": "shapes", "student": {"timed": {"profile": "sdxs"}}}},
            "models.student: give exactly one of path",
        ),
        (
            {"models": {"preset": "timed", "oracle": {"timed": None, "path": "o"}}},
            "all three models are timed, or none",
        ),
        (
            {"models": {"preset": "timed", "student": {"timed": {"seconds": {1: 1.0}}}}},
            "models.student.timed: give either profile or seconds",
        ),
        (
            {"models": {"preset": "timed", "student": {"timed": {"profile": None}}}},
            "models.student.timed: how long does a batch take",
        ),
        (
            {"models": {"preset": "timed", "student": {"timed": {"profile": "sd"}}}},
            "'sd' is no published profile; there are sd-turbo, sd-1.5",
        ),
        (
            {"models": {"preset": "timed", "student": {"timed": {"gpu": "T4"}}}},
            "gpu 'T4' is none of those timed: A100-80G",
        ),
        (
            {
                "models": {
                    "preset": "timed",
                    "oracle": {"timed": {"rejected": [[0, 0.1], [9, 0.5]]}},
                }
            },
            "name a column of row numbers as seed_column",
        ),
        (
            {"models": {"preset": "timed", "oracle": {"timed": {"rejected": [[1, 0.1]]}}}},
            "a schedule begins at row 0",
        ),
        ({"budget": {"refine": 1.5}}, "budget.refine: input should be less than or equal to 1"),
        ({"budget": {"refine": 0.3, "nfe": 9}}, "budget: give exactly one of refine, nfe"),
        ({"budget": {}}, "not none"),
        ({"budget": {"threshold": float("nan")}}, "budget.threshold: input should be a finite"),
        (
            {"rollback": {"strength": 0.6, "variance": 0.5}},
            "exactly one of strength, variance or",
        ),
        (
            {"strategy": "regenerate", "rollback": {"strength": 0.5}},
            "  rollback: it goes with strategy: refine",
        ),
        ({"strategy": "redraw"}, "strategy: input should be 'refine' or 'regenerate'"),
        ({"rows_per_part": 0}, "rows_per_part: input should be greater than or equal to 1, got 0"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1"),
        ({"input": None}, "input: input should be a valid string"),
        ({"prompt_column": "a", "id_column": "a"}, "  id_column: 'a' is prompt_column already"),
        ({"prompt_column": "a", "seed_column": "a"}, "  seed_column: 'a' is prompt_column"),
        ({"image_quality": 80}, "  image_quality: it goes with image_format: jpeg or webp"),
        (
            {"call_timeout_seconds": 60, "stall_timeout_seconds": 60},
            "  call_timeout_seconds: 60 is not less than stall_timeout_seconds (60)",
        ),
        (
            {"models": {"preset": "shapes", "student": {"width": 65}}},
            "models.student.width: input should be a multiple of 8, got 65",
        ),
        ({"models": {"preset": 5}}, "models: 5 is no preset. Valid names: "),
        ({"models": "shape"}, "models: 'shape' is no preset. Did you mean 'shapes'?\n"),
        ({"models": 5}, "models: input should be a mapping of student, oracle, teacher, preset"),
        (
            {"budget": 0.3},
            "budget: input should be a mapping of refine, nfe, threshold, gpu_seconds, got 0.3",
        ),
        ({"budget": {"refine": True}}, "budget.refine: input should be a number, and not true"),
        ({"seed": True}, "seed: input should be a number, and not true or false, got True"),
        ({"refine": 0.3}, "unknown field. Did you mean 'budget.refine' or 'ladder.refine'?"),
        (
            {"models": {"preset": "shapes", "teacher": {"strength": 0.6}}},
            "models.teacher.strength: unknown field. Did you mean 'edit.strength' or ",
        ),
        ({"name": "a\nb"}, "name: a name is one line of printable characters, got 'a\\nb'"),
        ({"name": "a\x1b[2J"}, "name: a name is one line of printable characters"),
        ({"name": "a\u202eb"}, "name: a name is one line of printable characters"),
        ({"zzz": 1}, "zzz: unknown field. Valid names: after, budget, "),
        (
            {"pools": {"teacher": {"gpus_per_actor": 1.5}}},
            "pools.teacher.gpus_per_actor: input should be a whole number above 1",
        ),
        ({"stall_timeout_seconds": float("inf")}, "stall_timeout_seconds: input should be a fin"),
        ({"input": "ftp://host/p.csv"}, "input: ftp:// is no storage that Bottega knows"),
        ({"output": "s3://b/o?x"}, "output: a s3:// URL must not have a query"),
        ({"output": "o\0ut"}, "output has a NUL character at position 1"),
        ({"negative_prompt": "\0"}, "negative_prompt has a NUL character at position 0"),
        ({"negative_prompt": "a\ud800"}, r"negative_prompt has the surrogate '\ud800' at"),
        ({"prompt_column": "\0"}, "prompt_column has a NUL character"),
        (
            {"models": {"preset": "shapes", "oracle": {"kind": "a:B", "options": {"x": [1, 2]}}}},
            "models.oracle.options.x: input should be a valid string or a valid integer or a valid "
            "number or a valid boolean, got [1, 2]\n",
        ),
        (
            {"models": {"preset": "shapes", "oracle": {"kind": "a:B", "options": {"x": nan}}}},
            "models.oracle.options.x: input should be a valid string or a finite number or a valid "
            "boolean, got nan\n",
        ),
        ({"ladder": {"a": 1}, "budget": None}, "ladder: input should be a list, got {'a': 1}"),
        ({"max_failed": 1.5}, "max_failed: give a fraction from 0.0 to 1.0, or a whole number"),
        ({"max_failed": -1}, "or a whole number of rows, got -1"),
        ({"max_failed": True}, "or a whole number of rows, got True"),
        ({"max_failed": "10%"}, "or a whole number of rows, got '10%'"),
    ],
)
def test_a_mistake_names_the_field_the_rule_and_the_way_out(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError) as caught:
        spec(**fields)
    assert said in f"{caught.value}\n"


def test_what_fits_together_is_taken() -> None:
    assert spec(image_format="webp", image_quality=80).image_quality == 80
    sizes = {"preset": "shapes", "student": {"width": 64}, "teacher": {"width": 32}}
    assert spec(models=sizes, strategy="regenerate").models.teacher.width == 32
    assert spec(pools={"teacher": {"gpus_per_actor": 2}}).pools.teacher.gpus_per_actor == 2
    assert spec(**spec().model_dump()) == spec()


def test_max_failed_is_a_fraction_with_a_point_and_a_count_without(tmp_path: Path) -> None:
    """Also after it was written to job.json and read again, as a retry does."""
    for written, kind in (("0.25", float), ("1.0", float), ("1", int), ("25", int)):
        file = tmp_path / "job.yaml"
        file.write_text(f"{{input: p, output: o, models: shapes, max_failed: {written}}}")
        job = load_spec(file)
        again = make_spec(json.loads(json.dumps(job.model_dump(mode="json"))))
        assert type(job.max_failed) is type(again.max_failed) is kind
        assert job.max_failed == again.max_failed == float(written)


def test_every_mistake_is_shown_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        spec(seed=-1, rows_per_part=0)
    assert "seed" in str(caught.value)
    assert "rows_per_part" in str(caught.value)


def test_the_reference_page_is_that_of_the_code() -> None:
    assert (ROOT / "docs/job-file.md").read_text() == page(), (
        "run: python -m jobs.spec.reference > docs/job-file.md"
    )


def test_every_field_is_described() -> None:
    assert "| None" not in page()


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"input": "s3://AKIA:wJalrXUtnFEMI/K7@bucket/p.csv"}, "input"),
        ({"output": "https://u:wJalrXUtnFEMI@h/out"}, "output"),
        ({"input": "https://h/p.csv?a=1&X-Amz-Signature=wJalrXUtnFEMI"}, "input"),
        (
            {"models": {"preset": "shapes", "teacher": {"path": "https://wJalrXUtnFEMI@h/m"}}},
            "models.teacher.path",
        ),
        ({"unknown": [{"url": "s3://k:wJalrXUtnFEMI@b"}]}, "unknown.0.url"),
    ],
)
def test_keys_in_a_url_are_refused_and_not_shown(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec(**fields)
    assert f"{path}: a URL with a key" in str(refused.value)
    assert "environment" in str(refused.value)
    assert "wJalrXUtnFEMI" not in str(refused.value)


def test_a_job_file_that_holds_itself_does_not_hang() -> None:
    fields: dict[str, Any] = {}
    fields["pools"] = fields
    with pytest.raises(SpecError):
        spec(**fields)


def own_oracle(**options: str | int) -> dict[str, Any]:
    oracle = {"kind": "mine:Mine", "options": options}
    return {"input": "p.csv", "output": "out", "models": {"preset": "shapes", "oracle": oracle}}


@pytest.mark.parametrize(
    "name",
    [
        *("token", "hf_token", "password", "api_key", "db_dsn", "pass", "bearer", "my_cookie"),
        *("conn_str", "sas", "jwt", "otp"),
    ],
)
@pytest.mark.parametrize("value", ["hunter2", "***", "env:", "file:", ""])
def test_a_job_file_holds_no_secret(name: str, value: str) -> None:
    with pytest.raises(SpecError, match=f"models.oracle.options.{name} by the name.*env:NAME") as e:
        make_spec(own_oracle(**{name: value}))
    assert "hunter2" not in str(e.value)


@pytest.mark.parametrize(
    ("roots", "said"),
    [
        ("s3://x", r"image_roots: it is a list of places. Write \['s3://x'\]"),
        (["file:///etc"], "image_roots: file:// is no storage"),
        (["/etc"], "image_roots: "),
        (["s3://key:secret@x"], "image_roots.*must not hold a key|a URL with a key"),
    ],
)
def test_a_place_of_pictures_is_a_url_of_a_storage(roots: object, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec(image_roots=roots)
    assert spec(image_roots=["s3://b/x", "https://h/y"]).image_roots == ("s3://b/x", "https://h/y")


def test_a_job_file_holds_no_key_whatever_it_is_called() -> None:
    key = "hf_" + "aB3" * 11
    with pytest.raises(SpecError, match=r"models.oracle.options.label by the name or by") as caught:
        make_spec(own_oracle(label=key))
    assert key not in str(caught.value)


def test_a_job_file_names_a_secrets_place() -> None:
    options = {
        "token": "env:LABELS",
        "key": "file:/run/secrets/key",
        "max_tokens": 77,
        "path_": "x",
    }
    assert make_spec(own_oracle(**options)).models.oracle.options == options
