"""Model folders that are half-copied, pickled, or bring code: refused by their files alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from actors.errors import ModelError
from actors.models.checks import open_folder
from actors.models.file_reader import FileReader
from actors.models.oracles.oracle_files import open_oracle_files
from actors.models.pipeline_files import PipelineFiles, open_pipeline_files, same_autoencoder
from actors.models.presets import PRESETS
from actors.settings import DiffusionSettings, OracleSettings

SHAPES = PRESETS["shapes"]


@pytest.fixture
def student(tmp_path: Path) -> DiffusionSettings:
    """A copy of the embedded student."""
    copytree(SHAPES.student.path, tmp_path / "student")
    return SHAPES.student.model_copy(update={"path": str(tmp_path / "student")})


@pytest.fixture
def oracle(tmp_path: Path) -> OracleSettings:
    """A copy of the embedded oracle."""
    copytree(SHAPES.oracle.path, tmp_path / "oracle")
    return SHAPES.oracle.model_copy(update={"path": str(tmp_path / "oracle")})


def refusal(settings: DiffusionSettings | OracleSettings) -> str:
    look: Any = open_oracle_files if isinstance(settings, OracleSettings) else open_pipeline_files
    with pytest.raises(ModelError) as caught:
        look(settings)
    return str(caught.value)


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


UNET = "unet/diffusion_pytorch_model.safetensors"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "model_index.json").unlink(), "has no model_index.json"),
        (lambda f: (f / "model_index.json").write_text("{"), "model_index.json cannot be read"),
        (lambda f: (f / "model_index.json").write_text("[]"), "is not a JSON object"),
        (lambda f: (f / "model_index.json").write_text("{}"), "names no component"),
        (lambda f: rmtree(f / "tokenizer"), "has no 'tokenizer' with its settings"),
        (lambda f: rmtree(f / "scheduler"), "has no 'scheduler' with its settings"),
        (lambda f: (f / "vae/config.json").unlink(), "has no 'vae' with its settings"),
        (lambda f: (f / UNET).unlink(), "has no .safetensors weights. Save it again"),
        (lambda f: cut(f / UNET), "is not whole"),
        (lambda f: (f / UNET).write_text("version https://git-lfs.github.com"), "is not whole"),
        (
            lambda f: (f / "unet/x.safetensors.index.json").write_text(
                '{"weight_map": {"a": "x-00002-of-2.safetensors"}}'
            ),
            "x-00002-of-2.safetensors is missing",
        ),
    ],
)
def test_a_half_copied_pipeline_is_refused(
    student: DiffusionSettings, damage: Callable[[Path], object], said: str
) -> None:
    open_pipeline_files(student)
    damage(Path(student.path))
    assert said in refusal(student)


def test_a_half_copied_oracle_is_refused(oracle: OracleSettings) -> None:
    open_oracle_files(oracle)
    cut(Path(oracle.path) / "model.safetensors")
    assert "is not whole" in refusal(oracle)
    (Path(oracle.path) / "model.safetensors").unlink()
    assert "has no .safetensors weights" in refusal(oracle)
    (Path(oracle.path) / "config.json").unlink()
    assert "has no config.json" in refusal(oracle)


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", "a/b/c", "./nowhere"):
        said = refusal(SHAPES.student.model_copy(update={"path": str(path)}))
        assert "is not a folder" in said


@pytest.mark.parametrize("ending", ["bin", "ckpt", "pt", "pth", "pkl"])
def test_pickled_weights_are_refused_unless_allowed(
    student: DiffusionSettings, ending: str
) -> None:
    weights = Path(student.path) / UNET
    weights.rename(weights.with_suffix(f".{ending}"))
    assert f"only diffusion_pytorch_model.{ending}, which can run code" in refusal(student)
    allowed = student.model_copy(update={"allow_pickle": True})
    if ending == "bin":
        open_pipeline_files(allowed)
    else:
        assert "which can run code" in refusal(allowed)


@pytest.mark.parametrize("ending", ["ckpt", "pt", "safetensors"])
def test_a_model_in_one_file_is_refused(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"model.{ending}"
    file.write_bytes(b"x")
    assert "is one file" in refusal(SHAPES.student.model_copy(update={"path": str(file)}))


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (lambda f: (f / "pipeline.py").write_text("evil"), "has 'pipeline.py'"),
        (lambda f: (f / "unet/my_unet.py").write_text("evil"), "has 'unet/my_unet.py'"),
        (
            lambda f: change(f / "unet/config.json", auto_map={"AutoModel": "m.M"}),
            "has auto_map in 'unet/config.json'",
        ),
        (
            lambda f: change(f / "tokenizer/tokenizer_config.json", auto_map={"x": "o/r--m.M"}),
            "has auto_map in 'tokenizer/tokenizer_config.json'",
        ),
        (
            lambda f: change(f / "model_index.json", _class_name=["pipeline", "Mine"]),
            "has a pipeline of its own",
        ),
        (lambda f: change(f / "model_index.json", unet=["evil", "UNet"]), "from evil.UNet"),
        (lambda f: change(f / "model_index.json", unet=["..", "UNet"]), "from ...UNet"),
    ],
)
def test_a_model_with_code_of_its_own_is_refused(
    student: DiffusionSettings, plant: Callable[[Path], object], said: str
) -> None:
    plant(Path(student.path))
    assert said in refusal(student)
    assert "code of its own, which is never run here" in refusal(student)


def test_what_diffusers_itself_names_by_a_pipeline_is_known(student: DiffusionSettings) -> None:
    folder = Path(student.path)
    change(folder / "model_index.json", safety_checker=["stable_diffusion", "Checker"])
    copytree(folder / "unet", folder / "safety_checker")
    open_pipeline_files(student)


def share(one: Path, other: Path) -> bool:
    """Whether these two folders' pipelines have the same autoencoder."""
    reader = FileReader()
    student, teacher = (
        PipelineFiles(
            settings=SHAPES.student.model_copy(update={"path": str(path)}),
            folder=open_folder(path, reader),
        )
        for path in (one, other)
    )
    return same_autoencoder(student, teacher, reader)


def test_pickled_autoencoders_are_compared_by_their_content(tmp_path: Path) -> None:
    for name, content in (("one", b"1"), ("same", b"1"), ("other", b"2")):
        (tmp_path / name / "vae").mkdir(parents=True)
        (tmp_path / name / "vae/config.json").write_text("{}")
        (tmp_path / name / "vae/diffusion_pytorch_model.bin").write_bytes(content)
    assert share(tmp_path / "one", tmp_path / "same")
    assert not share(tmp_path / "one", tmp_path / "other")


def test_pipelines_without_an_autoencoder_share_none(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    assert not share(tmp_path / "one", tmp_path / "other")
