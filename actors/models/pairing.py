"""Checks by their files whether two models can be student and teacher, and what they share."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TypeVar

from actors.errors import ModelError, SpecError
from actors.models.autoencoders import autoencoder_difference
from actors.models.checks import INDEX
from actors.models.families import cell_of, family_of
from actors.models.file_reader import FileReader, read_config
from actors.models.pipeline_files import PipelineFiles
from actors.models.presets import CATALOGUE
from actors.settings import DiffusionSettings, TeacherSettings

S = TypeVar("S", bound=DiffusionSettings)

IN_THE_CALL = ("guidance_rescale", "clip_skip")
"""Settings that only some pipelines' calls have."""

CLIP_SKIP_FAILS = ("stable-diffusion", "instruct-pix2pix")
"""Families whose pipelines ask for a part of the text encoder that transformers 5 took away (seen
with diffusers 0.42.1 and transformers 5.23)."""

CLIPS_LAYERS = 12
"""Of a CLIPTextConfig that does not say it: the class's default."""

OF_THE_MODEL = (
    *("_class_name", "in_channels", "out_channels", "cross_attention_dim", "joint_attention_dim"),
    *("pooled_projection_dim", "caption_channels", "cap_feat_dim", "addition_embed_type"),
)
"""Keys of a network's configuration by which one does not fit another model's latents or text."""

READ_IN_WINDOWS = ("stable-diffusion", "stable-diffusion-xl")
"""Families whose prompts CLIP alone reads, so that a long one is read in windows."""

Pipeline = PipelineFiles[DiffusionSettings]


def fitted(pipeline: PipelineFiles[S]) -> S:
    """The settings completed from the files, or refused where the model cannot do what they ask.

    Raises ModelError.
    """
    _ = pipeline.shape  # raises for a size that the model cannot draw
    _check_prompt_tokens(pipeline)
    _check_image_guidance(pipeline)
    _check_compile(pipeline)
    _check_controlnet(pipeline)
    _check_call(pipeline)
    _check_replaced(pipeline)
    if pipeline.settings.prompt_windows > 1 and pipeline.family.name not in READ_IN_WINDOWS:
        raise ModelError(
            f"prompt_windows: {pipeline.settings.path!r} ({pipeline.family.name}) is not read by "
            f"CLIP alone; only {' and '.join(READ_IN_WINDOWS)} are read in windows. Leave it out."
        )
    from actors.models.scheduler_checks import check_scheduler  # imports torch

    check_scheduler(pipeline)
    settings = pipeline.settings
    passes = settings.guidance_passes or pipeline.family.evaluations_per_step(
        settings.guidance_scale, pipeline.network
    )
    return settings.model_copy(update={"guidance_passes": passes})


def _check_prompt_tokens(pipeline: Pipeline) -> None:
    wanted, family = pipeline.settings.prompt_tokens, pipeline.family
    if wanted and wanted > (family.most_tokens or 0):
        most = family.most_tokens
        rule = f"reads at most {most}" if most else "has no such choice; leave it out"
        raise ModelError(
            f"prompt_tokens: {wanted}, and {pipeline.settings.path!r} ({family.name}) {rule}."
        )


def _check_image_guidance(pipeline: Pipeline) -> None:
    family = pipeline.family
    if pipeline.settings.image_guidance_scale and not family.has_image_guidance:
        raise ModelError(
            f"image_guidance_scale: {pipeline.settings.path!r} ({family.name}) is not guided by a "
            "picture; leave it out."
        )


def _check_compile(pipeline: Pipeline) -> None:
    family = pipeline.family
    if pipeline.settings.compile and family.by_row:
        raise ModelError(
            f"compile: the network of {pipeline.settings.path!r} ({family.name}) is given as many "
            "tokens as the prompt has, and would be compiled again for each length. Leave it out."
        )


def _check_call(pipeline: Pipeline) -> None:
    """Refuse arguments that a pipeline's call does not have; it would ignore them silently."""
    settings, family = pipeline.settings, pipeline.family
    names = [name for name in IN_THE_CALL if getattr(settings, name) is not None]
    if not names:
        return
    if settings.clip_skip is not None and family.name in CLIP_SKIP_FAILS:
        raise ModelError(
            f"clip_skip: diffusers cannot leave out layers of {settings.path!r} ({family.name}) "
            "with transformers 5. Leave it out."
        )
    _check_layers(pipeline)
    import diffusers  # takes seconds, and few jobs have these

    kinds = [pipeline.pipeline_class]
    if isinstance(settings, TeacherSettings):
        kinds += [kind for kind in family.image_to_image if kind not in kinds]
    for kind in kinds:
        known = signature(getattr(diffusers, kind).__call__).parameters
        for name in names:
            if name not in known:
                raise ModelError(
                    f"{name}: {kind} of diffusers, which {settings.path!r} needs, does not have "
                    "it. Leave it out."
                )


def _check_layers(pipeline: Pipeline) -> None:
    """Refuse to leave out more layers than CLIP has: diffusers fails in the first batch."""
    skipped, layers = pipeline.settings.clip_skip, []
    for name, (_, kind) in pipeline.folder.components.items():
        if kind.startswith("CLIPText"):
            config = pipeline.folder.configs.get(f"{name}/config.json", {})
            layers.append(int(config.get("num_hidden_layers", CLIPS_LAYERS)))
    # diffusers takes the text behind the layer before those that are left out.
    if skipped is not None and layers and skipped > min(layers) - 1:
        raise ModelError(
            f"clip_skip: {skipped}, and the text encoders of {pipeline.settings.path!r} have "
            f"{min(layers)} layers, of which one has to stay. Give at most {min(layers) - 1}."
        )


def _check_replaced(pipeline: Pipeline) -> None:
    """Refuse a network in the place of the pipeline's own that is one of another model: it would
    fail in the first batch."""
    settings, folder = pipeline.settings, pipeline.folder
    if settings.vae and pipeline.vae:
        own, other = folder.configs.get("vae/config.json", {}), pipeline.vae_config
        channels = [one.get("latent_channels") or one.get("z_dim") for one in (own, other)]
        cells = [cell_of(one) for one in (own, other)]
        for what, (one, another) in (("channels", channels), ("pixels a cell", cells)):
            if one is not None and another is not None and one != another:
                raise ModelError(
                    f"vae: {settings.vae.path!r} makes latents of {another} {what}, and "
                    f"{settings.path!r} has them of {one}: it is one for another model. Choose an "
                    "autoencoder that was made for this one."
                )
    if settings.denoiser and pipeline.denoiser:
        name = pipeline.family.denoiser
        own, other = folder.configs.get(f"{name}/config.json", {}), pipeline.network
        for key in OF_THE_MODEL:
            # A file that was written before a key existed says nothing about it.
            if key in own and key in other and own[key] != other[key]:
                raise ModelError(
                    f"denoiser: {settings.denoiser.path!r} has the {key.strip('_')} "
                    f"{other.get(key)!r}, and that of {settings.path!r} is {own.get(key)!r}: it is "
                    "one for another model. Choose one that was trained from this one."
                )


def _check_controlnet(pipeline: Pipeline) -> None:
    """Refuse a network that is no ControlNet, or one of another model."""
    settings = pipeline.settings
    if settings.controlnet is None:
        return
    assert pipeline.controlnet is not None
    path, mode = settings.controlnet.path, settings.controlnet.mode
    config, family = pipeline.controlnet.config("config.json"), pipeline.family
    kind, wanted = config.get("_class_name"), family.controlnet
    if kind != wanted:
        raise ModelError(
            f"controlnet {path!r} is a {kind}, and {settings.path!r} needs a {wanted}. Choose one "
            "that was trained with this model."
        )
    if config.get("extra_condition_channels"):
        raise ModelError(
            f"controlnet {path!r} is one for inpainting, with a mask, which is no task here. "
            "Choose one that takes a picture alone."
        )
    # The width of the text that both read, by which the models of a family differ.
    name = "cross_attention_dim" if family.denoiser == "unet" else "joint_attention_dim"
    own, other = pipeline.network.get(name), config.get(name)
    if own != other:
        raise ModelError(
            f"controlnet {path!r} reads text {other} wide, and {settings.path!r} has it {own} "
            "wide: it is one for another model. Choose one that was trained with this one."
        )
    modes = config.get("num_mode")
    if modes is None and mode is not None:
        raise ModelError(f"controlnet.mode: {path!r} knows one kind of picture; leave it out.")
    if modes is not None and not (mode is not None and mode < modes):
        raise ModelError(
            f"controlnet.mode: {mode}, and {path!r} knows kinds 0 to {modes - 1}; its card says "
            "which is which."
        )


def follows_instructions(settings: DiffusionSettings) -> bool:
    """Whether a model edits by an instruction, as far as that is known without the hub."""
    if any(
        preset.instructed and settings.path == preset.teacher.path for preset in CATALOGUE.values()
    ):
        return True
    folder = Path(settings.path).expanduser()
    if not settings.path or not folder.is_dir():
        return False
    pipeline = str(read_config(folder / INDEX).get("_class_name"))
    return family_of(pipeline, folder).instructed


REFINES = "strategy: refine (in a ladder, a rung `refine`)"
REGENERATES = "strategy: regenerate (in a ladder, a rung `regenerate`)"


def check_roles(student: Pipeline, teacher: Pipeline, strategy: str, task: str) -> None:
    """Refuse pipelines that cannot do what the job wants of them. Raises SpecError."""
    if student.family.instructed or teacher.family.instructed:
        _check_editors(student, teacher, strategy, task)
    elif task == "edit":
        _check_edit(student, teacher)
    else:
        if task == "control":
            _check_control(student, teacher, strategy)
        _check_draws_and_refines(student, teacher, strategy)


def _check_editors(student: Pipeline, teacher: Pipeline, strategy: str, task: str) -> None:
    """Check models of which at least one edits a picture by an instruction."""
    if task != "edit":
        raise SpecError(
            f"task: {task}, and a model that follows instructions edits. Set it to edit."
        )
    for role, pipeline in (("student", student), ("teacher", teacher)):
        if not pipeline.family.instructed:
            raise SpecError(
                f"models.{role}: an editor that follows instructions (make it red) goes with "
                "another such, and not with a model whose prompts say what to paint (a red car)."
            )
    if strategy == "refine" and not teacher.family.refines:
        raise SpecError(
            f"{REFINES}, and the teacher, a {teacher.pipeline_class}, starts from noise only. Set "
            f"{REGENERATES}."
        )


def _check_edit(student: Pipeline, teacher: Pipeline) -> None:
    for role, pipeline in (("student", student), ("teacher", teacher)):
        if not pipeline.family.refines:
            raise SpecError(
                f"task: edit, and diffusers has no image-to-image pipeline for the {role}, a "
                f"{pipeline.pipeline_class}. Choose another model."
            )


def _check_control(student: Pipeline, teacher: Pipeline, strategy: str) -> None:
    for role, pipeline in (("student", student), ("teacher", teacher)):
        if pipeline.family.controlnet is None:
            raise SpecError(
                f"task: control, and the {role} is a {pipeline.pipeline_class}. ControlNets are "
                "supported with Stable Diffusion 1, 2 and XL, FLUX.1 and Qwen-Image: choose "
                "one of these."
            )
    if strategy == "refine" and not teacher.family.controlnet_img2img:
        raise SpecError(
            f"{REFINES}, and diffusers has no image-to-image pipeline with a ControlNet "
            f"for the teacher, a {teacher.pipeline_class}. Set {REGENERATES}."
        )


def _check_draws_and_refines(student: Pipeline, teacher: Pipeline, strategy: str) -> None:
    if not student.draws:
        raise SpecError(
            f"models.student: a {student.pipeline_class} only refines pictures, and a student has "
            "to draw. Use it as the teacher."
        )
    if strategy == "refine" and not teacher.family.refines:
        raise SpecError(
            f"{REFINES}, and diffusers has no image-to-image pipeline for the teacher, a "
            f"{teacher.pipeline_class}. Set {REGENERATES}."
        )
    if strategy == "regenerate" and not teacher.draws:
        raise SpecError(
            f"{REGENERATES}, and the teacher, a {teacher.pipeline_class}, only refines "
            f"pictures. Set {REFINES}."
        )


def why_pixels(student: Pipeline, teacher: Pipeline, reader: FileReader) -> str | None:
    """Why pictures are handed over, and not the student's latents; None where latents are."""
    one, other = student.shape, teacher.shape
    if one != other:
        sizes = f"{one.width} x {one.height} and the teacher {other.width} x {other.height}"
        return f"the student draws {sizes}" if one.cell == other.cell else "their latents differ"
    return autoencoder_difference(student, teacher, reader)
