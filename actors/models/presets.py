"""Known trios of models, by name."""

from __future__ import annotations

from pathlib import Path

from actors.settings import ModelSettings, OracleSettings, StudentSettings, TeacherSettings

SHAPES_WEIGHTS = Path(__file__).parent / "shapes" / "weights"

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
}
