"""May these two models be student and teacher, and what do they share? By their files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from actors.errors import ModelError, SpecError
from actors.models.checks import read_config
from actors.models.families import (
    Shape,
    draws,
    family_of,
    pipeline_class,
    refines,
    shape_of,
)
from actors.models.folders import same_autoencoder
from actors.models.presets import CATALOGUE
from actors.models.sources import network_folder
from actors.settings import DiffusionSettings, StudentSettings, TeacherSettings

S = TypeVar("S", StudentSettings, TeacherSettings)


def network_config(settings: DiffusionSettings, folder: Path) -> dict[str, Any]:
    """config.json of the UNet or transformer: the pipeline's own, or the one in its place."""
    if settings.denoiser:
        return read_config(network_folder(settings.denoiser, "denoiser") / "config.json")
    return read_config(folder / family_of(folder).denoiser / "config.json")


def model_shape(settings: DiffusionSettings, folder: Path) -> Shape:
    """The shape of the model's pictures. Raises ModelError for one that it cannot draw."""
    return shape_of(settings, folder, network_config(settings, folder))


def fitted(settings: S, folder: Path) -> S:
    """The settings with what only the files say, and refused if these cannot do it."""
    family = family_of(folder)
    model_shape(settings, folder)
    if settings.prompt_tokens and settings.prompt_tokens > (family.most_tokens or 0):
        most = family.most_tokens
        rule = f"reads at most {most}" if most else "has no such choice; leave it out"
        raise ModelError(
            f"prompt_tokens: {settings.prompt_tokens}, and {settings.path!r} ({family.name}) "
            f"{rule}."
        )
    if settings.image_guidance_scale and not family.has_image_guidance:
        raise ModelError(
            f"image_guidance_scale: {settings.path!r} ({family.name}) is not guided by a picture; "
            "leave it out."
        )
    if settings.compile and family.by_row:
        raise ModelError(
            f"compile: the network of {settings.path!r} ({family.name}) is given as many tokens as "
            "the prompt has, and would be compiled again for each length. Leave it out."
        )
    if settings.controlnet:
        _check_controlnet(settings, folder)
    passes = settings.guidance_passes or family.evaluations_per_step(
        settings.guidance_scale, network_config(settings, folder)
    )
    return settings.model_copy(update={"guidance_passes": passes})


def _check_controlnet(settings: DiffusionSettings, folder: Path) -> None:
    """Refuse a network that is no ControlNet, or one of another model. Raises ModelError."""
    assert settings.controlnet is not None
    path, mode = settings.controlnet.path, settings.controlnet.mode
    config = read_config(network_folder(settings.controlnet, "controlnet") / "config.json")
    family = family_of(folder)
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
    # The width of the text that both read; it tells the models of a family apart.
    name = "cross_attention_dim" if family.denoiser == "unet" else "joint_attention_dim"
    own, other = network_config(settings, folder).get(name), config.get(name)
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
    return bool(settings.path) and folder.is_dir() and family_of(folder).instructed


def check_roles(student: Path, teacher: Path, strategy: str, task: str = "generate") -> None:
    """Refuse folders whose pipelines cannot do what the job wants of them."""
    if family_of(student).instructed or family_of(teacher).instructed:
        _check_editors(student, teacher, strategy, task)
        return
    if task == "edit":
        for role, folder in (("student", student), ("teacher", teacher)):
            if not refines(folder):
                raise SpecError(
                    f"task: edit, and diffusers has no image-to-image pipeline for the {role}, a "
                    f"{pipeline_class(folder)}. Choose another model."
                )
        return
    if task == "control":
        for role, folder in (("student", student), ("teacher", teacher)):
            if family_of(folder).controlnet is None:
                raise SpecError(
                    f"task: control, and the {role} is a {pipeline_class(folder)}. ControlNets are "
                    "supported with Stable Diffusion 1, 2 and XL, FLUX.1 and Qwen-Image: choose "
                    "one of these."
                )
        if strategy == "refine" and not family_of(teacher).controlnet_img2img:
            raise SpecError(
                f"strategy: refine, and diffusers has no image-to-image pipeline with a ControlNet "
                f"for the teacher, a {pipeline_class(teacher)}. Set strategy: regenerate."
            )
    if not draws(student):
        raise SpecError(
            f"models.student: a {pipeline_class(student)} only refines pictures, and a student has "
            "to draw. Use it as the teacher."
        )
    if strategy == "refine" and not refines(teacher):
        raise SpecError(
            f"strategy: refine, and diffusers has no image-to-image pipeline for the teacher, a "
            f"{pipeline_class(teacher)}. Set strategy: regenerate."
        )
    if strategy == "regenerate" and not draws(teacher):
        raise SpecError(
            f"strategy: regenerate, and the teacher, a {pipeline_class(teacher)}, only refines "
            "pictures. Set strategy: refine."
        )


def _check_editors(student: Path, teacher: Path, strategy: str, task: str) -> None:
    """Of models of which one at least changes a picture as it is told."""
    if task != "edit":
        raise SpecError(
            f"task: {task}, and a model that follows instructions edits. Set it to edit."
        )
    for role, folder in (("student", student), ("teacher", teacher)):
        if not family_of(folder).instructed:
            raise SpecError(
                f"models.{role}: an editor that follows instructions (make it red) goes with "
                "another such, and not with a model that is told what to paint (a red car)."
            )
    if strategy == "refine" and not refines(teacher):
        raise SpecError(
            f"strategy: refine, and the teacher, a {pipeline_class(teacher)}, starts from noise "
            "only. Set strategy: regenerate."
        )


def share_latents(
    student: StudentSettings, student_folder: Path, teacher: TeacherSettings, teacher_folder: Path
) -> bool:
    """Whether the student's latents can be handed over: one autoencoder, and one size."""
    one, other = model_shape(student, student_folder), model_shape(teacher, teacher_folder)
    variants = (student.variant, teacher.variant)
    return one == other and same_autoencoder(student_folder, teacher_folder, variants)
