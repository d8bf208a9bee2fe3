"""The tables of docs/models.md: `python -m tests.models.table` writes them.

From families.json, which the tests of the families measure, from diffusers' schedulers, and from
the presets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers

from actors.models.families import FAMILIES, Family, Shape, family_of
from actors.models.noise_levels import nearest_start, training_levels
from actors.models.preset_sizes import download_gb, is_gated, memory_gib, parameters
from actors.models.presets import CATALOGUE, Preset
from actors.models.schedulers import CLASSES
from actors.rollback import strength_for
from actors.settings import DiffusionSettings

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
FIGURES = Path(__file__).with_name("families.json")

COLUMNS = {
    "draw": "draw",
    "refine": "refine",
    "1 and 8": "batches of 1 and 8",
    "neighbours": "same bits whatever the neighbours",
    "steps": "steps of a refinement",
    "anew": "regenerating ignores the start",
}
"""Heading -> figure."""

LED = {
    "stable-diffusion": [
        "StableDiffusionControlNetPipeline",
        "StableDiffusionControlNetImg2ImgPipeline",
    ],
    "stable-diffusion-xl": [
        "StableDiffusionXLControlNetPipeline",
        "StableDiffusionXLControlNetImg2ImgPipeline",
    ],
    "flux": ["FluxControlNetPipeline", "FluxControlNetImg2ImgPipeline"],
    "qwen-image": ["QwenImageControlNetPipeline"],
}
"""Family -> diffusers' pipelines with a ControlNet."""


def page() -> str:
    """docs/models.md with its tables written anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in (("families", families()), ("levels", levels()), ("presets", presets())):
        marked = re.compile(rf"(<!-- {name}:[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
        table = "\n".join(lines)
        text, found = marked.subn(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
        assert found == 1, f"{PAGE} has no place for the {name}"
    return text


def families() -> Iterable[str]:
    """A row for each family, one for SDXL's refiner, and those that a ControlNet leads."""
    written = json.loads(FIGURES.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in written["versions"].items())
    yield f"Tested with {versions}.\n"
    yield f"| family | diffusers' pipelines | {' | '.join(COLUMNS)} |"
    yield "|---|---|" + "---|" * len(COLUMNS)
    for family in FAMILIES:
        names = [*family.text_to_image, *family.image_to_image]
        yield _row(family.name, names, written["families"][family.name])
    yield _row(
        "SDXL's refiner", ["StableDiffusionXLImg2ImgPipeline"], written["families"]["sdxl-refiner"]
    )
    for name, kinds in LED.items():
        led = f"{name}, led by a ControlNet"
        yield _row(led, kinds, written["families"][led])


def _row(name: str, pipelines: list[str], figures: dict[str, float | bool]) -> str:
    steps = [figures[key] for key in figures if key.startswith("steps")]
    shown = {**figures, **({"steps of a refinement": all(steps)} if steps else {})}
    cells = [_cell(shown.get(figure)) for figure in COLUMNS.values()]
    return f"| {name} | {', '.join(f'`{p}`' for p in pipelines)} | {' | '.join(cells)} |"


def _cell(figure: float | bool | None) -> str:
    if figure is None:
        return "—"
    if isinstance(figure, bool):
        return "yes" if figure else "**no**"
    return f"{figure:.0e}" if figure else "0"


LEVELS = (0.3, 0.5, 0.7, 0.9)
"""Asked for in the table of levels."""

STEPS = 15

SPACINGS: tuple[dict[str, Any], ...] = (
    {"timestep_spacing": "leading"},
    {"timestep_spacing": "trailing"},
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
)


def levels() -> Iterable[str]:
    """Rows of noise levels asked for and reached, by the schedulers alone, for each of them.

    On the schedules of SDXL and Stable Diffusion 3; test_rollback.py shows that a network starts
    where this says.
    """
    yield f"| scheduler | options | {' | '.join(f'asked {level:g}' for level in LEVELS)} |"
    yield "|---|---|" + "---|" * len(LEVELS)
    for name, kind in CLASSES.items():
        flow = name.startswith("flow")
        family = family_of(f"StableDiffusion{'3' if flow else 'XL'}Pipeline", PAGE)
        config = SD3 if flow else SDXL
        known = signature(getattr(diffusers, kind).__init__).parameters
        seen = []
        for options in ({}, *SPACINGS) if flow else SPACINGS:
            if not set(options) <= set(known):
                continue
            reached = list(_reached(kind, {**config, **options}, family))
            if reached not in seen:  # LCM's have the option of a spacing, and do not use it.
                seen.append(reached)
                said = ", ".join(f"{key}: {value}".lower() for key, value in options.items())
                cells = " | ".join(f"{level:.2f}" for level in reached)
                yield f"| {name} | {f'`{said}`' if said else '—'} | {cells} |"


SDXL = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "skip_prk_steps": True,
}
SD3 = {"num_train_timesteps": 1000, "shift": 3.0}


def _reached(kind: str, config: dict[str, Any], family: Family) -> Iterable[float]:
    for level in LEVELS:
        scheduler = getattr(diffusers, kind).from_config(config)
        shape = Shape(1024, 1024, 8)
        strength = strength_for(level, training_levels(scheduler, family, shape))
        yield nearest_start(scheduler, family, shape, strength, STEPS).level


def presets() -> Iterable[str]:
    """A row for each preset."""
    yield (
        "| preset | what | student | teacher | by default | parameters, billions | download | "
        "GPU memory | licences |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, preset in CATALOGUE.items():
        way = preset.strategy
        if preset.rollback:
            way += "".join(f", {kind} {level:g}" for kind, level in preset.rollback.items())
        sizes = f"{_sizes(preset.student)} | {_sizes(preset.teacher)}"
        yield f"| `{name}` | {preset.about} | {sizes} | {way} | {_resources(preset)} |"


def _resources(preset: Preset) -> str:
    if not preset.sources:
        return "— | — | — | —"
    models = (preset.student, preset.teacher)
    counts = " and ".join(f"{parameters(model):.1f}" for model in models)
    memory = " and ".join(f"{memory_gib(model):.0f}" for model in models)
    licences = "; ".join(dict.fromkeys(source.licence for source in preset.sources))
    gated = "; gated" if is_gated(preset) else ""
    return f"{counts} | {download_gb(preset):.0f} GB | {memory} GiB | {licences}{gated}"


def _sizes(settings: DiffusionSettings) -> str:
    size = f"{settings.width} px, " if settings.width else ""
    steps = f"{settings.steps} step{'s' if settings.steps > 1 else ''}"
    return f"{size}{steps}, guidance {settings.guidance_scale:g}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
