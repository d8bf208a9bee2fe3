"""Every family: the same pictures as diffusers' own calls, whatever the batch.

The figures are those of families.json; `pytest tests/models/test_families.py --write-families`
writes them anew, and `python -m tests.models.table` the table in docs/models.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForImage2Image, DiffusionPipeline

from actors.errors import ModelError
from actors.models.diffusion import Diffusion
from actors.settings import SchedulerSettings, TeacherSettings
from actors.teacher import Refinement, Teacher
from tests.models.conftest import Folders, Loaded, Note, settings_for, skipping
from tests.models.rows import with_plan
from tests.models.tiny import BUILDERS, EDITORS

PROMPTS = [
    "a red cat",
    "a much longer prompt: a small blue dog on a gray mat",
    "two birds",
    "",
    "a green ring left of a square",
    "x",
    "a tree, a house, and a hill behind both",
    "日本の絵",
]
SEEDS = [11, 22, 33, 44, 55, 66, 77, 88]
FAMILIES = [name for name in BUILDERS if name not in EDITORS]
"""All that draw without a picture; the others are in test_editors.py."""
DRAWING = [name for name in FAMILIES if name != "sdxl-refiner"]
ROUNDS_DOWN = ["stable-diffusion", "stable-diffusion-xl", "sdxl-refiner"]
REFINING = [name for name in FAMILIES if not name.startswith("sana")]


def plain_arguments(name: str) -> dict[str, Any]:
    """The call with which a user of diffusers gets the tests' pictures: 32 pixels, guidance 3."""
    if name == "qwen-image":
        guidance = {"true_cfg_scale": 3.0, "negative_prompt": " "}
    else:
        guidance = {"guidance_scale": 3.0}
    more = {"use_resolution_binning": False} if name.startswith("sana") else {}
    if name == "sana-sprint":
        more["intermediate_timesteps"] = None
    return {**guidance, **more, "output_type": "latent"}


def plain_draw(name: str, folder: Path, row: int) -> torch.Tensor:
    """diffusers' own call for one prompt."""
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        PROMPTS[row],
        generator=torch.Generator().manual_seed(SEEDS[row]),
        num_inference_steps=3,
        width=32,
        height=32,
        **plain_arguments(name),
    ).images


STEPS = 5


def plain_refine(
    name: str, folder: Path, row: int, start: torch.Tensor, skipped: dict[str, Any]
) -> torch.Tensor:
    """diffusers' own image-to-image for one prompt. start: latents; skipped: as of `skipping`."""
    pipe: Any = AutoPipelineForImage2Image.from_pipe(DiffusionPipeline.from_pretrained(folder))
    pipe.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(SEEDS[row])
    arguments = plain_arguments(name) | skipped
    if name not in ROUNDS_DOWN:
        arguments |= {"width": 32, "height": 32}
    if name == "z-image":
        # It takes no latents for a picture; but noised ones, which shows the mixing as well.
        whole = skipped["num_inference_steps"]
        pipe.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / whole, whole))
        sigma = pipe.scheduler.sigmas[whole - STEPS]
        noised = (1 - sigma) * start + sigma * torch.randn(start.shape, generator=noise)
        arguments |= {"image": torch.zeros(1, 3, 32, 32), "latents": noised}
    else:
        arguments["image"] = start
    return pipe(PROMPTS[row], generator=noise, **arguments).images


def starts() -> dict[str, torch.Tensor]:
    """Latents to refine, of each number of channels."""
    made = torch.Generator().manual_seed(3)
    return {str(c): torch.randn(8, c, 16, 16, generator=made) for c in (4, 16)}


def start_for(model: Diffusion) -> torch.Tensor:
    config = model.pipe.vae.config
    return starts()[str(config.get("latent_channels") or config.get("z_dim"))]


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).abs().max())


@pytest.mark.parametrize("name", DRAWING)
def test_drawing_is_what_diffusers_draws_one_prompt_at_a_time(
    name: str, folders: Folders, loaded: Loaded, note: Note
) -> None:
    model = loaded(name)
    ours = model.draw(PROMPTS, SEEDS, 3)
    steps = model.evaluations
    worst = 0.0
    for row in (0, 1, 4):
        plain = model._unpacked(plain_draw(name, folders(name), row))
        worst = max(worst, difference(ours[row : row + 1], plain))
    note(name, "draw", worst)
    other = model.draw([PROMPTS[1]], SEEDS[:1], 3)
    assert difference(other, ours[:1]) > 10 * worst, "the prompt decides as well"
    passes = model.family.evaluations_per_step(3.0, dict(model.denoiser.config))
    note(name, "steps of a drawing", steps == 3 * passes)


@pytest.mark.parametrize("name", DRAWING)
def test_one_step_draws_numbers(name: str, loaded: Loaded) -> None:
    """NaN would become a black picture, with a score like any other."""
    assert torch.isfinite(loaded(name, batch_size=2).draw(PROMPTS[:2], SEEDS[:2], 1)).all()


@pytest.mark.parametrize("name", REFINING)
def test_refining_is_diffusers_image_to_image_with_the_same_noise(
    name: str, folders: Folders, loaded: Loaded, note: Note
) -> None:
    model = loaded(name)
    start = start_for(model)
    ours = model.refine(PROMPTS, SEEDS, start, strength=0.6, steps=STEPS)
    skipped = skipping(model, 0.6, STEPS)
    steps = model.evaluations
    worst = 0.0
    for row in (0, 1, 4):
        plain = plain_refine(name, folders(name), row, start[row : row + 1], skipped)
        worst = max(worst, difference(ours[row : row + 1], model._unpacked(plain)))
    note(name, "refine", worst)
    passes = model.family.evaluations_per_step(3.0, dict(model.denoiser.config))
    note(name, "steps of a refinement", steps == STEPS * passes)


@pytest.mark.parametrize("name", REFINING)
def test_latents_of_any_size_are_not_taken_for_a_picture(name: str, folders: Folders) -> None:
    """18 x 16 cells: resized as a picture would be, they would become 16 x 16.

    Real models get there in sizes such as 1008; these have only two pixels in a cell.
    """
    model = Diffusion(settings_for(folders(name), batch_size=1).model_copy(update={"width": 36}))
    start = torch.randn(1, start_for(model).shape[1], 16, 18)
    refined = model.refine(PROMPTS[:1], SEEDS[:1], start, strength=0.05, steps=3)
    assert refined.shape == start.shape
    near, far = difference(refined, start), difference(refined, -start)
    assert near < far / 2, "the start is still there"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_does_not_depend_on_its_neighbours(name: str, loaded: Loaded, note: Note) -> None:
    """To the bit in batches of one size; to the last bits in batches of 1 and 8."""
    model = loaded(name)
    order = [5, 2, 7, 0, 1, 6, 3, 4]

    def made(rows: list[int], micro_batch_size: int | None = None) -> torch.Tensor:
        texts, seeds = [PROMPTS[row] for row in rows], [SEEDS[row] for row in rows]
        if name in DRAWING:
            return model.draw(texts, seeds, 3, micro_batch_size)
        return model.refine(texts, seeds, start_for(model)[rows], 0.5, 4, micro_batch_size)

    together = made(list(range(8)))
    note(name, "same bits whatever the neighbours", torch.equal(made(order), together[order]))
    assert torch.equal(made([2]), together[2:3]), "padding changes nothing"
    note(name, "batches of 1 and 8", difference(made([1], 1), together[1:2]))


@pytest.mark.parametrize("name", DRAWING)
def test_regeneration_ignores_the_students_latents(name: str, folders: Folders, note: Note) -> None:
    settings = TeacherSettings(**settings_for(folders(name), batch_size=2).model_dump())
    teacher = with_plan(Teacher(settings), Refinement("regenerate", 1.0, 3, "latents"))
    latents = start_for(teacher.diffusion)
    alone, facts = teacher.refine(PROMPTS[:2], SEEDS[:2], [])
    beside, _ = teacher.refine(PROMPTS[:2], SEEDS[:2], [(0, 0), (0, 1)], latents)
    other, _ = teacher.refine(PROMPTS[:2], [1, 2], [])
    assert alone.shape == (2, 32, 32, 3)
    assert facts.evaluations > 0
    assert not np.array_equal(alone, other), "the seed decides"
    note(name, "regenerating ignores the start", np.array_equal(alone, beside))


@pytest.mark.parametrize("name", FAMILIES)
def test_decoding_is_what_diffusers_decodes(name: str, folders: Folders, loaded: Loaded) -> None:
    """At the same latents, by the pipeline's own last lines: in levels of 0 to 255."""
    model = loaded(name)
    latents = start_for(model)
    ours = model.decode(latents)
    pipe: Any = DiffusionPipeline.from_pretrained(folders(name))
    config = pipe.vae.config
    one = latents[1:2]
    if name == "qwen-image":
        mean = torch.tensor(config.latents_mean).view(1, -1, 1, 1)
        spread = torch.tensor(config.latents_std).view(1, -1, 1, 1)
        decoded = pipe.vae.decode((one * spread + mean).unsqueeze(2)).sample[:, :, 0]
    else:
        shift = config.get("shift_factor") or 0.0
        decoded = pipe.vae.decode(one / config.scaling_factor + shift).sample
    plain = pipe.image_processor.postprocess(decoded.detach(), output_type="np")[0] * 255
    assert np.abs(plain - ours[1]).max() <= 0.51, "rounding to a level"


@pytest.mark.parametrize("name", FAMILIES)
def test_encoding_is_the_way_back_of_decoding(name: str, loaded: Loaded) -> None:
    """With the same scale and shift, and pictures brought to the model's size."""
    model = loaded(name)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    latents = model.encode(pictures)
    assert latents.shape == start_for(model)[:3].shape
    assert torch.equal(model.encode(pictures[::-1].copy()), latents.flip(0))
    vae = model.pipe.vae
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        raw = vae.encode(model._video(pixels))
    mean = raw.latent_dist.mean if hasattr(raw, "latent_dist") else raw.latent
    mean = mean.squeeze(2) if mean.dim() == 5 else mean
    again = latents / model._scale() + model._shift()
    assert difference(again, mean) < 1e-4
    smaller = model.encode(rng.integers(0, 256, (1, 16, 20, 3), dtype=np.uint8))
    assert smaller.shape == latents[:1].shape


@pytest.mark.parametrize("name", ["sana", "sana-sprint"])
def test_sana_refuses_to_refine_clearly(name: str, loaded: Loaded) -> None:
    model = loaded(name)
    with pytest.raises(ModelError, match=r"no image-to-image pipeline.*strategy: regenerate"):
        model.refine(PROMPTS[:1], SEEDS[:1], start_for(model)[:1], 0.5, 2)


def test_the_refiner_refuses_to_draw_clearly(loaded: Loaded) -> None:
    with pytest.raises(ModelError, match="only refines"):
        loaded("sdxl-refiner").draw(PROMPTS[:1], SEEDS[:1], 2)


STOCHASTIC = [
    ("stable-diffusion", {"name": "lcm"}),
    ("stable-diffusion", {"name": "tcd", "eta": 0.3}),
    ("stable-diffusion", {"name": "ddim", "eta": 1.0}),
    ("stable-diffusion", {"name": "ddpm"}),
    ("stable-diffusion", {"options": {}, "name": "lcm", "timesteps": [999, 749, 249]}),
    ("stable-diffusion-xl", {"name": "euler-ancestral"}),
    ("stable-diffusion-xl", {"name": "tcd", "eta": 0.3, "timesteps": [800, 400, 100]}),
    (
        "stable-diffusion-xl",
        {"name": "dpm-multistep", "options": {"algorithm_type": "sde-dpmsolver++"}},
    ),
    ("stable-diffusion-3", {"name": "flow-lcm"}),
    ("stable-diffusion-3", {"options": {"stochastic_sampling": True}}),
    ("flux", {"name": "flow-lcm", "options": {"use_dynamic_shifting": True}}),
    ("flux", {"options": {"stochastic_sampling": True}}),
    ("z-image", {"options": {"stochastic_sampling": True}}),
    ("qwen-image", {"options": {"stochastic_sampling": True}}),
    ("sana-sprint", {}),
]


@pytest.mark.parametrize(("name", "scheduler"), STOCHASTIC)
def test_fresh_noise_of_a_step_is_the_rows_own(
    name: str, scheduler: dict[str, Any], loaded: Loaded
) -> None:
    """Also where diffusers' pipeline does not hand its generators to the scheduler."""
    model = loaded(name, scheduler=scheduler or None, batch_size=4)
    torch.manual_seed(1)
    first = model.draw(PROMPTS[:4], SEEDS[:4], 3)
    torch.manual_seed(2)
    again = model.draw(PROMPTS[3::-1], SEEDS[3::-1], 3).flip(0)
    assert torch.equal(first, again), "torch's global state and the place in the batch"
    other = model.draw([PROMPTS[0]] * 2, [1, 2], 3)
    assert difference(other[:1], other[1:]) > 0.01


@pytest.mark.parametrize(
    ("name", "scheduler", "plain", "arguments"),
    [
        ("stable-diffusion", {"name": "lcm"}, "LCMScheduler", {"num_inference_steps": 3}),
        (
            "stable-diffusion-xl",
            {"name": "tcd", "eta": 0.3, "timesteps": [800, 400, 100]},
            "TCDScheduler",
            {"timesteps": [800, 400, 100], "eta": 0.3},
        ),
    ],
)
def test_a_scheduler_of_the_settings_is_diffusers_own(
    name: str,
    scheduler: dict[str, Any],
    plain: str,
    arguments: dict[str, Any],
    folders: Folders,
    loaded: Loaded,
) -> None:
    pipe: Any = DiffusionPipeline.from_pretrained(folders(name))
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = getattr(diffusers, plain).from_config(pipe.scheduler.config)
    expected = pipe(
        PROMPTS[1],
        generator=torch.Generator().manual_seed(SEEDS[1]),
        width=32,
        height=32,
        **arguments,
        **plain_arguments(name),
    ).images
    model = loaded(name, scheduler=scheduler, batch_size=4)
    assert difference(model.draw(PROMPTS[:4], SEEDS[:4], 3)[1:2], expected) < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", DRAWING)
def test_half_precision_draws(name: str, dtype: str, loaded: Loaded) -> None:
    model = loaded(name, dtype=dtype, batch_size=2)
    latents = model.draw(PROMPTS[:2], SEEDS[:2], 3)
    assert torch.isfinite(latents).all()
    assert torch.equal(model.draw(PROMPTS[1::-1], SEEDS[1::-1], 3).flip(0), latents)
    pictures = model.decode(latents)
    assert model.encode(pictures).dtype == getattr(torch, dtype)
    # As in diffusers' own pipelines, whatever the configurations say.
    upcast = dtype == "float16" and "StableDiffusionXL" in type(model.pipe).__name__
    assert (model.pipe.vae.dtype == torch.float32) == upcast
    if name in REFINING:
        refined = model.refine(PROMPTS[:2], SEEDS[:2], latents, 0.5, 2)
        assert torch.isfinite(refined).all()


def test_options_of_memory_change_no_picture_beyond_rounding(loaded: Loaded) -> None:
    usual = loaded("stable-diffusion", batch_size=2)
    latents = usual.draw(PROMPTS[:2], SEEDS[:2], 3)
    other = loaded(
        "stable-diffusion", batch_size=2, channels_last=True, vae_slicing=True, vae_tiling=True
    )
    assert other.pipe.vae.use_slicing
    assert other.pipe.vae.use_tiling
    weight = other.pipe.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert difference(other.draw(PROMPTS[:2], SEEDS[:2], 3), latents) < 1e-4
    pictures = usual.decode(latents).astype(int)
    sliced = loaded("stable-diffusion", batch_size=2, vae_slicing=True).decode(latents)
    assert np.abs(sliced.astype(int) - pictures).max() <= 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scheduler": {"options": {"shift": 3.0}}}, "DDIMScheduler.*has no 'shift'"),
        ({"scheduler": {"name": "unipc", "timesteps": [9, 8, 7]}}, "UniPC.*chooses its own"),
        ({"variant": "fp16"}, "no weights of the variant 'fp16'"),
        ({"denoiser": {"path": "/nowhere/at-all"}}, "denoiser '/nowhere/at-all' is not here"),
        ({"lora": {"path": "lora.bin"}}, "lora 'lora.bin' is no .safetensors file"),
        ({"lora": {"path": "a/b/c.safetensors"}}, "is not here"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(
    folders: Folders, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        Diffusion(settings_for(folders("stable-diffusion"), **fields))


def test_a_scheduler_with_one_noise_for_a_batch_is_refused(folders: Folders) -> None:
    from diffusers import DPMSolverSDEScheduler

    from actors.models.schedulers import as_wanted

    with pytest.raises(ModelError, match="one noise for a whole batch"):
        as_wanted(DPMSolverSDEScheduler.__new__(DPMSolverSDEScheduler), None)
    named = SchedulerSettings(name="dpm-multistep")
    pipe: Any = DiffusionPipeline.from_pretrained(folders("stable-diffusion"))
    assert type(as_wanted(pipe.scheduler, named)).__name__ == "DPMSolverMultistepScheduler"
