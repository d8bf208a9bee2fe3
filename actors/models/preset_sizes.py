"""How large the models of a preset are: parameters, downloads, GPU memory. Arithmetic only."""

from __future__ import annotations

from actors.models.presets import REPOSITORIES, Preset
from actors.settings import DiffusionSettings, DType

GIB = 2**30

WEIGHT_BYTES: dict[DType, int] = {"float32": 4, "float16": 2, "bfloat16": 2}

PIXEL_BYTES = {4: 4096, 2: 2700}
"""Bytes of a parameter -> bytes that the decoding of a picture takes, a pixel: more than anything
else does. Measured with SDXL in float32 and Stable Diffusion 1.5 in float16 on an H200
(benchmarks/results/gpu); of the autoencoders of Sana and Qwen-Image an estimate."""


def parts_of(settings: DiffusionSettings) -> dict[tuple[str, str], float]:
    """(repository, part) -> parameters, in billions, of all that a model loads but LoRAs."""
    found = {}
    for name, other in (
        ("denoiser", settings.denoiser),
        ("text", None),
        ("vae", settings.vae),
        ("controlnet", settings.controlnet),
    ):
        place = other.path if other else settings.path
        parameters: float = getattr(REPOSITORIES[place], name)
        if parameters:
            found[place, name] = parameters
    return found


def parameters(settings: DiffusionSettings) -> float:
    """Billions of parameters of a model with its text encoders and its autoencoder."""
    return sum(parts_of(settings).values())


def download_gb(preset: Preset) -> float:
    """Gigabytes that the student, the oracle and the teacher are fetched in; each file once."""
    models = (preset.student, preset.teacher)
    parts = {place: size for model in models for place, size in parts_of(model).items()}
    weights = sum(size * REPOSITORIES[place].bytes for (place, _), size in parts.items())
    loras = {lora.path for model in models for lora in model.all_loras}
    return weights + sum(REPOSITORIES[path].gb for path in {*loras, preset.oracle.path})


def memory_gib(settings: DiffusionSettings) -> float:
    """GPU memory of an actor in GiB: its weights, and the decoding of one batch at once."""
    width = WEIGHT_BYTES[settings.dtype]
    weights = parameters(settings) * 1e9 * width
    pixels = settings.batch_size * (settings.width or 0) * (settings.height or 0)
    # In float16 SDXL's autoencoder is computed in float32.
    is_upcast = settings.dtype == "float16" and ("xl" in settings.path.lower())
    return (weights + pixels * PIXEL_BYTES[4 if is_upcast else width]) / GIB


def is_gated(preset: Preset) -> bool:
    """Whether the hub asks for consent before it gives some of the preset's files."""
    return any(REPOSITORIES[source.at].gated for source in preset.sources)
