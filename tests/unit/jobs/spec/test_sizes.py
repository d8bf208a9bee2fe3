"""`size`, `sizes` and what a column says: which size a row has, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from actors.errors import SpecError
from jobs.spec.job_spec import JobSpec, make_spec
from jobs.spec.sizes import of_size, parse_size, size_of

SIZES = ((1024, 1024), (1216, 832), (832, 1216), (512, 512))


def spec(**fields: Any) -> JobSpec:
    return make_spec({"input": "p.csv", "output": "out", "models": "shapes", **fields})


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("1216x832", (1216, 832)),
        (" 832 X 1216 ", (832, 1216)),
        ("512\u00d7512", (512, 512)),
        (None, (1024, 1024)),
        ("", (1024, 1024)),
        (1, (1024, 1024)),
        (1.0, (1024, 1024)),
        (1.5, (1216, 832)),
        (0.5, (832, 1216)),
        ("3:2", (1216, 832)),
        ("2/3", (832, 1216)),
        ("16:9", (1216, 832)),
        ("0.7", (832, 1216)),
        (1.2, (1024, 1024)),  # the border to 1216x832, by the logarithm, is at 1.209
        (1.22, (1216, 832)),
        (1 / 1.22, (832, 1216)),
    ],
)
def test_a_value_chooses_a_size(value: Any, size: tuple[int, int]) -> None:
    assert size_of(value, SIZES) == size


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("640x640", "'640x640' is none of the job's sizes: 1024x1024, 1216x832, 832x1216, 512x512"),
        ("wide", "'wide' is no size: give width and height in pixels"),
        ("1216x", "is no size"),
        ("-1", "is no size"),
        ("3:0", "is no aspect ratio"),
        (0, "0 is no aspect ratio: give width over height"),
        (-1.5, "is no aspect ratio"),
        (float("nan"), "is no aspect ratio"),
        (float("inf"), "is no aspect ratio"),
        (1024, "1024 is no aspect ratio"),
        ("x" * 200, "is no size"),
        ("9" * 400, "is no aspect ratio"),
    ],
)
def test_what_chooses_none_is_a_sentence(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r"is no") as refused:
        size_of(value, SIZES)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": "big"}, "size: 'big' is no size"),
        ({"size": "0x64"}, "is no size"),
        ({"sizes": ["64x64", "64"]}, "'64' is no size"),
        ({"size": "64x64", "sizes": ["64x64"]}, "size: and sizes has several"),
        ({"sizes": ["64x64", "32x64"]}, "sizes: which row has which?"),
        ({"sizes": ["64x64", "64X64"], "size_column": "s"}, "sizes: 64x64 is there twice"),
        ({"size_column": "s"}, "size_column: it chooses among sizes"),
        (
            {"size": "64x64", "models": {"preset": "shapes", "student": {"width": 32}}},
            "models.student.width: 32, and the job's size says 64",
        ),
        (
            {
                "sizes": ["64x64", "32x64"],
                "size_column": "s",
                "models": {"preset": "shapes", "teacher": {"compile": True}},
            },
            "models.teacher.compile: the network is compiled for one shape, and sizes has 2",
        ),
        (
            {
                "guidance_scale_column": "g",
                "models": {"preset": "shapes", "teacher": {"guidance_scale": 1.0}},
            },
            "guidance_scale_column: neither student nor teacher is guided",
        ),
    ],
)
def test_contradictions_are_refused_in_a_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec(**fields)
    assert said in str(refused.value)


def test_a_size_is_that_of_both_models_and_of_a_parts_default() -> None:
    one = spec(sizes=["64x64", "128x64"], size_column="s")
    assert one.all_sizes == ((64, 64), (128, 64))
    assert one.pixels == 128 * 64
    models = of_size(one.models, one.all_sizes[1])
    assert [(m.width, m.height) for m in (models.student, models.teacher)] == [(128, 64)] * 2
    # As a resolved job is read back.
    again = one.model_copy(update={"models": of_size(one.models, one.all_sizes[0])})
    assert JobSpec.model_validate(again.model_dump()) == again


def test_a_presets_own_size_gives_way() -> None:
    """Nobody could leave it out."""
    one = spec(models="sdxl-turbo", size="768x512")
    assert (one.models.student.width, one.models.teacher.height) == (None, None)
    assert of_size(one.models, one.all_sizes[0]).student.width == 768
    with pytest.raises(
        SpecError, match=r"models\.student\.width: 512, and the job's size says 768"
    ):
        spec(models={"preset": "sdxl-turbo", "student": {"width": 512}}, size="768x512")
    with pytest.raises(SpecError, match=r"models\.student: input should be a mapping"):
        spec(models={"preset": "shapes", "student": 3}, size="64x64")


def test_a_size_in_pixels() -> None:
    assert parse_size("1024x768") == (1024, 768)
    with pytest.raises(ValueError, match="is no size"):
        parse_size("1024x768x3")
