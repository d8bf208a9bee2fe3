"""The embedded weights through the standard loaders: they draw, judge, and do not crash."""

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionImg2ImgPipeline
from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

from actors.models.presets import PRESETS
from actors.models.shapes import WEIGHTS, verifier, world
from actors.models.shapes.training import latents
from actors.models.shapes.training.judged import near_miss

NUM_CAPTIONS = 32
ODD = [
    "",
    "an astronaut riding a horse, 8k, 🎉",
    "日本の絵 " * 60,
    "A SMALL RED CIRCLE!!",
    "\x00\n",
]


@pytest.fixture(scope="module")
def captions() -> list[str]:
    rng = np.random.default_rng(2026)
    return [str(caption) for caption in world.sample_captions(rng, NUM_CAPTIONS, "heldout")]


@pytest.fixture(scope="module")
def teacher() -> DiffusionPipeline:
    return opened("teacher")


@pytest.fixture(scope="module")
def student() -> DiffusionPipeline:
    return opened("student")


def opened(name: str) -> DiffusionPipeline:
    pipe = DiffusionPipeline.from_pretrained(WEIGHTS / name)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe: DiffusionPipeline, prompts: list[str], steps: int, guidance: float) -> np.ndarray:
    images = pipe(
        prompts,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images
    return (images * 255).round().astype(np.uint8)


def num_right(pictures: np.ndarray, captions: list[str]) -> int:
    return sum(
        verifier.verify(picture, world.parse(caption)).right
        for picture, caption in zip(pictures, captions, strict=True)
    )


def scores(captions: list[str], pictures: np.ndarray) -> np.ndarray:
    folder = WEIGHTS / "oracle"
    model = BlipForImageTextRetrieval.from_pretrained(folder).eval()
    text = AutoTokenizer.from_pretrained(folder)(
        captions, padding=True, truncation=True, return_tensors="pt"
    )
    pixels = AutoImageProcessor.from_pretrained(folder)(list(pictures), return_tensors="pt")
    with torch.inference_mode():
        logits = model(
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            pixel_values=pixels["pixel_values"],
        ).itm_score
    return (logits[:, 1] - logits[:, 0]).numpy()


def test_everything_together_is_at_most_40_megabytes() -> None:
    total = sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file())
    assert total <= 40e6


def test_most_held_out_captions_are_drawn_right(
    captions: list[str], teacher: DiffusionPipeline, student: DiffusionPipeline
) -> None:
    """docs/embedded.md has the figures; these bounds are what chance leaves of them in so few."""
    preset = PRESETS["shapes"]
    guided = drawn(teacher, captions, 12, preset.teacher.guidance_scale)
    assert num_right(guided, captions) >= 0.7 * NUM_CAPTIONS
    quick = drawn(student, captions, preset.student.steps, 1.0)
    assert num_right(quick, captions) >= 0.5 * NUM_CAPTIONS


def test_student_and_teacher_share_autoencoder_and_text_encoder_byte_for_byte() -> None:
    for part in ("vae/diffusion_pytorch_model", "text_encoder/model"):
        mine, theirs = (WEIGHTS / name / f"{part}.safetensors" for name in ("student", "teacher"))
        assert mine.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("strength", [0.05, 0.6, 1.0])
def test_teacher_starts_from_latents_at_any_strength(
    teacher: DiffusionPipeline, strength: float
) -> None:
    pipe = StableDiffusionImg2ImgPipeline(**teacher.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    latents = torch.zeros(1, 4, 16, 16)
    result = pipe(
        "a small red circle on a white background",
        image=latents,
        strength=strength,
        num_inference_steps=20,
        output_type="latent",
    ).images
    assert result.shape == (1, 4, 16, 16)
    assert torch.isfinite(result).all()


def test_oracle_prefers_the_caption_of_a_picture_to_another() -> None:
    """On rendered pictures; the figure for the student's own is in docs/embedded.md."""
    rng = np.random.default_rng(1)
    sampled = world.sample_captions(rng, 64, "heldout")
    captions = [str(caption) for caption in sampled]
    pictures = np.stack([world.draw(caption, rng) for caption in sampled])
    others = [*captions[1:], captions[0]]
    better = scores(captions, pictures) > scores(others, pictures)
    assert better.mean() >= 0.85


def test_verifier_is_not_fooled_by_near_misses_that_the_autoencoder_drew(
    teacher: DiffusionPipeline,
) -> None:
    """Captions that differ from the picture in one thing. docs/embedded.md has more of them."""
    rng = np.random.default_rng(11)
    captions = world.sample_captions(rng, 300, "validation")
    scenes = [world.place(caption, rng) for caption in captions]
    pictures = np.stack([world.render(scene) for scene in scenes])
    decoded = latents.decode(teacher.vae, latents.encode(teacher.vae, pictures))
    right = wrong = fooled = 0
    for caption, scene, picture in zip(captions, scenes, decoded, strict=True):
        sight = verifier.look(picture)
        right += verifier.judge(sight, caption).right
        for _ in range(3):
            other = near_miss(caption, rng)
            if not holds(scene, other):
                wrong += 1
                fooled += verifier.judge(sight, other).right
    assert right >= 0.99 * len(captions)
    assert wrong > 800
    assert fooled <= 0.005 * wrong


def holds(scene: world.Scene, caption: world.Caption) -> bool:
    """Whether a caption is true of a scene: without a look at pixels."""
    objects = tuple(
        verifier.Seen(one.thing.color, one.thing.shape, one.thing.size, one.x, one.y, 1.0)
        for one in scene.placed
    )
    return verifier.judge(verifier.Sight(scene.background, objects), caption).right


def test_words_outside_the_world_do_not_crash_anything(
    teacher: DiffusionPipeline, student: DiffusionPipeline
) -> None:
    pictures = drawn(student, ODD, 2, 1.0)
    assert drawn(teacher, ODD, 2, 3.0).shape == pictures.shape == (len(ODD), 64, 64, 3)
    assert np.isfinite(scores(ODD, pictures)).all()
