"""Finds and checks all files of a pipeline: its folder, and the parts that are put into it.

Loads no weights, so that a bad path is refused before an actor starts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from actors.errors import ModelError
from actors.models.checks import (
    INDEX,
    NOT_LOADED,
    ModelFolder,
    check_components,
    check_weights,
    components_of,
    loaded_files,
    open_folder,
)
from actors.models.families import Family, Shape, family_of, shape_of
from actors.models.file_reader import WEIGHTS, FileReader, read_config
from actors.models.folders import DESCRIPTIONS, model_folder, part_folder, pinned
from actors.settings import (
    ControlNetSettings,
    DiffusionSettings,
    LoraSettings,
    NetworkSettings,
)

S = TypeVar("S", bound=DiffusionSettings)
P = TypeVar("P", LoraSettings, NetworkSettings)
S_co = TypeVar("S_co", bound=DiffusionSettings, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFiles(Generic[S_co]):
    """A pipeline's files, found and checked, and its configurations.

    `settings`: with paths and revisions that mean the same in every process. `denoiser`, `vae`,
    `controlnet`: folders of networks that come from elsewhere. `denoiser_file`, `vae_file`: weights
    alone, in place of those of the pipeline's own network. `loras`: their .safetensors files.
    """

    settings: S_co
    folder: ModelFolder
    denoiser: ModelFolder | None = None
    denoiser_file: Path | None = None
    vae: ModelFolder | None = None
    vae_file: Path | None = None
    controlnet: ModelFolder | None = None
    loras: tuple[Path, ...] = ()

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
        return shape_of(self.settings, self.family, self.network, self.vae_config)

    @property
    def vae_config(self) -> dict[str, Any]:
        """config.json of the autoencoder: the pipeline's own, or the one in its place."""
        if self.vae:
            return self.vae.config("config.json")
        return self.folder.config("vae/config.json")

    @property
    def vae_variant(self) -> str | None:
        """The variant of the autoencoder's weight files."""
        return self.settings.vae.variant if self.settings.vae else self.settings.variant

    def files(self, reader: FileReader) -> list[list[tuple[str, Path]]]:
        """Name and path of all files that are loaded, for each place that they come from."""
        settings = self.settings
        found = [
            loaded_files(self.folder.path, reader, settings.variant, replaced(settings)),
            *(
                loaded_files(folder.path, reader, part.variant)
                for folder, part in (
                    (self.denoiser, settings.denoiser),
                    (self.vae, settings.vae),
                    (self.controlnet, settings.controlnet),
                )
                if folder and part
            ),
        ]
        alone = {"denoiser": self.denoiser_file, "vae": self.vae_file}
        found += [[(name, file)] for name, file in alone.items() if file]
        return found + [[("lora", file)] for file in self.loras]

    def fingerprint(self, reader: FileReader) -> str:
        """A hash of all the files that are loaded; it reads every byte of them."""
        return "+".join(reader.hash_files(files) for files in self.files(reader))

    def weight_bytes(self, reader: FileReader) -> int:
        """Bytes of the weights, without those of LoRAs."""
        return sum(
            path.stat().st_size
            for files in self.files(reader)
            for name, path in files
            if path.suffix in WEIGHTS and name != "lora"
        )


def replaced(settings: DiffusionSettings) -> frozenset[str]:
    """Components of the pipeline whose weights are not loaded: others take their place."""
    names = {"unet", "transformer"} if settings.denoiser else set()
    return frozenset(names | ({"vae"} if settings.vae else set()))


def open_pipeline_files(settings: S, reader: FileReader | None = None) -> PipelineFiles[S]:
    """Find a pipeline's files; refuse those that are half-copied, pickled, or bring their own code.

    Raises ModelError.
    """
    reader = reader or FileReader()
    path = _pipeline_folder(settings)
    folder = open_folder(path, reader)
    check_components(folder, reader, settings.allow_pickle, settings.variant, replaced(settings))
    found: dict[str, Any] = {}
    update: dict[str, Any] = {**pinned(settings.path, path)}
    for name in ("denoiser", "vae", "controlnet"):
        part = getattr(settings, name)
        if part is None:
            continue
        if isinstance(part, NetworkSettings) and part.is_file:
            found[f"{name}_file"] = file = part_file(part, name, reader)
            update[name] = _pinned_file(part, file)
        else:
            found[name] = opened = _open_network(part, name, reader)
            update[name] = part.model_copy(update=pinned(part.path, opened.path))
    loras = tuple(lora_file(lora, reader) for lora in settings.all_loras)
    whole = tuple(map(_pinned_file, settings.all_loras, loras))
    if settings.lora:
        update["lora"] = whole[0]
    update["loras"] = whole[1:] if settings.lora else whole
    return PipelineFiles(
        settings=settings.model_copy(update=update), folder=folder, loras=loras, **found
    )


def _pipeline_folder(settings: DiffusionSettings) -> Path:
    path = model_folder(settings.path, settings.revision, _fetched(settings))
    if not (path / INDEX).is_file():
        raise ModelError(
            f"model folder {settings.path!r} has no model_index.json. "
            "Is the copy complete, and is it this kind of model?"
        )
    return path


def _fetched(settings: DiffusionSettings) -> Callable[[Path], list[str]]:
    """Patterns of the files that are wanted from the hub, by the folder with its model_index.json.

    Of the components that it names, since a repository often has the whole model again in another
    form; and of these without the weights that are not loaded.
    """
    stem = f"*.{settings.variant}*" if settings.variant else "*"
    endings = [".safetensors", *([".bin"] if settings.allow_pickle else [])]

    def patterns(folder: Path) -> list[str]:
        names = set(components_of(read_config(folder / INDEX))) - NOT_LOADED
        wanted = [f"{name}/{pattern}" for name in sorted(names) for pattern in DESCRIPTIONS]
        loaded = sorted(names - replaced(settings))
        return wanted + [f"{name}/{stem}{ending}" for name in loaded for ending in endings]

    return patterns


def _open_network(
    network: NetworkSettings | ControlNetSettings, what: str, reader: FileReader
) -> ModelFolder:
    """The folder of one network. what: its field in the job file, for messages."""
    stem = f"*.{network.variant}*" if network.variant else "*"
    wanted = ["*.json", f"{stem}.safetensors"]
    path = part_folder(network.path, network.revision, what, wanted)
    folder = open_folder(path, reader)
    folder.config("config.json")
    check_weights(path, reader, allow_pickle=False, variant=network.variant)
    return folder


def lora_file(lora: LoraSettings, reader: FileReader) -> Path:
    """The .safetensors file of a LoRA, refused if it is another kind of file or not whole."""
    return part_file(lora, "lora", reader)


def part_file(part: LoraSettings | NetworkSettings, what: str, reader: FileReader) -> Path:
    """The one .safetensors file of a part, refused if it is another kind of file or not whole.

    what: its field in the job file, for messages.
    """
    path = Path(part.path).expanduser()
    name = part.file or path.name
    if not name.endswith(".safetensors"):
        raise ModelError(
            f"{what} {str(path / part.file if part.file else part.path)!r} is no .safetensors "
            "file, and nothing else is loaded here. Give it as `path`, or its folder or hub id as "
            "`path` and its name as `file`. A pickle (.bin, .pt) can run code when loaded: convert "
            "it where that does no harm."
        )
    is_file = path.is_file()
    file = path if is_file else part_folder(part.path, part.revision, what, [name]) / name
    if not file.is_file():
        raise ModelError(f"{what} {part.path!r} has no file {name!r}. Is the copy complete?")
    reader.check_whole(file)
    return file


def _pinned_file(part: P, file: Path) -> P:
    if Path(part.path).expanduser().exists():
        return part.model_copy(update={"path": str(file.resolve()), "file": None})
    snapshot = file.parents[len(Path(part.file or "").parts) - 1]
    return part.model_copy(update={"revision": snapshot.name})
