"""The files of a job's three models are opened once, however much has to be known of them."""

from __future__ import annotations

import builtins
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from actors.models.presets import PRESETS
from actors.settings import ModelSettings
from jobs.resolution import resolve
from jobs.spec.job_spec import make_spec

SHAPES = PRESETS["shapes"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file was opened; weights are opened once more to look at their header."""
    count: Counter[Path] = Counter()
    real = builtins.open

    def counting(file: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(file, int):
            count[Path(file).resolve()] += 1
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", counting)
    monkeypatch.setattr(io, "open", counting)  # as pathlib calls it
    return count


@pytest.mark.parametrize("student", ["student", "teacher"])
@pytest.mark.parametrize(
    "fields",
    [
        {"rollback": {"variance": 0.6}},
        {"task": "edit", "image_column": "picture", "edit": {"strength": 0.5}},
    ],
)
def test_no_file_of_a_model_is_opened_twice(
    student: str, fields: dict[str, Any], opened: Counter[Path], tmp_path: Path
) -> None:
    """Also where student and teacher are one folder, as with a LoRA.

    But for what transformers opens by itself, when it is tried whether prompts and pictures are
    read: some kilobytes.
    """
    (tmp_path / "rows.csv").write_text("prompt,picture\na red circle,1.png\n")
    path = getattr(SHAPES, student).path
    models = ModelSettings(
        student=SHAPES.student.model_copy(update={"path": path}),
        oracle=SHAPES.oracle,
        teacher=SHAPES.teacher,
    )
    job = {"input": str(tmp_path / "rows.csv"), "output": str(tmp_path / "out"), **fields}
    resolve(make_spec({**job, "models": models.model_dump()}))
    home = Path(SHAPES.teacher.path).resolve().parent
    of_models = {
        file: count
        for file, count in opened.items()
        if file.is_relative_to(home)
        and file.parent.name != "tokenizer"
        and (file.parent.name != "oracle" or file.suffix != ".json")
    }
    assert Path(path).resolve() / "model_index.json" in of_models
    assert {str(file): count for file, count in of_models.items() if count > 1} == {}
