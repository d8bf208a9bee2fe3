"""Known trios of models, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.settings import (
    ModelSettings,
    OracleSettings,
    StudentSettings,
    TeacherSettings,
    TimedDiffusionSettings,
    TimedOracleSettings,
)

SHAPES_WEIGHTS = Path(__file__).parent / "shapes" / "weights"


def _timed(student: str, teacher: str, steps: int, batch_size: int, side: int) -> ModelSettings:
    """Stand-ins that take the time of two published profiles (docs/plan.md)."""
    shape = {"batch_size": batch_size, "width": side, "height": side, "dtype": "float16"}
    return ModelSettings(
        student=StudentSettings(
            timed=TimedDiffusionSettings(profile=student), steps=steps, guidance_scale=1.0, **shape
        ),
        oracle=OracleSettings(timed=TimedOracleSettings(), batch_size=batch_size),
        teacher=TeacherSettings(
            timed=TimedDiffusionSettings(profile=teacher), steps=50, guidance_scale=7.5, **shape
        ),
    )


_NO_TIME: dict[str, Any] = {"seconds": {1: 0.0}, "load_seconds": 0.0}

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
    # Nothing takes time, and pictures are as small as can be: for what the driver itself takes.
    "timed-zero": ModelSettings(
        student=StudentSettings(
            timed=TimedDiffusionSettings(**_NO_TIME),
            **{"steps": 1, "guidance_scale": 1.0, "batch_size": 16, "width": 8, "height": 8},
        ),
        oracle=OracleSettings(timed=TimedOracleSettings(**_NO_TIME), batch_size=16),
        teacher=TeacherSettings(
            timed=TimedDiffusionSettings(**_NO_TIME),
            **{"steps": 50, "guidance_scale": 7.5, "batch_size": 16, "width": 8, "height": 8},
        ),
    ),
}
