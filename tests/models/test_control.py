"""Students and teachers that a ControlNet leads: against diffusers' own calls, one at a time."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from actors.errors import ModelError, SpecError
from actors.models.file_reader import read_config
from actors.models.pairing import check_roles, fitted
from actors.refinement import Conditioning, DrawPlan, Refinement
from actors.seeds import stage_seed
from tests.models.conftest import Folders, Note, files_for, skipping
from tests.models.rows import IMAGES, PROMPTS, SEEDS, student_of, teacher_of, worst
from tests.models.tiny import controlnet

CONTROL = Conditioning("control")
CONTROLLED = ("stable-diffusion", "stable-diffusion-xl", "flux", "qwen-image")


@pytest.fixture(scope="module", params=CONTROLLED)
def controlled(
    request: pytest.FixtureRequest, folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A pipeline's folder, and the settings of a ControlNet for it."""
    folder = folders(request.param)
    network = controlnet(folder, tmp_path_factory.mktemp("controlnet") / request.param)
    return folder, {"controlnet": {"path": str(network), "scale": 0.7}}


def led(folder: Path) -> str:
    """Its name among the families' figures."""
    return f"{folder.name}, led by a ControlNet"


def plain_pipe(kind: Any, folder: Path, fields: dict[str, Any]) -> Any:
    network = Path(fields["controlnet"]["path"])
    loader = getattr(diffusers, read_config(network / "config.json")["_class_name"])
    pipe: Any = kind.from_pipe(
        diffusers.DiffusionPipeline.from_pretrained(folder),
        controlnet=loader.from_pretrained(network),
    )
    pipe.set_progress_bar_config(disable=True)
    assert "ControlNet" in type(pipe).__name__
    return pipe


def plain_arguments(name: str, image: bytes) -> dict[str, Any]:
    """The call with which a user of diffusers draws with a ControlNet."""
    shown = "image" if name.startswith("stable") else "control_image"
    guided: dict[str, Any] = {"guidance_scale": 3.0}
    if name == "qwen-image":
        guided = {"true_cfg_scale": 3.0, "negative_prompt": " "}
    return guided | {
        shown: Image.open(BytesIO(image)),
        "controlnet_conditioning_scale": 0.7,
        "width": 32,
        "height": 32,
        "output_type": "latent",
    }


def passes(name: str) -> int:
    return 1 if name == "flux" else 2


def test_control_is_what_diffusers_draws_with_a_controlnet(
    controlled: tuple[Path, dict[str, Any]], note: Note
) -> None:
    folder, fields = controlled
    student = student_of(folder, DrawPlan(1, CONTROL), **fields)
    ours, _, facts = student.draw(PROMPTS, SEEDS, IMAGES)
    note(led(folder), "steps of a drawing", facts.evaluations == 3 * passes(folder.name))
    pipe = plain_pipe(diffusers.AutoPipelineForText2Image, folder, fields)
    theirs = [
        pipe(
            prompt,
            generator=torch.Generator().manual_seed(stage_seed(seed, "student")),
            num_inference_steps=3,
            **plain_arguments(folder.name, image),
        ).images
        for prompt, seed, image in zip(PROMPTS, SEEDS, IMAGES, strict=True)
    ]
    off = worst(ours, [student.diffusion._unpacked(latents) for latents in theirs])
    note(led(folder), "draw", off)
    other, _, _ = student.draw(PROMPTS, SEEDS, IMAGES[::-1])
    assert worst(ours[:1], [other[:1]]) > 10 * off, "the picture decides"


def test_a_controlled_refinement_is_diffusers_image_to_image_with_a_controlnet(
    controlled: tuple[Path, dict[str, Any]], note: Note
) -> None:
    """From a picture's latents. FLUX's pipeline has to be given the picture, and made to take the
    mean of what the autoencoder says of it, as Bottega does."""
    folder, fields = controlled
    name = folder.name
    if name == "qwen-image":
        files = files_for(folder)
        with pytest.raises(SpecError, match=r"with a ControlNet for the teacher.*regenerate"):
            check_roles(files, files, "refine", "control")
        check_roles(files, files, "regenerate", "control")
        return
    teacher = teacher_of(folder, Refinement("refine", 0.6, 4, "latents", CONTROL), **fields)
    images = [Image.open(BytesIO(image)) for image in IMAGES]
    start = teacher.diffusion.encode(np.stack([np.asarray(image) for image in images[::-1]]))
    made, facts = teacher.refine(PROMPTS, SEEDS, [(0, 0), (0, 1), (0, 2)], start, images=IMAGES)
    note(led(folder), "steps of a refinement", facts.evaluations == 4 * passes(name))
    ours = teacher.diffusion.refine(
        PROMPTS,
        [stage_seed(seed, "teacher") for seed in SEEDS],
        start,
        0.6,
        4,
        conditions=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
    )
    assert np.array_equal(made, teacher.diffusion.decode(ours))
    pipe = plain_pipe(diffusers.AutoPipelineForImage2Image, folder, fields)
    config = pipe.vae.config

    def mean(image: torch.Tensor, generator: object) -> torch.Tensor:
        said = pipe.vae.encode(image).latent_dist.mode()
        return (said - config.shift_factor) * config.scaling_factor

    if name == "flux":
        pipe._encode_vae_image = mean
    theirs = []
    for row, (prompt, seed, image) in enumerate(zip(PROMPTS, SEEDS, IMAGES, strict=True)):
        begin = images[::-1][row] if name == "flux" else start[row : row + 1]
        arguments = plain_arguments(name, image)
        if name != "flux":
            arguments["control_image"] = arguments.pop("image")
        latents = pipe(
            prompt,
            generator=torch.Generator().manual_seed(stage_seed(seed, "teacher")),
            **{**arguments, **skipping(teacher.diffusion, 0.6, 4), "image": begin},
        ).images
        theirs.append(teacher.diffusion._unpacked(latents))
    note(led(folder), "refine", worst(ours, theirs))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_control_in_half_precision_goes_on_and_on(
    dtype: str, controlled: tuple[Path, dict[str, Any]]
) -> None:
    """Some autoencoders are computed in float32 from the first picture on, their network is not."""
    folder, fields = controlled
    student = student_of(folder, DrawPlan(1, CONTROL), dtype=dtype, **fields)
    first, pictures, _ = student.draw(PROMPTS, SEEDS, IMAGES)
    again, same, _ = student.draw(PROMPTS, SEEDS, IMAGES)
    assert torch.isfinite(first).all()
    assert torch.equal(first, again)
    assert np.array_equal(pictures, same)
    if folder.name != "qwen-image":
        plan = Refinement("refine", 0.6, 4, "pixels", CONTROL)
        teacher = teacher_of(folder, plan, dtype=dtype, **fields)
        picks = [(0, 0), (0, 1), (0, 2)]
        made, _ = teacher.refine(PROMPTS, SEEDS, picks, pictures, images=IMAGES)
        assert np.array_equal(
            teacher.refine(PROMPTS, SEEDS, picks, pictures, images=IMAGES)[0], made
        )


def test_a_union_of_controlnets_is_told_what_it_is_shown(folders: Folders, tmp_path: Path) -> None:
    """In drawing and in refining, for every row of a batch."""
    folder = folders("flux")
    network = str(controlnet(folder, tmp_path / "union", num_mode=3))

    def fields(mode: int | None) -> dict[str, Any]:
        return {"controlnet": {"path": network, "mode": mode}}

    drawn = [
        student_of(folder, DrawPlan(1, CONTROL), **fields(mode)).draw(PROMPTS, SEEDS, IMAGES)[0]
        for mode in (0, 2)
    ]
    assert not torch.equal(drawn[0], drawn[1])
    refine = Refinement("refine", 0.6, 4, "latents", CONTROL)
    picks = [(0, 0), (0, 1), (0, 2)]
    refined = [
        teacher_of(folder, refine, **fields(mode)).refine(
            PROMPTS, SEEDS, picks, drawn[0], images=IMAGES
        )[0]
        for mode in (0, 2)
    ]
    assert not np.array_equal(refined[0], refined[1])
    for mode, why in ((None, "knows kinds 0 to 2"), (3, "knows kinds 0 to 2")):
        files = files_for(folder, **fields(mode))
        with pytest.raises(ModelError, match=why):
            fitted(files)


def test_a_controlled_row_does_not_depend_on_its_neighbours(
    controlled: tuple[Path, dict[str, Any]], note: Note
) -> None:
    folder, fields = controlled
    student = student_of(folder, DrawPlan(1, CONTROL), batch_size=8, **fields)
    together, _, _ = student.draw(PROMPTS, SEEDS, IMAGES)
    turned, _, _ = student.draw(PROMPTS[::-1], SEEDS[::-1], IMAGES[::-1])
    alone, _, _ = student.draw(PROMPTS[1:2], SEEDS[1:2], IMAGES[1:2])
    same = torch.equal(turned.flip(0), together) and torch.equal(alone[0], together[1])
    note(led(folder), "same bits whatever the neighbours", same)
    one, _, _ = student.draw(PROMPTS[:1], SEEDS[:1], IMAGES[:1], micro_batch_size=1)
    note(led(folder), "batches of 1 and 8", worst(one, [together[:1]]))


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ("unet", "is a UNet2DConditionModel, and .* needs a ControlNetModel. Choose one"),
        ("of another model", "reads text 64 wide, and .* has it 32 wide"),
        ("with a mode", "controlnet.mode: .* knows one kind of picture; leave it out"),
    ],
)
def test_another_network_than_a_controlnet_of_the_model_is_refused(
    network: str, why: str, folders: Folders, tmp_path: Path
) -> None:
    folder = folders("stable-diffusion")
    path, mode = folder / network, None
    if network == "of another model":
        path = controlnet(folders("stable-diffusion-xl"), tmp_path / "other")
    if network == "with a mode":
        path, mode = controlnet(folder, tmp_path / "one"), 0
    files = files_for(folder, controlnet={"path": str(path), "mode": mode})
    with pytest.raises(ModelError, match=why):
        fitted(files)


def test_a_controlnet_for_inpainting_is_refused(folders: Folders, tmp_path: Path) -> None:
    folder = folders("qwen-image")
    path = controlnet(folder, tmp_path / "inpainting", extra_condition_channels=4)
    files = files_for(folder, controlnet={"path": str(path)})
    with pytest.raises(ModelError, match="is one for inpainting"):
        fitted(files)
