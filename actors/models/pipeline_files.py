"""Finds and checks all files of a pipeline: its folder, and the parts that are put into it.

Loads no weights, so that a bad path is refused before an actor starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from actors.errors import ModelError
from actors.models.checks import (
    INDEX,
    ModelFolder,
    check_components,
    check_weights,
    open_folder,
)
from actors.models.families import Family, Shape, family_of, shape_of
from actors.models.file_reader import PICKLES, FileReader
from actors.models.folders import model_folder, part_folder, pinned
from actors.settings import (
    ControlNetSettings,
    DenoiserSettings,
    DiffusionSettings,
    LoraSettings,
)

S = TypeVar("S", bound=DiffusionSettings)
S_co = TypeVar("S_co", bound=DiffusionSettings, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFiles(Generic[S_co]):
    """A pipeline's files, found and checked, and its configurations.

    `settings`: with paths and revisions that mean the same in every process. `denoiser`,
    `controlnet`: folders of networks that come from elsewhere. `lora`: its .safetensors file.
    """

    settings: S_co
    folder: ModelFolder
    denoiser: ModelFolder | None = None
    controlnet: ModelFolder | None = None
    lora: Path | None = None

    @property
    def pipeline_class(self) -> str:
        """The class of diffusers that model_index.json names."""
        return str(self.folder.config(INDEX).get("_class_name"))

    @property
    def family(self) -> Family:
        """Raises ModelError for a pipeline that Bottega does not know."""
        return family_of(self.pipeline_class, self.folder.path)

    @property
    def draws(self) -> bool:
        """Whether the pipeline can start from noise; SDXL's refiner cannot."""
        return self.pipeline_class in self.family.text_to_image

    @property
    def network(self) -> dict[str, Any]:
        """config.json of the UNet or transformer: the pipeline's own, or the one in its place."""
        if self.denoiser:
            return self.denoiser.config("config.json")
        return self.folder.config(f"{self.family.denoiser}/config.json")

    @property
    def shape(self) -> Shape:
        """The shape of the model's pictures. Raises ModelError for one that it cannot draw."""
        vae = self.folder.config("vae/config.json")
        return shape_of(self.settings, self.family, self.network, vae)

    def fingerprint(self, reader: FileReader) -> str:
        """A hash of all the files; it reads every byte of them."""
        parts = [part for part in (self.folder, self.denoiser, self.controlnet) if part]
        hashes = [reader.fingerprint(part.path) for part in parts]
        if self.lora:
            hashes.append(reader.hash_files([("lora", self.lora)]))
        return "+".join(hashes)

    def weight_bytes(self, reader: FileReader) -> int:
        """Bytes of the weights, of a LoRA's without the LoRA."""
        parts = [part for part in (self.folder, self.denoiser, self.controlnet) if part]
        return sum(reader.weight_bytes(part.path) for part in parts)


def open_pipeline_files(settings: S, reader: FileReader | None = None) -> PipelineFiles[S]:
    """Find a pipeline's files; refuse those that are half-copied, pickled, or bring their own code.

    Raises ModelError.
    """
    reader = reader or FileReader()
    path = _pipeline_folder(settings)
    folder = open_folder(path, reader)
    check_components(folder, reader, settings.allow_pickle, settings.variant)
    denoiser = controlnet = lora = None
    update: dict[str, Any] = {**pinned(settings.path, path)}
    if settings.denoiser:
        denoiser = _open_network(settings.denoiser, "denoiser", reader)
        update["denoiser"] = settings.denoiser.model_copy(
            update=pinned(settings.denoiser.path, denoiser.path)
        )
    if settings.controlnet:
        controlnet = _open_network(settings.controlnet, "controlnet", reader)
        update["controlnet"] = settings.controlnet.model_copy(
            update=pinned(settings.controlnet.path, controlnet.path)
        )
    if settings.lora:
        lora = lora_file(settings.lora, reader)
        update["lora"] = _pinned_lora(settings.lora, lora)
    return PipelineFiles(
        settings=settings.model_copy(update=update),
        folder=folder,
        denoiser=denoiser,
        controlnet=controlnet,
        lora=lora,
    )


def _pipeline_folder(settings: DiffusionSettings) -> Path:
    # Beside the components' folders there is often the whole model again in one file.
    stem = f"*/*.{settings.variant}*" if settings.variant else "*/*"
    pickles = [f"{stem}.bin"] if settings.allow_pickle else []
    path = model_folder(settings.path, settings.revision, pickles, f"{stem}.safetensors")
    if not (path / INDEX).is_file():
        raise ModelError(
            f"model folder {settings.path!r} has no model_index.json. "
            "Is the copy complete, and is it this kind of model?"
        )
    return path


def _open_network(
    network: DenoiserSettings | ControlNetSettings, what: str, reader: FileReader
) -> ModelFolder:
    """The folder of one network. what: its field in the job file, for messages."""
    path = part_folder(network.path, network.revision, what, ["*.json", "*.safetensors"])
    folder = open_folder(path, reader)
    folder.config("config.json")
    check_weights(path, reader, allow_pickle=False)
    return folder


def lora_file(lora: LoraSettings, reader: FileReader) -> Path:
    """The .safetensors file of a LoRA, refused if it is another kind of file or not whole."""
    path = Path(lora.path).expanduser()
    name = lora.file or path.name
    if not name.endswith(".safetensors"):
        raise ModelError(
            f"lora {lora.path!r}: {lora.file or 'no file is named, and'!r} a LoRA is loaded from a "
            ".safetensors file. Give it as `path`, or its folder or hub id as `path` and its name "
            "as `file`. A pickle (.bin, .pt) can run code when loaded: convert it where that does "
            "no harm."
        )
    is_file = lora.file is None and path.is_file()
    file = path if is_file else part_folder(lora.path, lora.revision, "lora", [name]) / name
    if not file.is_file():
        raise ModelError(f"lora {lora.path!r} has no file {name!r}. Is the copy complete?")
    reader.check_whole(file)
    return file


def _pinned_lora(lora: LoraSettings, file: Path) -> LoraSettings:
    if Path(lora.path).expanduser().exists():
        return lora.model_copy(update={"path": str(file.resolve()), "file": None})
    snapshot = file.parents[len(Path(lora.file or "").parts) - 1]
    return lora.model_copy(update={"revision": snapshot.name})


def same_autoencoder(
    student: PipelineFiles[DiffusionSettings],
    teacher: PipelineFiles[DiffusionSettings],
    reader: FileReader,
) -> bool:
    """Whether latents mean the same to student and teacher: same weights, same configuration.

    Remarks in the configuration (`_diffusers_version`, a path, the indentation) do not count.
    """
    if (student.folder.path, student.settings.variant) == (
        teacher.folder.path,
        teacher.settings.variant,
    ):
        return True
    one, other = _autoencoder(student, reader), _autoencoder(teacher, reader)
    return one is not None and one == other


def _autoencoder(
    pipeline: PipelineFiles[DiffusionSettings], reader: FileReader
) -> tuple[dict[str, Any], str] | None:
    """Configuration and hash of the weights; None for a pipeline without an autoencoder."""
    config = pipeline.folder.configs.get("vae/config.json")
    if config is None:
        return None
    folder, variant = pipeline.folder.path / "vae", pipeline.settings.variant
    files = sorted(p for p in folder.iterdir() if p.suffix in {".safetensors", *PICKLES})
    # model.safetensors, or model.fp16.safetensors: which of them is loaded.
    wanted = [variant] if variant else []
    loaded = [file for file in files if file.name.split(".")[1:-1] == wanted]
    weights = ((p.name, p) for p in loaded or files)
    return {k: v for k, v in config.items() if not k.startswith("_")}, reader.hash_files(weights)
