"""Several drawings, editing and control: against diffusers' own calls, one prompt at a time."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import diffusers
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from actors.errors import InputError, ModelError, SpecError
from actors.images import open_image, prepared
from actors.models.pairing import check_roles
from actors.models.presets import PRESETS
from actors.refinement import Conditioning, DrawPlan, Refinement
from actors.seeds import stage_seed
from actors.student import Student
from actors.teacher import Teacher
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec
from tests.models.conftest import Folders, files_for, skipping
from tests.models.rows import IMAGES, PROMPTS, SEEDS, picture, png, student_of, teacher_of, worst

EDITED = ("stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "flux", "qwen-image")


# ---- several drawings


def test_several_drawings_are_neighbours_and_the_first_is_that_of_a_job_with_one() -> None:
    settings = PRESETS["shapes"].student.model_copy(update={"steps": 2, "batch_size": 4})
    prompts = ["a small red circle on a gray background", "a large blue ring on a white background"]
    one, pictures, alone = Student(settings, threads=1).draw(prompts, [1, 2])
    three, more, facts = Student(settings, threads=1).draw(prompts, [1, 2], plan=DrawPlan(3))
    assert three.shape == (6, 4, 16, 16)
    assert torch.equal(three[::3], one)
    assert np.array_equal(more[::3], pictures)
    assert len({latents.numpy().tobytes() for latents in three}) == 6
    assert facts.evaluations == 3 * alone.evaluations
    assert facts.rows == 2
    assert facts.stored_bytes == (three.nbytes, more.nbytes)


def test_long_prompts_are_counted_by_row_however_many_drawings_there_are(folders: Folders) -> None:
    student = student_of(folders("stable-diffusion"), DrawPlan(2))
    _, _, facts = student.draw(["a cat", "long " * 40, "dog"], SEEDS)
    assert facts.truncated == (1,)


@pytest.mark.parametrize(
    ("fields", "models"),
    [
        ({"task": "edit", "edit": {"strength": 0.5}}, "shapes"),
        ({"task": "control", "control": {"preprocess": "canny"}}, "shapes-control"),
        ({}, "shapes"),
    ],
    ids=["edit", "control", "generate"],
)
def test_the_rungs_of_a_ladder_draw_and_refine_as_the_jobs_do_that_say_them_in_short(
    fields: dict[str, Any], models: str, tmp_path: Path
) -> None:
    """A further drawing is that of a job with `draws: 2`; the teacher's first rung its refinement.

    A further attempt of the teacher's has other noise than the first, and the same start.
    """
    pq.write_table(pa.table({"prompt": PROMPTS, "photo": IMAGES}), tmp_path / "rows.parquet")
    given = fields and {**fields, "image_column": "photo"}

    def job(**how: Any) -> Job:
        paths = {"input": str(tmp_path / "rows.parquet"), "output": str(tmp_path / "out")}
        return resolve(make_spec({**paths, "models": models, **given, **how}))

    anew = {"regenerate": {"steps": 3}, "below": 0.5, "keep": "best"}
    ladder = [
        {"draw": 2, "until": 0.5},
        {"refine": {"strength": 0.6, "steps": 3}, "below": 0.5},
        *(anew, anew),
    ]
    first, second, refine, other, another = job(ladder=ladder).plans
    short = job(draws=2, rollback={"strength": 0.6}, teacher_steps=3)
    again = job(strategy="regenerate", teacher_steps=3)
    assert refine == short.refinement
    assert replace(other, attempt=0) == replace(another, attempt=0) == again.refinement

    images = IMAGES if given else None
    student = Student(short.spec.models.student, threads=1)
    both, _, _ = student.draw(PROMPTS, SEEDS, images, plan=short.draw_plan)
    for number, plan in enumerate((first, second)):
        assert isinstance(plan, DrawPlan)
        latents, _, _ = student.draw(PROMPTS, SEEDS, images, plan=plan)
        assert torch.equal(latents, both[number::2])
    assert not torch.equal(both[0::2], both[1::2])
    teacher = Teacher(short.spec.models.teacher, threads=1)
    made = []
    for plan in (other, another):
        assert isinstance(plan, Refinement)
        made.append(teacher.refine(PROMPTS, SEEDS, [], images=images, plan=plan)[0])
    assert not np.array_equal(*made)


# ---- editing


@pytest.mark.parametrize("name", EDITED)
def test_an_edit_is_diffusers_image_to_image_from_the_rows_picture(
    name: str, folders: Folders
) -> None:
    """From the mean of what the autoencoder says, where diffusers takes a sample."""
    conditioning = Conditioning("edit", strength=0.5)
    student = student_of(folders(name), DrawPlan(1, conditioning))
    ours, pictures, facts = student.draw(PROMPTS, SEEDS, IMAGES)
    diffusion = student.diffusion
    passes = diffusion.family.evaluations_per_step(3.0, dict(diffusion.denoiser.config))
    assert facts.evaluations == 3 * passes
    pipe: Any = diffusers.AutoPipelineForImage2Image.from_pipe(
        diffusers.DiffusionPipeline.from_pretrained(folders(name))
    )
    arguments: dict[str, Any] = {"guidance_scale": 3.0}
    if name == "qwen-image":
        arguments = {"true_cfg_scale": 3.0, "negative_prompt": " "}
    if diffusion.family.rounding == "up":
        arguments |= {"width": 32, "height": 32}
    arguments |= skipping(diffusion, 0.5, 3)
    theirs = []
    for prompt, seed, image in zip(PROMPTS, SEEDS, IMAGES, strict=True):
        opened = np.asarray(Image.open(BytesIO(image)))[None]
        latents = pipe(
            prompt,
            image=student.diffusion.encode(opened),
            generator=torch.Generator().manual_seed(stage_seed(seed, "student")),
            output_type="latent",
            **arguments,
        ).images
        theirs.append(student.diffusion._unpacked(latents))
    assert worst(ours, theirs) < 1e-3
    again, _, _ = student.draw(PROMPTS, SEEDS, IMAGES[::-1])
    assert worst(ours[::2], [each[None] for each in again[::2]]) > 0.05, "the picture decides"
    assert pictures.shape == (3, 32, 32, 3)


def test_z_image_edits_as_it_refines(folders: Folders) -> None:
    """diffusers' own call takes no latents there; test_families.py compares refining."""
    student = student_of(folders("z-image"), DrawPlan(1, Conditioning("edit", strength=0.5)))
    ours, _, _ = student.draw(PROMPTS, SEEDS, IMAGES)
    opened, _ = prepared(IMAGES, Conditioning("edit"), 32, 32)
    noise = [stage_seed(seed, "student") for seed in SEEDS]
    diffusion = student.diffusion
    refined = diffusion.refine(PROMPTS, noise, diffusion.encode(opened), 0.5, 3)
    assert torch.equal(ours, refined)


def test_little_strength_keeps_the_picture(folders: Folders) -> None:
    near, far = (
        student_of(folders("stable-diffusion"), DrawPlan(1, Conditioning("edit", strength))).draw(
            PROMPTS, SEEDS, IMAGES
        )[0]
        for strength in (0.05, 1.0)
    )
    start = student_of(folders("stable-diffusion"), DrawPlan()).diffusion.encode(
        np.stack([np.asarray(Image.open(BytesIO(image))) for image in IMAGES])
    )
    assert (near - start).abs().mean() < (far - start).abs().mean() / 2


def test_a_teacher_that_regenerates_an_edit_starts_from_the_rows_picture(folders: Folders) -> None:
    """As the student would with the same settings, but for the noise: nothing of its picture."""
    conditioning = Conditioning("edit", strength=0.5)
    teacher = teacher_of(
        folders("stable-diffusion"), Refinement("regenerate", 0.5, 3, "latents", conditioning)
    )
    made, facts = teacher.refine(PROMPTS, SEEDS, [], images=IMAGES)
    assert facts.evaluations == 6
    own, _ = prepared(IMAGES, conditioning, 32, 32)
    latents = teacher.diffusion.draw_anew(
        PROMPTS, [stage_seed(seed, "teacher") for seed in SEEDS], 3, conditioning, own
    )
    assert np.array_equal(made, teacher.diffusion.decode(latents))
    other, _ = teacher.refine(PROMPTS, SEEDS, [], images=IMAGES[::-1])
    assert not np.array_equal(made[0], other[0])


def test_a_refined_edit_starts_from_the_students_picture(folders: Folders) -> None:
    conditioning = Conditioning("edit", strength=0.5)
    student = student_of(folders("stable-diffusion"), DrawPlan(1, conditioning))
    latents, _, _ = student.draw(PROMPTS, SEEDS, IMAGES)
    teacher = teacher_of(
        folders("stable-diffusion"), Refinement("refine", 0.5, 3, "latents", conditioning)
    )
    picks = [(0, 0), (0, 1), (0, 2)]
    made, _ = teacher.refine(PROMPTS, SEEDS, picks, latents, images=[b"not looked at"] * 3)
    plain = teacher_of(folders("stable-diffusion"), Refinement("refine", 0.5, 3, "latents"))
    same, _ = plain.refine(PROMPTS, SEEDS, picks, latents)
    assert np.array_equal(made, same)


@pytest.mark.parametrize(
    ("student", "teacher", "strategy", "task", "why"),
    [
        ("sana-sprint", "stable-diffusion", "refine", "edit", "pipeline for the student, a SanaS"),
        ("stable-diffusion", "sana", "regenerate", "edit", "pipeline for the teacher, a SanaP"),
        ("flux", "z-image", "refine", "control", "the teacher is a ZImagePipeline"),
    ],
)
def test_models_that_cannot_do_the_task_are_refused(
    student: str, teacher: str, strategy: str, task: str, why: str, folders: Folders
) -> None:
    with pytest.raises(SpecError, match=why):
        check_roles(files_for(folders(student)), files_for(folders(teacher)), strategy, task)


# ---- whole jobs, resolved


def resolved_edit(folder: Path, tmp_path: Path, strength: float | None, **student: Any) -> Job:
    (tmp_path / "p.csv").write_text("prompt,picture\na,1.png\n")
    model = {"path": str(folder), "guidance_scale": 3.0, "batch_size": 2, "width": 32, "height": 32}
    oracle = PRESETS["shapes"].oracle.model_dump()
    fields: dict[str, Any] = {
        "input": str(tmp_path / "p.csv"),
        "output": str(tmp_path / "out"),
        "task": "edit",
        "image_column": "picture",
        "strategy": "regenerate",
        "models": {
            "student": {**model, "steps": 2, **student},
            "oracle": oracle,
            "teacher": {**model, "steps": 10},
        },
    }
    if strength is not None:
        fields["edit"] = {"strength": strength}
    return resolve(make_spec(fields))


def test_a_start_that_the_students_steps_cannot_reach_is_refused(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A student with LCM knows 50 steps; and few steps have few starts."""
    folder = folders("stable-diffusion")
    said = "LCMScheduler cannot drive .*: it makes no 60 steps: .* smaller than 50"
    with pytest.raises(ModelError, match=said):
        resolved_edit(folder, tmp_path, 0.9, steps=60, scheduler={"name": "lcm"})
    assert resolved_edit(folder, tmp_path, 0.5).refinement.strength == 0.5
    assert "edit.strength" not in caplog.text
    resolved_edit(folder, tmp_path, 0.9)
    assert "edit.strength is strength 0.9 (variance" in caplog.text


# ---- the rows' pictures


def test_a_path_and_its_bytes_are_the_same_picture(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(IMAGES[0])
    assert np.array_equal(open_image(str(file), 32, 32), open_image(IMAGES[0], 32, 32))
    assert np.array_equal(open_image(IMAGES[0], 32, 32), np.asarray(picture(SEEDS[0])))
    assert open_image(IMAGES[0], 48, 16).shape == (16, 48, 3)


def test_a_picture_of_another_shape_is_cropped_or_stretched() -> None:
    """A white square in a wide picture: cropped it stays a square."""
    wide = Image.new("RGB", (60, 30), "black")
    wide.paste("white", (22, 7, 38, 23))
    cropped, stretched = (
        prepared([png(wide)], conditioning, 30, 30)[0][0, ..., 0] > 127
        for conditioning in (Conditioning("edit"), Conditioning("edit", fit="stretch"))
    )
    assert (cropped.any(axis=0).sum(), cropped.any(axis=1).sum()) == (16, 16)
    assert (stretched.any(axis=0).sum(), stretched.any(axis=1).sum()) == (8, 16)


def test_edges_are_cannys() -> None:
    conditioning = Conditioning("control", canny=(100, 200))
    white = Image.new("RGB", (32, 32), "white")
    white.paste("black", (8, 8, 24, 24))
    (edges,), _ = prepared([png(white)], conditioning, 32, 32)
    assert np.array_equal(edges[..., 0], cv2.Canny(np.asarray(white), 100, 200))
    assert np.array_equal(edges[..., 0], edges[..., 2])
    assert edges[8, 16].max() == 255 or edges[7, 16].max() == 255
    assert edges[16, 16].max() == 0


def test_a_picture_that_cannot_be_read_harms_no_neighbour(folders: Folders) -> None:
    student = student_of(
        folders("stable-diffusion"), DrawPlan(2, Conditioning("edit", strength=0.5))
    )
    good, _, nothing = student.draw(PROMPTS, SEEDS, IMAGES)
    bad, _, facts = student.draw(PROMPTS, SEEDS, [IMAGES[0], b"broken", IMAGES[2]])
    assert nothing.permanent_failures == ()
    ((place, why),) = facts.permanent_failures
    assert place == 1
    assert why.startswith("the picture is none of PNG")
    assert torch.equal(bad[[0, 1, 4, 5]], good[[0, 1, 4, 5]])


def test_a_file_system_that_fails_is_no_broken_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call fails then, and is tried again."""

    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Image, "open", stale)
    with pytest.raises(OSError, match="Stale"):
        prepared(IMAGES[:1], Conditioning("edit"), 32, 32)


def test_pictures_are_upright_and_on_white() -> None:
    lying = Image.new("RGB", (8, 4), "black")
    lying.putpixel((0, 0), (255, 0, 0))
    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    lying.save(file, "PNG", exif=exif)
    upright = open_image(file.getvalue(), 4, 8)
    assert tuple(upright[0, 3]) == (255, 0, 0)
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert open_image(png(clear), 8, 8).min() == 255


def test_a_depth_map_of_16_bits_keeps_its_depths() -> None:
    depth = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    opened = open_image(png(Image.fromarray(depth)), 8, 8)
    assert np.abs(opened[..., 0] - depth / 257).max() <= 0.5


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF", "JPEG2000"])
def test_every_format_is_drawn(format: str) -> None:
    file, red = BytesIO(), Image.new("RGB", (32, 32), (200, 30, 40))
    red.save(file, format)
    error = np.abs(open_image(file.getvalue(), 32, 32) - np.asarray(red, int)).max()
    assert error <= 4  # of what loses something; the others are exact


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "HEIF"])  # AVIF's writer refuses these
@pytest.mark.parametrize(
    "broken", [b"", b"no TIFF", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\b\0\1"]
)
def test_good_pixels_with_broken_metadata_are_drawn(format: str, broken: bytes) -> None:
    """Unturned: what says how to turn them cannot be read."""
    file, red = BytesIO(), Image.new("RGB", (32, 16), (200, 30, 40))
    red.save(file, format, exif=b"Exif\0\0" + broken)
    assert open_image(file.getvalue(), 32, 16).mean(axis=(0, 1)).round()[0] in range(196, 205)


def narrow() -> bytes:
    """Few enough pixels, but in one column."""
    return png(Image.new("1", (1, 70_000)))


def deep() -> bytes:
    file = BytesIO()
    Image.fromarray(np.full((4, 4), 1 << 20, np.int32)).save(file, "TIFF")
    return file.getvalue()


def bomb() -> bytes:
    """A tiny file of a picture with too many pixels."""
    return png(Image.new("1", (12_000, 12_000)))


def eps() -> bytes:
    """EPS, which Pillow would have Ghostscript draw."""
    file = BytesIO()
    picture(1).save(file, "EPS")
    return file.getvalue()


def floats() -> bytes:
    file = BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(file, "TIFF")
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (b"no picture", "the picture is none of PNG, JPEG, WEBP, TIFF, BMP, GIF, AVIF, HEIF"),
        (eps(), "the picture is none of PNG, JPEG, WEBP, TIFF, BMP, GIF"),
        (IMAGES[0][:100], "the picture cannot be read: "),
        ("/nowhere/at/all.png", "^the picture cannot be read: No such file or directory$"),
        ("/dev/null", "^the picture cannot be read: it is no file$"),
        ("/tmp", "^the picture cannot be read: it is no file$"),
        (floats(), "^the picture cannot be read: its pixels are floats"),
        (deep(), "^the picture cannot be read: its pixels need more than 16 bits"),
        (narrow(), "^the picture cannot be read: it has 1 x 70,000 pixels; a side may have 65,535"),
        (bomb(), "cannot be read: .*decompression bomb"),
    ],
)
def test_a_picture_that_cannot_be_read_says_why(image: bytes | str, why: str) -> None:
    """In the same words wherever it lies."""
    with pytest.raises(InputError, match=why):
        open_image(image, 32, 32)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.binary(max_size=64), st.integers(0, 3))
@settings(deadline=None)
def test_no_damage_to_a_file_is_more_than_a_picture_that_cannot_be_read(
    noise: bytes, which: int
) -> None:
    """Wherever it is damaged: it is drawn, or its row fails."""
    files = [*IMAGES, floats()]
    good = files[which]
    at = len(noise) * 7 % len(good)
    with suppress(InputError):
        assert open_image(good[:at] + noise + good[at + len(noise) :], 8, 8).shape == (8, 8, 3)
