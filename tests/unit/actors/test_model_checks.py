"""Model folders that are half-copied, pickled, or bring code: refused by their files alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from actors.errors import ModelError
from actors.models import file_reader, folders
from actors.models.autoencoders import autoencoder_difference
from actors.models.checks import open_folder
from actors.models.file_reader import FileReader
from actors.models.oracles.oracle_files import open_oracle_files
from actors.models.pipeline_files import PipelineFiles, open_pipeline_files
from actors.models.presets import PRESETS
from actors.settings import DiffusionSettings, NetworkSettings, OracleSettings

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
VAE = "vae/diffusion_pytorch_model.safetensors"


def linked(folder: Path, **fields: Any) -> None:
    """The folder as a link to another place, with these fields in its configuration."""
    elsewhere = folder.rename(folder.parents[1] / "elsewhere")
    folder.symlink_to(elsewhere, target_is_directory=True)
    change(folder / "config.json", **fields)


def as_pipe(file: Path) -> None:
    """Who opens it waits for ever."""
    file.unlink()
    os.mkfifo(file)


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
        (lambda f: as_pipe(f / UNET), "is no file"),
        (lambda f: as_pipe(f / "model_index.json"), "has no model_index.json"),
        (lambda f: as_pipe(f / "vae/config.json"), "is no file"),
        (lambda f: (f / UNET).write_text("version https://git-lfs.github.com"), "is not whole"),
        (
            lambda f: (f / "unet/x.safetensors.index.json").write_text(
                '{"weight_map": {"a": "x-00002-of-2.safetensors"}}'
            ),
            "x-00002-of-2.safetensors is missing",
        ),
        *(
            (
                lambda f, content=content: (f / "unet/x.safetensors.index.json").write_text(
                    content
                ),
                said,
            )
            for content, said in (
                ('{"weight_map": [1, 2]}', "weight_map does not name a file for each weight"),
                ('{"weight_map": null}', "weight_map does not name a file for each weight"),
                ('{"weight_map": {"a": 5, "b": "x"}}', "does not name a file for each weight"),
                ('{"weight_map": {"a": ["x"]}}', "weight_map does not name a file"),
                ('{"weight_map": {"a": "../x"}}', "which is no file beside it"),
            )
        ),
        (lambda f: (f / "unet/config.json").write_text("[" * 100_000), "cannot be read"),
        (lambda f: change(f / "model_index.json", unet=["diffusers"]), "is no component"),
        (lambda f: change(f / "model_index.json", **{"": ["diffusers", "X"]}), "is no component"),
        (lambda f: change(f / "model_index.json", **{"../x": ["a", "X"]}), "is no component"),
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
        (
            lambda f: (f / "unet/diffusers.py").write_text("evil"),
            "has 'unet/diffusers.py' for 'unet'",
        ),
        (
            lambda f: change(f / "model_index.json", unet=["diffusers", "DiffusionPipeline"]),
            "has a pipeline of its own for 'unet', DiffusionPipeline",
        ),
        (
            lambda f: change(f / "unet/config.json", inner=[{"auto_map": {"AutoModel": "m.M"}}]),
            "has auto_map in 'unet/config.json'",
        ),
        *(
            (
                lambda f, key=key: change(f / "text_encoder/config.json", **{key: "org/kernel"}),
                "has the kernel 'org/kernel' in 'text_encoder/config.json'",
            )
            for key in ("attn_implementation", "_attn_implementation")
        ),
        (
            lambda f: change(f / "text_encoder/config.json", text={"attn_implementation": "a/b:c"}),
            "has the kernel 'a/b:c'",
        ),
        (
            lambda f: linked(f / "unet", auto_map={"AutoModel": "m.M"}),
            "has auto_map in 'unet/config.json'",
        ),
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


def test_a_script_that_nothing_names_is_no_reason_to_refuse(student: DiffusionSettings) -> None:
    """As the authors' own scripts and handlers of endpoints, which many repositories have."""
    for name in ("pipeline.py", "handler.py", "unet/my_unet.py"):
        (Path(student.path) / name).write_text("raise SystemExit")
    open_pipeline_files(student)


def test_what_diffusers_itself_names_by_a_pipeline_is_known(student: DiffusionSettings) -> None:
    folder = Path(student.path)
    change(folder / "model_index.json", safety_checker=["stable_diffusion", "Checker"])
    copytree(folder / "unet", folder / "safety_checker")
    open_pipeline_files(student)


def difference(one: Path, other: Path) -> str | None:
    """What differs between the autoencoders of these two folders' pipelines."""
    reader = FileReader()
    student, teacher = (
        PipelineFiles(
            settings=SHAPES.student.model_copy(update={"path": str(path)}),
            folder=open_folder(path, reader),
        )
        for path in (one, other)
    )
    return autoencoder_difference(student, teacher, reader)


def test_pickled_autoencoders_are_compared_by_their_content(tmp_path: Path) -> None:
    for name, content in (("one", b"1"), ("same", b"1"), ("other", b"2")):
        (tmp_path / name / "vae").mkdir(parents=True)
        (tmp_path / name / "vae/config.json").write_text("{}")
        (tmp_path / name / "vae/diffusion_pytorch_model.bin").write_bytes(content)
    assert difference(tmp_path / "one", tmp_path / "same") is None
    assert difference(tmp_path / "one", tmp_path / "other") == (
        "their autoencoders have different weights"
    )


@pytest.fixture
def vaes(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with one autoencoder: an AutoencoderKL, whose class has many defaults."""
    for name in ("one", "other"):
        (tmp_path / name / "vae").mkdir(parents=True)
        config = {"_class_name": "AutoencoderKL", "latent_channels": 4}
        (tmp_path / name / "vae/config.json").write_text(json.dumps(config))
        save_file({"a": np.ones(3), "b": np.zeros(2)}, tmp_path / name / VAE)
    return tmp_path / "one", tmp_path / "other"


def test_a_default_that_is_written_out_makes_no_other_autoencoder(vaes: tuple[Path, Path]) -> None:
    """As SD-Turbo's and Stable Diffusion 2.1's: the keys of only one have the class's defaults."""
    one, other = vaes
    change(other / "vae/config.json", scaling_factor=0.18215, shift_factor=None, sample_size=768)
    change(other / "vae/config.json", force_upcast=False, norm_num_groups=32)
    assert difference(one, other) is None
    change(other / "vae/config.json", scaling_factor=0.13025)
    assert difference(one, other) == (
        "their autoencoders differ in scaling_factor (0.18215 and 0.13025)"
    )


def test_weights_are_compared_by_their_tensors(vaes: tuple[Path, Path]) -> None:
    """Whatever their files are called, in however many, and with which remarks."""
    one, other = vaes
    (other / VAE).unlink()
    save_file({"a": np.ones(3)}, other / "vae/model-00001-of-00002.safetensors", {"by": "me"})
    save_file({"b": np.zeros(2)}, other / "vae/model-00002-of-00002.safetensors")
    assert difference(one, other) is None
    save_file({"b": np.ones(2)}, other / "vae/model-00002-of-00002.safetensors")
    assert difference(one, other) == "their autoencoders have different weights"


# ---- which files count


def fingerprint(settings: DiffusionSettings) -> str:
    return open_pipeline_files(settings).fingerprint(FileReader())


def test_only_what_is_loaded_is_hashed(student: DiffusionSettings) -> None:
    """Not the model again in one file, nor a folder without a name in the index, nor a variant."""
    folder, before = Path(student.path), fingerprint(student)
    (folder / "whole.safetensors").write_bytes(b"x")
    copytree(folder / "text_encoder", folder / "text_encoders")
    (folder / "unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(
        (folder / VAE).read_bytes()
    )
    copytree(folder / "unet", folder / "safety_checker")
    assert fingerprint(student) == before
    half = student.model_copy(update={"variant": "fp16"})
    with pytest.raises(ModelError, match="no weights of the variant 'fp16'"):
        fingerprint(half)
    change(folder / "unet/config.json", remark="x")
    assert fingerprint(student) != before


def test_a_component_behind_a_link_is_hashed(student: DiffusionSettings, tmp_path: Path) -> None:
    folder, before = Path(student.path), fingerprint(student)
    (folder / "unet").rename(tmp_path / "elsewhere")
    (folder / "unet").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert fingerprint(student) == before
    weights = tmp_path / "elsewhere/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert fingerprint(student) != before


def test_the_hubs_cache_has_hashed_large_files_already(
    student: DiffusionSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names them by their SHA-256, and small ones by another hash."""
    folder, before = Path(student.path), fingerprint(student)
    blob = tmp_path / "blobs" / sha256((folder / UNET).read_bytes()).hexdigest()
    blob.parent.mkdir()
    (folder / UNET).rename(blob)
    (folder / UNET).symlink_to(blob)
    small = tmp_path / "blobs" / ("ab" * 20)
    (folder / VAE).rename(small)
    (folder / VAE).symlink_to(small)
    read: list[str] = []

    def counting(file: Any, kind: str) -> Any:
        read.append(Path(file.name).name)
        return real(file, kind)

    real = file_reader.file_digest
    monkeypatch.setattr(file_reader, "file_digest", counting)
    assert fingerprint(student) == before
    assert Path(VAE).name in read
    assert read.count(Path(UNET).name) == read.count(Path(VAE).name) == 1, "one name, one file"


def test_a_script_beside_a_network_is_not_code_that_is_loaded(
    student: DiffusionSettings, tmp_path: Path
) -> None:
    copytree(Path(student.path) / "unet", tmp_path / "network")
    (tmp_path / "network/handler.py").write_text("evil")
    other = student.model_copy(update={"denoiser": NetworkSettings(path=str(tmp_path / "network"))})
    assert open_pipeline_files(other).denoiser is not None
    change(tmp_path / "network/config.json", auto_map={"AutoModel": "handler.Mine"})
    assert "has auto_map" in refusal(other)


def test_a_number_that_is_none_is_named_wherever_it_is(student: DiffusionSettings) -> None:
    """The field before it has a text in which its name is found."""
    fields: dict[str, Any] = {"a": "banana", "b": [{"c": 1.0}, {"d": float("nan")}]}
    change(Path(student.path) / "unet/config.json", **fields)
    assert "unet/config.json: b.d: NaN is no number" in refusal(student)


def test_a_replaced_networks_own_weights_are_not_needed(
    student: DiffusionSettings, tmp_path: Path
) -> None:
    for name in ("unet", "vae"):
        copytree(Path(student.path) / name, tmp_path / name)
        next((Path(student.path) / name).glob("*.safetensors")).unlink()
    networks = {
        "denoiser": NetworkSettings(path=str(tmp_path / "unet")),
        "vae": NetworkSettings(path=str(tmp_path / "vae")),
    }
    one = open_pipeline_files(student.model_copy(update=networks))
    original = open_pipeline_files(SHAPES.teacher)
    assert autoencoder_difference(one, original, FileReader()) is None
    assert "has no .safetensors weights" in refusal(student)
    (tmp_path / "unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not whole")
    fingerprint(student.model_copy(update=networks))
    half = {**networks, "denoiser": NetworkSettings(path=str(tmp_path / "unet"), variant="fp16")}
    assert "is not whole" in refusal(student.model_copy(update=half))


def test_of_the_hub_only_what_is_loaded_is_fetched(
    student: DiffusionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of SD3.5's repository not `text_encoders/` (16 GB); of LCM-SDXL's UNet one variant."""
    asked: list[tuple[str, str | None, list[str]]] = []

    def snapshot(name: str, revision: str | None, patterns: list[str]) -> Path:
        asked.append((name, revision, list(patterns)))
        return Path(student.path)

    monkeypatch.setattr(folders, "hub_snapshot", snapshot)
    wanted = {
        "path": "owner/model",
        "variant": "fp16",
        "denoiser": NetworkSettings(path="owner/unet", variant="fp16"),
    }
    with pytest.raises(ModelError):  # this folder has no variant
        open_pipeline_files(student.model_copy(update=wanted))
    (_, _, first), (_, revision, patterns) = asked
    assert (first, revision) == (["model_index.json"], "student")
    files = ["unet/config.json", "unet/x.fp16.safetensors", "vae/x.fp16.safetensors"]
    files += ["vae/x.safetensors", "text_encoders/t5.fp16.safetensors", "x.fp16.safetensors"]
    fetched = [file for file in files if any(fnmatch(file, pattern) for pattern in patterns)]
    assert fetched == ["unet/config.json", "vae/x.fp16.safetensors"]
    asked.clear()
    monkeypatch.setattr(folders, "hub_snapshot", snapshot)
    with pytest.raises(ModelError):
        open_pipeline_files(student.model_copy(update={"denoiser": wanted["denoiser"]}))
    assert asked == [("owner/unet", None, ["*.json", "*.fp16*.safetensors"])]
