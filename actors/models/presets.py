"""Known trios of models, by name. Those of real models are data: presets.yaml, beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from actors.refinement import Strategy
from actors.settings import (
    IMAGE_REWARD,
    ControlNetSettings,
    ModelSettings,
    OracleSettings,
    StudentSettings,
    TeacherSettings,
)
from actors.strict import Settings

SHAPES_WEIGHTS = Path(__file__).parent / "shapes" / "weights"


class Source(Settings):
    """Where weights come from. `at`: a hub id. `licence`: in short; the model's card has it."""

    what: str
    at: str
    licence: str


class Repository(Settings):
    """The sizes of what a repository of the hub holds.

    denoiser, text, vae, controlnet: parameters, in billions. bytes: of each in the files that are
    fetched. gb: of a file that is no network. gated: whether the hub asks for consent first.
    """

    denoiser: float = 0.0
    text: float = 0.0
    vae: float = 0.0
    controlnet: float = 0.0
    bytes: int = 2
    gb: float = 0.0
    gated: bool = False


class Published(Settings):
    """Published scores of a student's pictures: percentile -> score, of ImageReward-v1.0.

    Source: arXiv 2312.10835, yandex-research/adaptive-diffusion, data/IR_percentiles_*.json.
    """

    steps: int
    guidance: float | None = None
    prompts: str
    percentiles: dict[int, float]


OPTIONS = ("compile", "channels_last", "vae_slicing", "vae_tiling", "offload")
"""The options of speed and memory; a preset of real models has a reason for each."""


class PresetLadder(Settings):
    """A ladder of attempts that was chosen for a trio: `ladder: NAME` in a job file.

    `rungs`: as a job file has them. `measured`: what it reached, and where that is written.
    """

    rungs: tuple[dict[str, Any], ...]
    measured: str


class Preset(Settings):
    """A trio of models, how the teacher improves by default, and notes for people.

    `ladders`: by name. `unverified`: what its publishers' pages do not say. `instructed`: whether
    the prompts are instructions. `reasons`: why a setting has its value.
    `left_off`: option -> why it is off, where it is. `tested`: how this trio was tested here.
    """

    about: str
    sources: tuple[Source, ...] = ()
    student: StudentSettings
    oracle: OracleSettings = IMAGE_REWARD
    teacher: TeacherSettings
    strategy: Strategy = "refine"
    instructed: bool = False
    rollback: dict[str, float] | None = None
    ladders: dict[str, PresetLadder] = Field(default_factory=dict)
    reasons: dict[str, str] = Field(default_factory=dict)
    left_off: dict[str, str] = Field(default_factory=dict)
    published: Published | None = None
    unverified: tuple[str, ...] = ()
    tested: str

    @model_validator(mode="after")
    def _one_way(self) -> Preset:
        if (self.strategy == "refine") != bool(self.rollback):
            raise ValueError("a preset that refines says how far back, and no other does")
        return self

    def off(self) -> Iterator[tuple[str, str, str]]:
        """Each option that is off, with the models where it is off and the reason."""
        for option, reason in self.left_off.items():
            roles = [
                role
                for role, settings in (("student", self.student), ("teacher", self.teacher))
                if getattr(settings, option) in (False, "none")
            ]
            if roles:
                yield option, " and ".join(roles), reason

    @property
    def models(self) -> ModelSettings:
        """The three models, as a job file has them."""
        return ModelSettings(student=self.student, oracle=self.oracle, teacher=self.teacher)


SHAPES_LADDERS = {
    "nfe-3": PresetLadder(
        rungs=(
            {"draw": 3, "until": 0.25},
            {"refine": {"strength": 0.8, "steps": 8}, "below": 0.1, "keep": "teacher"},
        ),
        measured="91.6 % of 1,600 held-out captions right, by 2.81 evaluations",
    ),
    "nfe-4": PresetLadder(
        rungs=(
            {"draw": 3, "until": 0.3},
            {"refine": {"strength": 0.8, "steps": 8}, "below": 0.2, "keep": "teacher"},
        ),
        measured="91.9 % of 1,600 held-out captions right, by 3.63 evaluations",
    ),
    "nfe-8": PresetLadder(
        rungs=(
            {"draw": 4, "until": {"score": -0.44}},
            {
                "refine": {"strength": 0.8, "steps": 8},
                "below": {"score": 0.15},
                "keep": "teacher",
            },
            {"regenerate": {"steps": 12}, "below": {"score": -0.44}, "keep": "best"},
        ),
        measured="94.2 % of 1,600 held-out captions right, by 6.48 evaluations",
    ),
}
"""Named by the mean network evaluations of a picture that they stay within. Chosen on captions of
the split `demo` (`benchmarks/ladders.py`), measured on held-out ones (`benchmarks/ladder_jobs.py`).
"""


def _shapes(
    about: str,
    controlnet: ControlNetSettings | None = None,
    ladders: dict[str, PresetLadder] | None = None,
) -> Preset:
    shape: dict[str, Any] = {"batch_size": 16, "controlnet": controlnet}
    return Preset(
        about=about,
        student=StudentSettings(
            path=str(SHAPES_WEIGHTS / "student"), steps=2, guidance_scale=1.0, **shape
        ),
        oracle=OracleSettings(path=str(SHAPES_WEIGHTS / "oracle"), batch_size=16),
        teacher=TeacherSettings(
            path=str(SHAPES_WEIGHTS / "teacher"), steps=25, guidance_scale=1.5, **shape
        ),
        rollback={"strength": 0.6},
        ladders=ladders or {},
        tested="its own weights, in whole jobs",
    )


def _timed(student: str, teacher: str, steps: int, batch_size: int, side: int) -> Preset:
    """Stand-ins that take the time of two published profiles (docs/plan.md)."""
    shape = {"batch_size": batch_size, "width": side, "height": side, "dtype": "float16"}
    drawing = {"steps": steps, "guidance_scale": 1.0, **shape}
    improving = {"steps": 50, "guidance_scale": 7.5, **shape}
    return Preset.model_validate(
        {
            "about": f"stand-ins that take the time of {student} and {teacher} (docs/plan.md)",
            "student": {"timed": {"profile": student}, **drawing},
            "oracle": {"timed": {}, "batch_size": batch_size},
            "teacher": {"timed": {"profile": teacher}, **improving},
            "rollback": {"strength": 0.6},
            "tested": "jobs on Ray",
        }
    )


def _timed_zero() -> Preset:
    """Stand-ins that take no time, with tiny pictures: only the driver's own time remains."""
    timed = {"seconds": {1: 0.0}, "load_seconds": 0.0}
    small = {"timed": timed, "batch_size": 16, "width": 8, "height": 8}
    return Preset.model_validate(
        {
            "about": "nothing takes time, and pictures are tiny: to measure the driver alone",
            "student": {"steps": 1, "guidance_scale": 1.0, **small},
            "oracle": {"timed": timed, "batch_size": 16},
            "teacher": {"steps": 50, "guidance_scale": 7.5, **small},
            "rollback": {"strength": 0.6},
            "tested": "jobs on Ray",
        }
    )


_FILE = yaml.safe_load(Path(__file__).with_name("presets.yaml").read_text(encoding="utf-8"))

REPOSITORIES: dict[str, Repository] = {
    name: Repository.model_validate(fields) for name, fields in _FILE["sizes"].items()
}
"""By hub id: every repository that a preset names."""

WEIGHTS_GB: dict[str, float] = {
    name: round(2 * (sizes.denoiser + sizes.text + sizes.vae), 1)
    for name, sizes in REPOSITORIES.items()
    if sizes.text
}
"""By the path of a student or a teacher of a preset: GB of what an actor holds of it, with two
bytes a parameter. Manifests for Kubernetes ask for memory by them."""


def _of_real_models() -> dict[str, Preset]:
    found = _FILE
    published = found["published"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return {
        name: Preset.model_validate(
            {
                **fields,
                "left_off": {**found["left_off"], **fields.get("left_off", {})},
                "published": published.get(fields.get("published")),
                "tested": f"{fields['tested']} ({versions})",
            }
        )
        for name, fields in found["presets"].items()
    }


CATALOGUE: dict[str, Preset] = {
    "shapes": _shapes(
        "the embedded set, trained here; docs/embedded.md says what it reaches",
        ladders=SHAPES_LADDERS,
    ),
    "shapes-control": _shapes(
        "the embedded set with a ControlNet that is shown Canny's edges; for task: control",
        ControlNetSettings(path=str(SHAPES_WEIGHTS / "control")),
    ),
    **_of_real_models(),
    "timed": _timed("sd-turbo", "sd-1.5", steps=1, batch_size=16, side=512),
    "timed-sdxs": _timed("sdxs", "sd-1.5", steps=1, batch_size=16, side=512),
    "timed-sdxl": _timed("sdxl-lightning", "sdxl", steps=2, batch_size=8, side=1024),
    "timed-zero": _timed_zero(),
}

PRESETS: dict[str, ModelSettings] = {name: preset.models for name, preset in CATALOGUE.items()}
