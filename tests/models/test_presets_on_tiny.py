"""The presets of real models, with their options, on tiny pipelines of the same classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import diffusers
import huggingface_hub.constants
import pytest
import torch
from typer.testing import CliRunner

from actors.errors import ModelError, SpecError
from actors.models.diffusion import Diffusion
from actors.models.file_reader import FileReader
from actors.models.loading import _place
from actors.models.presets import CATALOGUE, PRESETS
from actors.models.schedulers import CLASSES
from actors.settings import ControlNetSettings, DiffusionSettings
from cluster.cli.models import app
from jobs.refinement import as_planned
from jobs.resolution import resolve
from jobs.spec.job_spec import make_spec
from tests.models.conftest import Folders, files_for, settings_for, skipping
from tests.models.tiny import EDITORS, controlnet

PROMPT, SEED = "a red cat on a mat", 21
TINY = {
    "stable-diffusion-v1-5/": "stable-diffusion",
    "sd2-community/": "stable-diffusion",
    "stabilityai/sd-turbo/": "stable-diffusion",
    "stabilityai/stable-diffusion-xl-refiner": "sdxl-refiner",
    "stabilityai/stable-diffusion-xl": "stable-diffusion-xl",
    "stabilityai/sdxl-turbo/": "stable-diffusion-xl",
    "stabilityai/stable-diffusion-3.5": "stable-diffusion-3",
    "black-forest-labs/FLUX.1-Kontext": "flux-kontext",
    "black-forest-labs/FLUX.1-": "flux",
    "Efficient-Large-Model/Sana_Sprint": "sana-sprint",
    "Efficient-Large-Model/Sana_": "sana",
    "Tongyi-MAI/Z-Image": "z-image",
    "Qwen/Qwen-Image/": "qwen-image",
    "Qwen/Qwen-Image-2512/": "qwen-image",
    "Qwen/Qwen-Image-Edit-2511/": "qwen-image-edit-plus",
    "timbrooks/": "instruct-pix2pix",
}
"""By how a preset's path begins: which tiny pipeline is of its classes."""
REAL = [name for name in CATALOGUE if not name.startswith(("shapes", "timed"))]


def tiny_of(settings: DiffusionSettings) -> str:
    return next(tiny for start, tiny in TINY.items() if f"{settings.path}/".startswith(start))


def cases() -> dict[str, tuple[str, DiffusionSettings]]:
    """Every model of a preset that sets its scheduler, each combination once."""
    found: dict[str, tuple[str, DiffusionSettings]] = {}
    for name in REAL:
        preset = CATALOGUE[name]
        for role, settings in (("student", preset.student), ("teacher", preset.teacher)):
            tiny = tiny_of(settings)
            settings_key = f"{tiny}, {settings.scheduler}, {settings.guidance_scale}"
            if settings.scheduler and tiny not in EDITORS:
                found.setdefault(f"{role}: {settings_key}", (f"{name} {role} {tiny}", settings))
    return {label: (label.split()[-1], settings) for label, settings in found.values()}


CASES = cases()


def plain(folder: Path, settings: DiffusionSettings) -> Any:
    """diffusers' pipeline with the preset's scheduler, as its documentation puts one in."""
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    wanted = settings.scheduler
    assert wanted is not None
    kind = getattr(diffusers, CLASSES[wanted.name]) if wanted.name else type(pipe.scheduler)
    pipe.scheduler = kind.from_config(pipe.scheduler.config, **wanted.options)
    return pipe


@pytest.mark.parametrize("case", CASES)
def test_a_presets_scheduler_draws_and_refines_as_diffusers_does(
    case: str, folders: Folders
) -> None:
    tiny, settings = CASES[case]
    scheduler = settings.scheduler
    assert scheduler is not None
    model = Diffusion(
        settings_for(
            folders(tiny),
            batch_size=2,
            steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            scheduler=scheduler,
        )
    )
    arguments: dict[str, Any] = {"guidance_scale": settings.guidance_scale}
    if tiny == "qwen-image":
        arguments = {"true_cfg_scale": settings.guidance_scale}
    if scheduler.eta is not None:
        arguments["eta"] = scheduler.eta
    pipe = plain(folders(tiny), settings)
    if "student" in case:
        steps = {"num_inference_steps": settings.steps}
        if scheduler.timesteps:
            steps = {"timesteps": list(scheduler.timesteps)}  # type: ignore[dict-item]
        ours = model.draw([PROMPT], [SEED], settings.steps)
        arguments |= {"width": 32, "height": 32, **steps}
    else:
        start = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(4))
        ours = model.refine([PROMPT], [SEED], start, 0.6, 7)
        pipe = diffusers.AutoPipelineForImage2Image.from_pipe(pipe)
        arguments |= {"image": start, **skipping(model, 0.6, 7)}
    passes = model.family.evaluations_per_step(settings.guidance_scale, dict(model.denoiser.config))
    assert model.evaluations == passes * (settings.steps if "student" in case else 7)
    theirs = pipe(
        PROMPT, generator=torch.Generator().manual_seed(SEED), output_type="latent", **arguments
    ).images
    assert float((ours - model._unpacked(theirs)).abs().max()) < 1e-3


@pytest.mark.parametrize("name", REAL)
def test_a_plan_knows_of_a_preset_what_its_files_say(
    name: str, folders: Folders, tmp_path: Path
) -> None:
    """The teacher's start and the evaluations of a step are planned without fetching a model."""
    (tmp_path / "rows.csv").write_text("prompt,picture\na,1.png\n")
    fields: dict[str, Any] = {"input": str(tmp_path / "rows.csv"), "output": str(tmp_path / "out")}
    if CATALOGUE[name].instructed:
        fields |= {"task": "edit", "image_column": "picture"}
    if CATALOGUE[name].student.controlnet:
        fields |= {"task": "control", "image_column": "picture"}
    planned = make_spec({**fields, "models": name})
    models: dict[str, Any] = {"oracle": PRESETS["shapes"].oracle.model_dump()}
    for role in ("student", "teacher"):
        settings = getattr(planned.models, role)
        here = {"path": str(folders(tiny_of(settings))), "width": 64, "height": 64}
        left_out = ("guidance_passes", "lora", "denoiser", "variant")
        changes: dict[str, Any] = here | dict.fromkeys(left_out)
        if settings.controlnet:
            network = controlnet(folders(tiny_of(settings)), tmp_path / role)
            changes["controlnet"] = ControlNetSettings(path=str(network))
        models[role] = settings.model_copy(update=changes).model_dump()
    how = {"strategy": planned.strategy}
    if planned.rollback:
        how["rollback"] = planned.rollback.model_dump(exclude_none=True)
    job = resolve(make_spec({**fields, **how, "models": models}))
    expected = replace(job.refinement, through="latents", start=None, size=None)
    assert as_planned(planned) == (expected,)
    for role in ("student", "teacher"):
        real, known = getattr(job.spec.models, role), getattr(planned.models, role)
        if known.denoiser is None:  # that of LCM-SDXL has its guidance as an input
            assert known.evaluations_per_step == real.evaluations_per_step


# ---- from the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, and no hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def in_cache(hub: Path, name: str, folder: Path, commit: str) -> None:
    """As `snapshot_download` leaves a model's files."""
    home = hub / f"models--{name.replace('/', '--')}"
    copytree(folder, home / "snapshots" / commit)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)


def test_a_hub_id_is_pinned_to_its_commit_and_loads(hub: Path, folders: Folders) -> None:
    """So that a resumed job, and every actor, has the same files."""
    commit = "ab" * 20
    in_cache(hub, "owner/tiny", folders("stable-diffusion"), commit)
    local, snapshot = files_for(folders("stable-diffusion")), files_for(Path("owner/tiny"))
    found = snapshot.settings
    assert (found.path, found.revision) == ("owner/tiny", commit)
    assert snapshot.fingerprint(FileReader()) == local.fingerprint(FileReader())
    (hub / "models--owner--tiny/refs/main").write_text("cd" * 20)  # it moved on since
    ours = Diffusion(found.model_copy(update={"batch_size": 1})).draw([PROMPT], [SEED], 2)
    again = Diffusion(local.settings.model_copy(update={"batch_size": 1})).draw([PROMPT], [SEED], 2)
    assert torch.equal(ours, again)


def test_a_hub_id_that_is_not_there_says_so(hub: Path) -> None:
    with pytest.raises(
        ModelError,
        match="is no folder here, and it was not fetched before HF_HUB_OFFLINE",
    ):
        files_for(Path("owner/none"))


# ---- where weights lie


@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
def test_weights_go_where_the_option_says(offload: str) -> None:
    """By diffusers' own methods; there is no GPU here to see more of it."""
    called: list[str] = []
    pipe = SimpleNamespace(
        to=lambda device: called.append(f"to {device}"),
        enable_model_cpu_offload=lambda device: called.append(f"model {device}"),
        enable_sequential_cpu_offload=lambda device: called.append(f"sequential {device}"),
    )
    settings = settings_for(Path("-"), offload=offload)
    _place(pipe, settings, torch.device("cuda"))
    assert called == [f"{'to' if offload == 'none' else offload} cuda"]


def test_a_refinement_frees_what_it_put_on_the_gpu(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers' image-to-image, which shares the models, does not know that they are offloaded."""
    model = Diffusion(settings_for(folders("stable-diffusion"), batch_size=1))
    freed: list[None] = []
    monkeypatch.setattr(model.pipe, "maybe_free_model_hooks", lambda: freed.append(None))
    model.refine([PROMPT] * 2, [SEED] * 2, torch.zeros(2, 4, 16, 16), 0.5, 2)
    assert len(freed) == 2, "after each batch"


# ---- the command


def test_the_command_lists_every_preset_with_its_licences() -> None:
    shown = CliRunner().invoke(app, [])
    assert shown.exit_code == 0
    listed = {line.partition(" ")[0] for line in shown.output.splitlines()}
    assert set(CATALOGUE) <= listed
    for name, preset in CATALOGUE.items():
        page = CliRunner().invoke(app, ["show", name]).output
        assert all(source.licence in page for source in preset.sources)


def test_the_command_shows_why_options_are_on_and_off() -> None:
    shown = CliRunner().invoke(app, ["show", "z-image-turbo"])
    assert shown.exit_code == 0, shown.output
    assert "dtype: bfloat16, as published\n" in shown.output
    assert "compile is off (student and teacher): refused: every length of a prompt" in shown.output
    assert "offload is off (student and teacher): " in shown.output
    assert isinstance(CliRunner().invoke(app, ["show", "z"]).exception, SpecError)


def test_the_command_checks_a_presets_files_and_loads_them() -> None:
    shown = CliRunner().invoke(app, ["check", "shapes-control"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("files complete") == 3
    assert shown.output.count("stable-diffusion, 64 x 64") == 2


def test_the_command_names_missing_files(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(copytree(folders("stable-diffusion"), tmp_path / "half"))
    next((folder / "unet").glob("*.safetensors")).unlink()
    half = CATALOGUE["shapes"].model_copy(
        update={"student": PRESETS["shapes"].student.model_copy(update={"path": str(folder)})}
    )
    monkeypatch.setitem(CATALOGUE, "half", half)
    end = CliRunner().invoke(app, ["check", "half"])
    assert end.exit_code != 0
    assert isinstance(end.exception, ModelError)
    assert "unet" in str(end.exception)
