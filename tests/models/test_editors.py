"""Editors that follow instructions: against diffusers' own calls, one picture at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import import_module
from io import BytesIO
from math import isqrt
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from actors.errors import ModelError, SpecError
from actors.models.pairing import check_roles, fitted
from actors.models.schedulers import CLASSES
from actors.refinement import Conditioning, DrawPlan, Refinement
from actors.seeds import stage_seed
from actors.settings import SchedulerName
from jobs.refinement import as_planned
from tests.models.conftest import Folders, Note, files_for, skipping
from tests.models.rows import PROMPTS, SEEDS, picture, png, student_of, teacher_of, worst
from tests.models.test_parts import save_lora
from tests.models.test_tasks import resolved_edit
from tests.models.tiny import EDITORS

EDIT = Conditioning("edit")
ONE_EACH = [name for name in EDITORS if name != "qwen-image-edit-plus"]
"""Without the one that takes a second a row and does all but the prompt as another does."""


PIXELS = 256 * 256
"""To which Qwen-Image-Edit's pipelines bring a picture here, and not to a million: 64 cells of the
tiny autoencoder, in a sixteenth of the time."""

QWEN_EDIT = "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit"


@pytest.fixture(autouse=True)
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' own sizes in diffusers' own function: ours follow."""
    for module in ("", "_inpaint", "_plus"):
        dimensions = import_module(QWEN_EDIT + module).calculate_dimensions
        monkeypatch.setattr(
            f"{QWEN_EDIT}{module}.calculate_dimensions",
            lambda area, ratio, dimensions=dimensions: dimensions(area * PIXELS / 2**20, ratio),
        )


def side(name: str) -> int:
    """Of the tests' pictures, in pixels; Qwen-Image-Edit's tiny autoencoder has cells of 32."""
    return 128 if name.startswith("qwen") else 32


def images(name: str) -> list[bytes]:
    return [png(picture(seed, side(name))) for seed in SEEDS]


def fields_of(name: str) -> dict[str, Any]:
    """A job's settings of this editor."""
    own = {"image_guidance_scale": 1.2} if name.startswith("instruct") else {}
    return {"width": side(name), "height": side(name), "batch_size": 8, **own}


def plain_arguments(name: str) -> dict[str, Any]:
    """The call with which a user of diffusers gets the tests' pictures."""
    size = {"width": side(name), "height": side(name)}
    if name.startswith("qwen"):
        return size | {"true_cfg_scale": 3.0, "negative_prompt": " "}
    guided = {"guidance_scale": 3.0}
    if name == "flux-kontext":
        return size | guided | {"max_area": side(name) ** 2, "_auto_resize": False}
    # The one of Stable Diffusion takes its size from the picture.
    return guided | {"image_guidance_scale": 1.2} | (size if name.endswith("xl") else {})


def edited_by(pipe: Any, name: str) -> list[torch.Tensor]:
    """diffusers' own calls, one for each picture."""
    pipe.set_progress_bar_config(disable=True)
    return [
        pipe(
            prompt=prompt,
            image=Image.open(BytesIO(image)),
            generator=torch.Generator().manual_seed(stage_seed(seed, "student")),
            num_inference_steps=3,
            output_type="latent",
            **plain_arguments(name),
        ).images
        for prompt, seed, image in zip(PROMPTS, SEEDS, images(name), strict=True)
    ]


def family(name: str) -> str:
    """The name of the family, which has the figures of both its pipelines."""
    return name.removesuffix("-xl").removesuffix("-plus")


@pytest.mark.parametrize("name", EDITORS)
def test_an_editor_is_shown_the_picture_as_diffusers_shows_it(
    name: str, folders: Folders, note: Note
) -> None:
    student = student_of(folders(name), DrawPlan(1, EDIT), **fields_of(name))
    ours, pictures, facts = student.draw(PROMPTS, SEEDS, images(name))
    passes = {"instruct-pix2pix": 3, "flux-kontext": 1, "qwen-image-edit": 2}[family(name)]
    note(family(name), "steps of a drawing", facts.evaluations == 3 * passes)
    assert pictures.shape == (3, side(name), side(name), 3)
    pipe = diffusers.DiffusionPipeline.from_pretrained(folders(name))
    theirs = edited_by(pipe, name)
    off = worst(ours, [student.diffusion._unpacked(latents) for latents in theirs])
    note(family(name), "draw", off)
    other, _, _ = student.draw(PROMPTS, SEEDS, images(name)[::-1])
    assert worst(ours[:1], [other[:1]]) > 10 * off, "the picture decides"
    assert torch.equal(ours[1], other[1]), "each row is shown its own"


@pytest.mark.parametrize("scheduler", ["lcm", "euler-ancestral"])
def test_a_scheduler_of_the_settings_edits_as_diffusers_does(
    scheduler: SchedulerName, folders: Folders
) -> None:
    """Those of the preset's student and teacher; both draw fresh noise at each step."""
    name = "instruct-pix2pix"
    fields = fields_of(name) | {"scheduler": {"name": scheduler}}
    ours, _, _ = student_of(folders(name), DrawPlan(1, EDIT), **fields).draw(
        PROMPTS, SEEDS, images(name)
    )
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(folders(name))
    kind = getattr(diffusers, CLASSES[scheduler])
    pipe.scheduler = kind.from_config(pipe.scheduler.config)
    assert worst(ours, edited_by(pipe, name)) < 1e-4


@pytest.mark.parametrize("name", ["instruct-pix2pix", "flux-kontext", "qwen-image-edit"])
def test_a_lora_on_an_editor_edits_as_diffusers_does_with_it(
    name: str, folders: Folders, tmp_path: Path
) -> None:
    """As the presets' students are."""
    file = save_lora(folders(name), tmp_path)
    fields = fields_of(name) | {"lora": {"path": str(file)}}
    student = student_of(folders(name), DrawPlan(1, EDIT), **fields)
    ours, _, _ = student.draw(PROMPTS, SEEDS, images(name))
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(folders(name))
    without = edited_by(pipe, name)
    pipe.load_lora_weights(str(tmp_path), weight_name=file.name)
    theirs = [student.diffusion._unpacked(latents) for latents in edited_by(pipe, name)]
    assert worst(ours, theirs) < 1e-3
    assert worst(ours, [student.diffusion._unpacked(latents) for latents in without]) > 0.01


@pytest.mark.parametrize("name", ONE_EACH)
def test_an_edited_row_does_not_depend_on_its_neighbours(
    name: str, folders: Folders, note: Note
) -> None:
    student = student_of(folders(name), DrawPlan(2, EDIT), **fields_of(name))
    ours, _, _ = student.draw(PROMPTS, SEEDS, images(name))
    turned, _, _ = student.draw(PROMPTS[::-1], SEEDS[::-1], images(name)[::-1])
    same = torch.equal(turned.view(3, 2, *ours.shape[1:]).flip(0).flatten(0, 1), ours)
    note(family(name), "same bits whatever the neighbours", same)
    alone, _, _ = student.draw(PROMPTS[:1], SEEDS[:1], images(name)[:1], micro_batch_size=1)
    note(family(name), "batches of 1 and 8", worst(alone, [ours[:1], ours[1:2]]))
    assert not torch.equal(ours[0], ours[1]), "two drawings of one row"


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_teacher_edits_the_rows_picture_anew(name: str, folders: Folders, note: Note) -> None:
    anew = Refinement("regenerate", 1.0, 3, "latents", EDIT)
    teacher = teacher_of(folders(name), anew, **fields_of(name))
    made, _ = teacher.refine(PROMPTS, SEEDS, [], images=images(name))
    other, _ = teacher.refine(PROMPTS, SEEDS, [], images=images(name)[::-1])
    assert np.array_equal(made[1], other[1])
    own = torch.from_numpy(np.stack([np.asarray(Image.open(BytesIO(i))) for i in images(name)]))
    latents = teacher.diffusion.draw_anew(
        PROMPTS, [stage_seed(seed, "teacher") for seed in SEEDS], 3, EDIT, own.numpy()
    )
    assert np.array_equal(made, teacher.diffusion.decode(latents))
    beside, _ = teacher.refine(
        PROMPTS, SEEDS, [(0, 0), (0, 1), (0, 2)], latents, images=images(name)
    )
    note(family(name), "regenerating ignores the start", np.array_equal(beside, made))


FLOW_EDITORS = [name for name in EDITORS if not name.startswith("instruct")]
PICKS = [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("name", ["flux-kontext", "qwen-image-edit"])
def test_a_refined_edit_is_diffusers_inpainting_of_the_whole_picture(
    name: str, folders: Folders, note: Note
) -> None:
    """diffusers has image-to-image of these editors only so: with a mask, white here.

    Kontext's is shown one picture and starts from another. Qwen-Image-Edit's starts from the one
    that it is shown, at its own size.
    """
    size, rows = (32, 2) if name == "flux-kontext" else (isqrt(PIXELS), 1)
    prompts, seeds = PROMPTS[:rows], SEEDS[:rows]
    shown = [picture(seed, size) for seed in seeds]
    begin = shown[::-1] if name == "flux-kontext" else shown
    plan = Refinement("refine", 0.6, 5, "latents", EDIT)
    teacher = teacher_of(folders(name), plan, **{**fields_of(name), "width": size, "height": size})
    start = teacher.diffusion.encode(np.stack([np.asarray(image) for image in begin]))
    made, facts = teacher.refine(
        prompts, seeds, PICKS[:rows], start, images=[png(image) for image in shown]
    )
    passes = 1 if name == "flux-kontext" else 2
    note(name, "steps of a refinement", facts.evaluations == 5 * passes)
    noise = [stage_seed(seed, "teacher") for seed in seeds]
    own = np.stack([np.asarray(image) for image in shown])
    conditions = teacher.diffusion.conditions(EDIT, own)
    ours = teacher.diffusion.refine(prompts, noise, start, 0.6, 5, conditions=conditions)
    assert np.array_equal(made, teacher.diffusion.decode(ours))
    kind = {"flux-kontext": "FluxKontextInpaintPipeline"}.get(name, "QwenImageEditInpaintPipeline")
    pipe = getattr(diffusers, kind).from_pretrained(folders(name))
    pipe.set_progress_bar_config(disable=True)
    if name == "qwen-image-edit":  # takes a sample of what the autoencoder says, unlike the editor
        own_mean = diffusers.QwenImageEditPipeline._encode_vae_image
        pipe._encode_vae_image = partial(own_mean, pipe)
    theirs = []
    for row, image in enumerate(begin):
        arguments = plain_arguments(name) | {"width": size, "height": size}
        if name == "flux-kontext":
            arguments["image_reference"] = shown[row]
        latents = pipe(
            image=image,
            mask_image=Image.new("L", image.size, 255),
            prompt=prompts[row],
            generator=torch.Generator().manual_seed(noise[row]),
            output_type="latent",
            **arguments,
            **skipping(teacher.diffusion, 0.6, 5),
        ).images
        theirs.append(teacher.diffusion._unpacked(latents))
    note(name, "refine", worst(ours, theirs))


@pytest.mark.parametrize("name", FLOW_EDITORS)
def test_a_refined_edit_depends_on_its_start_and_on_what_it_is_shown(
    name: str, folders: Folders
) -> None:
    plan = Refinement("refine", 0.6, 5, "latents", EDIT)
    teacher = teacher_of(folders(name), plan, **fields_of(name))
    start = torch.randn(3, 16, *[side(name) // teacher.diffusion.shape.cell] * 2)
    made, _ = teacher.refine(PROMPTS, SEEDS, PICKS, start, images=images(name))
    shown, _ = teacher.refine(PROMPTS, SEEDS, PICKS, start, images=images(name)[::-1])
    other, _ = teacher.refine(PROMPTS, SEEDS, PICKS, start.flip(0), images=images(name))
    assert not np.array_equal(made[0], other[0])
    assert np.array_equal(made[1], shown[1])
    assert np.array_equal(made[1], other[1])
    conditions = torch.from_numpy(np.stack([np.asarray(picture(9, side(name)))] * 3))
    if name == "flux-kontext":
        conditions = teacher.diffusion.encode(conditions.numpy())
    whole = teacher.diffusion.refine(PROMPTS, SEEDS, start, 1.0, 4, conditions=conditions)
    anew = teacher.diffusion.draw(PROMPTS, SEEDS, 4, conditions=conditions)
    assert worst(whole, [each[None] for each in anew]) < 1e-5, "all the way back nothing is left"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", EDITORS)
def test_an_editor_in_half_precision_edits_again_and_again(
    name: str, dtype: str, folders: Folders
) -> None:
    """Some autoencoders are computed in float32 from the first picture on, their network is not."""
    fields = fields_of(name) | {"dtype": dtype, "batch_size": 1}
    student = student_of(folders(name), DrawPlan(1, EDIT), **fields)
    first, pictures, _ = student.draw(PROMPTS[:1], SEEDS[:1], images(name)[:1])
    again, same, _ = student.draw(PROMPTS[:1], SEEDS[:1], images(name)[:1])
    assert first.dtype == getattr(torch, dtype)
    assert torch.isfinite(first).all()
    assert torch.equal(first, again)
    assert np.array_equal(pictures, same)
    if name in FLOW_EDITORS:
        teacher = teacher_of(folders(name), Refinement("refine", 0.5, 2, "pixels", EDIT), **fields)
        made, _ = teacher.refine(
            PROMPTS[:1], SEEDS[:1], PICKS[:1], pictures, images=images(name)[:1]
        )
        assert made.std() > 0


@pytest.mark.parametrize("name", ["qwen-image-edit", "flux-kontext"])
def test_a_prompt_is_called_truncated_where_it_is(name: str, folders: Folders) -> None:
    """Qwen-Image-Edit reads all of it, and its tokenizer counts one for each letter here."""
    student = student_of(folders(name), DrawPlan(1, EDIT), **fields_of(name))
    cut = student.diffusion.truncated(["make it red", "long " * 400])
    assert cut == ((1,) if name == "flux-kontext" else ())


@pytest.mark.parametrize(
    ("student", "teacher", "strategy", "task", "why"),
    [
        ("instruct-pix2pix", "instruct-pix2pix", "refine", "edit", "Set strategy: regenerate"),
        ("flux-kontext", "instruct-pix2pix", "refine", "edit", "Set strategy: regenerate"),
        ("flux-kontext", "flux-kontext", "regenerate", "generate", "Set it to edit"),
        ("instruct-pix2pix", "stable-diffusion", "regenerate", "edit", "models.teacher: an editor"),
        ("qwen-image", "qwen-image-edit", "regenerate", "edit", "models.student: an editor"),
    ],
)
def test_editors_that_cannot_do_what_is_wanted_are_refused(
    student: str, teacher: str, strategy: str, task: str, why: str, folders: Folders
) -> None:
    def check(student: str, teacher: str, strategy: str, task: str) -> None:
        check_roles(files_for(folders(student)), files_for(folders(teacher)), strategy, task)

    with pytest.raises(SpecError, match=why):
        check(student, teacher, strategy, task)
    check("qwen-image-edit", "flux-kontext", "regenerate", "edit")
    check("instruct-pix2pix", "qwen-image-edit", "refine", "edit")


@pytest.mark.parametrize("name", ["stable-diffusion", "flux-kontext"])
def test_the_pictures_guidance_is_refused_where_there_is_none(name: str, folders: Folders) -> None:
    files = files_for(folders(name), image_guidance_scale=1.5)
    with pytest.raises(ModelError, match="is not guided by a picture; leave it out"):
        fitted(files)


@pytest.mark.parametrize(("name", "passes"), [("instruct-pix2pix", 3), ("flux-kontext", 1)])
def test_an_editor_that_follows_instructions_edits_from_noise(
    name: str, passes: int, folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = resolved_edit(folders(name), tmp_path, None)
    assert (job.refinement.strength, job.refinement.steps) == (1.0, 10)
    assert (job.student_nfe, job.teacher_nfe) == (2 * passes, 10 * passes)
    assert "Name the column that describes the result: target_column" in caplog.text
    expected = replace(job.refinement, through="latents", start=None, size=None)
    assert as_planned(job.spec) == (expected,)
    with pytest.raises(SpecError, match="edit: models that follow instructions do not use it"):
        resolved_edit(folders(name), tmp_path, 0.5)
