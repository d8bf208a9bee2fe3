"""Malicious models: each trap makes a folder when its code runs, and none of them may."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file

from actors.errors import ModelError
from actors.models.presets import PRESETS
from actors.oracle import Oracle
from actors.student import Student

SHAPES = PRESETS["shapes"]
STUDENT = SHAPES.student.model_copy(update={"steps": 2, "batch_size": 2})
UNET = "unet/diffusion_pytorch_model.safetensors"


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def set_trap(file: Path, trace: Path) -> None:
    """A pickle in place of weights, and the proof that it works."""
    torch.save({"weight": Trap(trace)}, file)
    torch.load(file, weights_only=False)
    assert trace.is_dir()
    trace.rmdir()


@pytest.mark.parametrize("ending", ["bin", "ckpt", "pt", "pth", "pkl"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_pickle_with_code_in_it_does_not_run(tmp_path: Path, allowed: bool, ending: str) -> None:
    """Not even where pickles are allowed: torch reads tensors from them, and nothing else."""
    trace = tmp_path / "trace"
    copytree(STUDENT.path, tmp_path / "student")
    weights = tmp_path / "student" / UNET
    weights.unlink()
    set_trap(weights.with_suffix(f".{ending}"), trace)
    settings = {"path": str(tmp_path / "student"), "allow_pickle": allowed}
    with pytest.raises(ModelError):
        Student(STUDENT.model_copy(update=settings), threads=1)
    assert not trace.exists()


@pytest.mark.parametrize("allowed", [False, True])
def test_an_oracles_pickle_with_code_in_it_does_not_run(tmp_path: Path, allowed: bool) -> None:
    trace = tmp_path / "trace"
    copytree(SHAPES.oracle.path, tmp_path / "oracle")
    (tmp_path / "oracle/model.safetensors").unlink()
    set_trap(tmp_path / "oracle/pytorch_model.bin", trace)
    settings = {"path": str(tmp_path / "oracle"), "allow_pickle": allowed}
    with pytest.raises(ModelError):
        Oracle(SHAPES.oracle.model_copy(update=settings), threads=1)
    assert not trace.exists()


def test_a_pickles_code_does_not_run_where_torch_was_told_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that somebody set for another program; who loads must say weights_only anyway."""
    trace = tmp_path / "trace"
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    copytree(STUDENT.path, tmp_path / "student")
    copytree(SHAPES.oracle.path, tmp_path / "oracle")
    (tmp_path / "student" / UNET).unlink()
    (tmp_path / "oracle/model.safetensors").unlink()
    set_trap((tmp_path / "student" / UNET).with_suffix(".bin"), trace)
    set_trap(tmp_path / "oracle/pytorch_model.bin", trace)
    student = {"path": str(tmp_path / "student"), "allow_pickle": True}
    oracle = {"path": str(tmp_path / "oracle"), "allow_pickle": True}
    with pytest.raises(ModelError):
        Student(STUDENT.model_copy(update=student), threads=1)
    with pytest.raises(ModelError):
        Oracle(SHAPES.oracle.model_copy(update=oracle), threads=1)
    assert not trace.exists()


def test_a_pickle_in_one_file_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for ending in ("ckpt", "pt", "bin"):
        set_trap(tmp_path / f"model.{ending}", trace)
        settings = {"path": str(tmp_path / f"model.{ending}"), "allow_pickle": True}
        with pytest.raises(ModelError, match="is one file"):
            Student(STUDENT.model_copy(update=settings), threads=1)
        assert not trace.exists()


def test_code_that_comes_with_a_model_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = f"import os\nos.mkdir({str(trace)!r})\nclass Mine: pass\n"
    with pytest.raises(NameError):
        exec(code + "stop", {})  # the trap works
    trace.rmdir()
    copytree(STUDENT.path, tmp_path / "student")
    (tmp_path / "student/pipeline.py").write_text(code)
    index = tmp_path / "student/model_index.json"
    named = {**json.loads(index.read_text()), "_class_name": ["pipeline", "Mine"]}
    index.write_text(json.dumps(named))
    with pytest.raises(ModelError, match="has a pipeline of its own"):
        Student(STUDENT.model_copy(update={"path": str(tmp_path / "student")}), threads=1)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["pipeline.py", "unet/unet.py", "model.py"])
def test_a_script_that_nothing_names_does_not_run(tmp_path: Path, name: str) -> None:
    copytree(STUDENT.path, tmp_path / "student")
    (tmp_path / "student" / name).write_text(f"import os\nos.mkdir({str(tmp_path / 'trace')!r})\n")
    Student(STUDENT.model_copy(update={"path": str(tmp_path / "student")}), threads=1)
    assert not (tmp_path / "trace").exists()


def test_code_that_auto_map_names_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    copytree(SHAPES.oracle.path, tmp_path / "oracle")
    config = tmp_path / "oracle/config.json"
    settings = json.loads(config.read_text())
    settings["auto_map"] = {"AutoModel": "mine.Mine", "AutoTokenizer": ["mine.Mine", None]}
    config.write_text(json.dumps(settings))
    oracle = SHAPES.oracle.model_copy(update={"path": str(tmp_path / "oracle")})
    with pytest.raises(ModelError, match=r"has auto_map in 'config\.json'"):
        Oracle(oracle, threads=1)
    (tmp_path / "oracle/mine.py").write_text(f"import os\nos.mkdir({str(trace)!r})\n")
    with pytest.raises(ModelError, match=r"has auto_map in 'config\.json'"):
        Oracle(oracle, threads=1)
    del settings["auto_map"]
    config.write_text(json.dumps(settings))
    Oracle(oracle, threads=1)
    assert not trace.exists()


def test_an_honest_pickle_is_loaded_where_it_is_allowed(tmp_path: Path) -> None:
    copytree(STUDENT.path, tmp_path / "student")
    weights = tmp_path / "student" / UNET
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    settings = {"path": str(tmp_path / "student"), "allow_pickle": True}
    pickled = Student(STUDENT.model_copy(update=settings), threads=1)
    safe = Student(STUDENT, threads=1)
    drawn, _, _ = pickled.draw(["a small red circle"], [1])
    assert torch.equal(drawn, safe.draw(["a small red circle"], [1])[0])
