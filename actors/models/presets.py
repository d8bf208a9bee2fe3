"""Known trios of models, by name."""

from __future__ import annotations

from pathlib import Path

from actors.settings import ModelSettings, OracleSettings, StudentSettings, TeacherSettings

SHAPES_WEIGHTS = Path(__file__).parent / "shapes" / "weights"


def _timed(student: str, teacher: str, steps: int, batch_size: int, side: int) -> ModelSettings:
    """Stand-ins that take the time of two published profiles (docs/plan.md)."""
    shape = {"batch_size": batch_size, "width": side, "height": side, "dtype": "float16"}
    drawing = {"steps": steps, "guidance_scale": 1.0, **shape}
    improving = {"steps": 50, "guidance_scale": 7.5, **shape}
    return ModelSettings.model_validate(
        {
            "student": {"timed": {"profile": student}, **drawing},
            "oracle": {"timed": {}, "batch_size": batch_size},
            "teacher": {"timed": {"profile": teacher}, **improving},
        }
    )


def _timed_zero() -> ModelSettings:
    """Nothing takes time, and pictures are as small as can be: what the driver takes remains."""
    timed = {"seconds": {1: 0.0}, "load_seconds": 0.0}
    small = {"timed": timed, "batch_size": 16, "width": 8, "height": 8}
    return ModelSettings.model_validate(
        {
            "student": {"steps": 1, "guidance_scale": 1.0, **small},
            "oracle": {"timed": timed, "batch_size": 16},
            "teacher": {"steps": 50, "guidance_scale": 7.5, **small},
        }
    )


PRESETS: dict[str, ModelSettings] = {
    # The embedded set; docs/embedded.md says how it was made and what it reaches.
    "shapes": ModelSettings(
        student=StudentSettings(
            path=str(SHAPES_WEIGHTS / "student"), steps=2, guidance_scale=1.0, batch_size=16
        ),
        oracle=OracleSettings(path=str(SHAPES_WEIGHTS / "oracle"), batch_size=16),
        teacher=TeacherSettings(
            path=str(SHAPES_WEIGHTS / "teacher"), steps=25, guidance_scale=1.5, batch_size=16
        ),
    ),
    "timed": _timed("sd-turbo", "sd-1.5", steps=1, batch_size=16, side=512),
    "timed-sdxs": _timed("sdxs", "sd-1.5", steps=1, batch_size=16, side=512),
    "timed-sdxl": _timed("sdxl-lightning", "sdxl", steps=2, batch_size=8, side=1024),
    "timed-zero": _timed_zero(),
}
