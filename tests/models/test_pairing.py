"""Jobs of real families, resolved by their files: models that fit, and models that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actors.errors import ModelError, UserError
from actors.models.families import FAMILIES, family_of, shape_of
from actors.models.noise_levels import schedule_of
from actors.models.pipeline_files import open_pipeline_files
from actors.models.presets import PRESETS
from actors.student import Student
from actors.teacher import Teacher
from jobs.identity import _about, identity_of
from jobs.refinement import planned_through
from jobs.resolution import Job, resolve
from jobs.spec.job_spec import make_spec
from tests.models.conftest import Folders, files_for, settings_for

SIZE = {"width": 32, "height": 32}


def job(folders: Folders, home: Path, student: str, teacher: str, **more: Any) -> Job:
    """A job of two tiny pipelines; `more`: fields of the job, and of `a_student`, `a_teacher`."""
    (home / "prompts.txt").write_text("a cat\n")
    usual = {"steps": 2, "guidance_scale": 3.0, "batch_size": 2, **SIZE}
    models = {
        "student": {"path": str(folders(student)), **usual, **more.pop("a_student", {})},
        "oracle": {"path": PRESETS["shapes"].oracle.path, "batch_size": 4},
        "teacher": {"path": str(folders(teacher)), **usual, **more.pop("a_teacher", {})},
    }
    fields = {"input": str(home / "prompts.txt"), "output": str(home / "out"), **more}
    return resolve(make_spec({**fields, "models": models}))


@pytest.mark.parametrize(
    ("student", "teacher", "more", "said"),
    [
        ("sana-sprint", "sana", {}, "no image-to-image pipeline.*SanaPipeline.*regenerate"),
        ("sdxl-refiner", "stable-diffusion-xl", {}, "models.student.*only refines"),
        (
            "stable-diffusion-xl",
            "sdxl-refiner",
            {"strategy": "regenerate"},
            "only refines pictures. Set strategy: refine",
        ),
        (
            "flux",
            "flux",
            {"rollback": {"variance": 0.7}},
            r"rollback\.variance is for x = sqrt.*flow matching",
        ),
        (
            "stable-diffusion",
            "stable-diffusion",
            {"rollback": {"sigma": 0.7}},
            r"rollback\.sigma is for x = \(1-s\)",
        ),
        ("flux", "flux", {"a_teacher": {"prompt_tokens": 513}}, "reads at most 512"),
        (
            "stable-diffusion",
            "stable-diffusion",
            {"a_student": {"prompt_tokens": 64}},
            "has no such choice",
        ),
        (
            "stable-diffusion",
            "stable-diffusion",
            {"a_teacher": {"scheduler": {"options": {"no": 1}}}},
            "has no 'no'",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    folders: Folders, tmp_path: Path, student: str, teacher: str, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        job(folders, tmp_path, student, teacher, **more)


@pytest.mark.parametrize("name", ["stable-diffusion", "flux", "z-image", "qwen-image"])
def test_latents_are_handed_over_where_autoencoder_and_size_are_shared(
    folders: Folders, tmp_path: Path, name: str
) -> None:
    assert job(folders, tmp_path, name, name).refinement.through == "latents"
    larger = {"a_teacher": {"width": 64, "height": 64}}
    assert job(folders, tmp_path, name, name, **larger).refinement.through == "pixels"


def test_pixels_are_handed_over_between_families(folders: Folders, tmp_path: Path) -> None:
    made = job(folders, tmp_path, "stable-diffusion", "stable-diffusion-3")
    assert made.refinement.through == "pixels"


def test_the_refiner_takes_the_base_models_latents(folders: Folders, tmp_path: Path) -> None:
    """Built from one seed, the two have the same autoencoder, as SDXL's have."""
    made = job(folders, tmp_path, "stable-diffusion-xl", "sdxl-refiner")
    assert made.refinement.through == "latents"


def test_a_dataset_has_one_size_at_which_its_pictures_are_scored(
    folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As SDXL-Turbo draws 512 pixels and SDXL 1024; whichever of them is the larger one."""
    name, small = "stable-diffusion-xl", {"width": 16, "height": 16}
    caplog.set_level("INFO")
    made = job(folders, tmp_path, name, name, a_student=small)
    said = "the student draws 16 x 16 and the teacher 32 x 32"
    assert f"{said}: the dataset has 32 x 32" in caplog.text
    assert "the teacher gets the student's pictures: the student draws 16 x 16" in caplog.text
    student = Student(made.spec.models.student)
    latents, pictures, _ = student.draw(["a", "b"], [1, 2], plan=made.draw_plan)
    assert pictures.shape == (2, 32, 32, 3)
    own = student.diffusion.decode(latents)
    for large, little in zip(pictures, own, strict=True):
        wanted = Image.fromarray(little).resize((32, 32), Image.Resampling.LANCZOS)
        assert np.array_equal(large, wanted)
    teacher = Teacher(made.spec.models.teacher)
    refined, _ = teacher.refine(
        ["a", "b"], [1, 2], [(0, 0), (0, 1)], pictures, plan=made.refinement
    )
    assert refined.shape == pictures.shape
    assert _about(made)["refinement"]["size"] == [32, 32]
    other = job(folders, tmp_path, name, name, a_teacher=small, strategy="regenerate")
    anew = Teacher(other.spec.models.teacher)
    pictures, _ = anew.refine(["a"], [1], [], plan=other.refinement)
    assert pictures.shape == (1, 32, 32, 3)
    assert job(folders, tmp_path, name, name).refinement.size is None


def test_a_plan_says_what_the_teacher_gets(folders: Folders, tmp_path: Path) -> None:
    def planned(**models: Any) -> str | None:
        fields = {"input": "-", "output": "-", "models": models}
        return planned_through(make_spec(fields))

    assert planned(preset="shapes") == "the student's latents"
    assert planned(preset="sdxl-lightning") == "the student's latents"
    assert planned(preset="sdxl-turbo") == "the student's pictures: their sizes differ"
    assert "are compared when they are here" in str(planned(preset="sd-turbo"))
    assert planned(preset="sana-sprint") is None
    one, other = (
        {"path": str(folders(name)), "steps": 1, "guidance_scale": 1, "batch_size": 1, **SIZE}
        for name in ("stable-diffusion", "stable-diffusion-xl")
    )
    assert planned(student=one, teacher=other) == (
        "the student's pictures: their autoencoders differ in scaling_factor (0.18215 and 0.13025)"
    )


@pytest.mark.parametrize(
    ("name", "student", "teacher"),
    [("stable-diffusion", 4, 4), ("flux", 2, 2), ("qwen-image", 4, 4), ("z-image", 4, 4)],
)
def test_evaluations_are_planned_as_the_family_takes_them(
    folders: Folders, tmp_path: Path, name: str, student: int, teacher: int
) -> None:
    two = {"steps": 2, "guidance_scale": 3.0}
    made = job(folders, tmp_path, name, name, a_teacher=two, rollback={"strength": 1})
    assert (made.student_nfe, made.teacher_nfe) == (student, teacher)


def test_one_step_of_a_stretched_schedule_is_refused(folders: Folders, tmp_path: Path) -> None:
    """Its only timestep is not a number, and so would be every latent."""
    with pytest.raises(ModelError, match="its timesteps in 1 step are no numbers; take more"):
        job(folders, tmp_path, "qwen-image", "qwen-image", a_teacher={"steps": 1})


def test_turbo_without_guidance_is_planned_with_one_evaluation(
    folders: Folders, tmp_path: Path
) -> None:
    made = job(folders, tmp_path, "z-image", "z-image", a_student={"guidance_scale": 0.0})
    assert made.student_nfe == 2


@pytest.mark.parametrize("name", ["stable-diffusion-3", "flux", "z-image", "qwen-image"])
def test_a_sigma_becomes_the_strength_that_has_it(
    folders: Folders, tmp_path: Path, name: str
) -> None:
    """Through the shift of the schedule, which in SD3 makes sigma 0.75 of strength 0.5."""
    schedule = schedule_of(files_for(folders(name)))
    assert schedule.levels == sorted(schedule.levels)
    made = job(folders, tmp_path, name, name, rollback={"sigma": 0.6})
    strength = made.refinement.strength
    assert schedule.levels[round(strength * 1000) - 1] == pytest.approx(0.6, abs=0.01)
    if name == "stable-diffusion-3":
        assert strength == pytest.approx(0.6 / (3 - 2 * 0.6), abs=0.01)


def test_places_are_no_part_of_a_jobs_identity(folders: Folders, tmp_path: Path) -> None:
    made = job(folders, tmp_path, "flux", "flux", a_student={"scheduler": {"options": {}}})
    identity = identity_of(made)
    assert str(folders("flux")) not in str(identity["spec"])
    assert identity["spec"]["models"]["student"]["scheduler"] is not None


def test_the_size_of_a_model_is_in_its_files(folders: Folders) -> None:
    for name, width in [("stable-diffusion", 16), ("stable-diffusion-3", 16), ("flux", 1024)]:
        assert files_for(folders(name), width=None, height=None).shape.width == width
    with pytest.raises(UserError, match="no size of its own"):
        shape_of(settings_for(Path("-"), width=None), family_of("SanaPipeline", Path()), {}, {})


def test_a_size_that_the_network_cannot_cut_into_patches_is_refused(folders: Folders) -> None:
    """Of real models: 1016 pixels of FLUX, which wants a multiple of 16."""
    settings = settings_for(folders("flux")).model_copy(update={"width": 34})
    files = open_pipeline_files(settings)
    with pytest.raises(UserError, match=r"34 pixels is not a multiple of 4.*Try"):
        _ = files.shape


def test_every_family_has_a_tiny_pipeline(folders: Folders) -> None:
    names = [
        "stable-diffusion", "stable-diffusion-xl", "instruct-pix2pix", "stable-diffusion-3",
        "flux", "flux-kontext", "sana", "sana-sprint", "z-image", "qwen-image", "qwen-image-edit",
    ]  # fmt: skip
    assert [files_for(folders(name)).family for name in names] == list(FAMILIES)
