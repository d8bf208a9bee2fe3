"""Student, oracle and teacher as plain classes: what a row's result depends on, and what not."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
)

from actors.device_kind import device_kind
from actors.models.autoencoders import autoencoder_difference
from actors.models.file_reader import FileReader
from actors.models.noise_levels import schedule_of
from actors.models.pipeline_files import open_pipeline_files
from actors.models.presets import PRESETS
from actors.models.prompt_cuts import cut_prompts
from actors.models.timesteps import mend
from actors.oracle import Oracle
from actors.refinement import DrawPlan, Refinement
from actors.student import Student
from actors.teacher import Teacher
from tests.models.rows import with_plan

SHAPES = PRESETS["shapes"]
STUDENT = SHAPES.student.model_copy(update={"steps": 2, "batch_size": 4})
TEACHER = SHAPES.teacher.model_copy(update={"batch_size": 3})
PROMPTS = [
    "a small red circle on a gray background",
    "a large blue square on a white background",
    "a small green triangle on a black background",
    "a large yellow ring on a gray background",
]
SEEDS = [11, 22, 33, 44]


@pytest.fixture(scope="module")
def student() -> Student:
    return Student(STUDENT, threads=1)


def make_teacher(strength: float, steps: int, strategy: str = "refine") -> Teacher:
    plan = Refinement(strategy, strength, steps, "latents")  # type: ignore[arg-type]
    return with_plan(Teacher(TEACHER, threads=1), plan)


def test_shapes_and_ranges(student: Student) -> None:
    latents, pictures, facts = student.draw(PROMPTS[:3], SEEDS[:3])
    assert latents.shape == (3, 4, 16, 16)
    assert latents.device.type == "cpu"
    assert pictures.shape == (3, 64, 64, 3)
    assert pictures.dtype == np.uint8
    assert facts.rows == 3
    assert facts.seconds > 0
    assert facts.device == device_kind() != ""


def test_a_row_is_the_same_to_the_bit_whatever_its_batch(student: Student) -> None:
    """Neighbours, the place in the batch and the padding change nothing (threads may)."""
    latents, pictures, _ = student.draw(PROMPTS, SEEDS)
    order = [2, 0, 3, 1]
    shuffled, _, _ = student.draw([PROMPTS[i] for i in order], [SEEDS[i] for i in order])
    alone, picture, _ = student.draw(PROMPTS[2:3], SEEDS[2:3])
    assert torch.equal(shuffled, latents[order])
    assert torch.equal(alone[0], latents[2])
    assert np.array_equal(picture[0], pictures[2])


def test_fewer_rows_at_once_give_the_same_rows_but_for_the_last_bits(student: Student) -> None:
    """As a pool calls it when the device has no room for a batch. Counts stay per row."""
    latents, pictures, facts = student.draw(PROMPTS, SEEDS)
    sizes: list[int] = []
    hook = student.diffusion.pipe.unet.register_forward_pre_hook(
        lambda _module, inputs: sizes.append(len(inputs[0]))
    )
    fewer, smaller, same = student.draw(PROMPTS[:3], SEEDS[:3], micro_batch_size=2)
    hook.remove()
    assert max(sizes) <= 2 * STUDENT.evaluations_per_step
    assert torch.allclose(fewer, latents[:3], atol=1e-4)
    assert np.abs(smaller.astype(int) - pictures[:3].astype(int)).max() <= 1
    assert same.evaluations == facts.evaluations
    assert same.rows == 3


def test_the_seed_and_the_prompt_decide(student: Student) -> None:
    latents, _, _ = student.draw([PROMPTS[0]] * 3, [1, 1, 2])
    assert torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])


@pytest.mark.parametrize("strength", [round(0.05 * n, 2) for n in range(1, 21)])
def test_the_teacher_takes_the_steps_that_it_is_told(strength: float, student: Student) -> None:
    """`teacher_steps` are network steps really taken, from 0.05 to 1."""
    teacher = make_teacher(strength, steps=2)
    calls: list[float] = []
    teacher.diffusion.pipe.unet.register_forward_pre_hook(
        lambda _module, inputs: calls.append(float(inputs[1]))
    )
    latents, _, _ = student.draw(PROMPTS[:1], SEEDS[:1])
    teacher.refine(PROMPTS[:1], SEEDS[:1], [(0, 0)], latents)
    assert len(calls) == 2
    # And it starts where the strength says, within one of these two steps.
    assert abs(calls[0] - 1000 * strength) <= 1000 * strength / 2 + 1


@pytest.mark.parametrize(
    "kind", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler]
)
def test_no_number_of_steps_takes_one_more(kind: type) -> None:
    """diffusers' trailing spacing gives 62 timesteps for 61, the last of them -1."""
    scheduler: Any = kind.from_pretrained(TEACHER.path, subfolder="scheduler")  # type: ignore[attr-defined]
    mend(scheduler)
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == scheduler.num_inference_steps == steps
        assert scheduler.timesteps[-1] >= 0
        sigmas = getattr(scheduler, "sigmas", None)
        assert sigmas is None or (len(sigmas) == steps + 1 and sigmas[-1] == 0)


def test_a_drawing_that_is_no_number_is_told_and_harms_no_neighbour() -> None:
    """As of a network that overflows; with two drawings a row, of which one is spoilt."""
    student = with_plan(Student(STUDENT, threads=1), DrawPlan(2))
    good, _, facts = student.draw(PROMPTS, SEEDS)
    assert facts.permanent_failures == ()
    draw = student.diffusion.draw_anew

    def spoilt(*args: Any) -> torch.Tensor:
        latents = draw(*args)
        latents[3, 0, 0, 0] = float("nan")
        return latents

    student.diffusion.draw_anew = spoilt  # type: ignore[method-assign]
    bad, _, facts = student.draw(PROMPTS, SEEDS)
    ((place, why),) = facts.permanent_failures
    assert place == 1
    assert "not finite numbers" in why
    others = [row for row in range(len(good)) if row != 3]
    assert torch.equal(bad[others], good[others])


def test_a_teachers_numbers_that_are_no_picture_are_reported_and_harm_no_neighbour(
    student: Student,
) -> None:
    """As of a network, or of an autoencoder in float16, that overflows."""
    teacher = make_teacher(0.5, 2)
    latents, _, _ = student.draw(PROMPTS, SEEDS)
    arguments = (PROMPTS, SEEDS, [(0, n) for n in range(4)], latents)
    good, facts = teacher.refine(*arguments)
    assert facts.permanent_failures == ()
    refine = teacher.diffusion.refine

    def spoilt(*args: Any) -> torch.Tensor:
        made = refine(*args)
        made[1] = float("nan")
        return made

    teacher.diffusion.refine = spoilt  # type: ignore[method-assign]
    bad, facts = teacher.refine(*arguments)
    assert facts.permanent_failures == ((1, "the teacher's latents are not finite numbers"),)
    assert np.array_equal(bad[[0, 2, 3]], good[[0, 2, 3]])


def test_pixels_that_overflow_are_reported_of_student_and_teacher(student: Student) -> None:
    """The last row of a padded batch, and of two batches: latents are good, the decoder is not."""
    teacher = make_teacher(0.5, 2)
    latents, good, _ = student.draw(PROMPTS, SEEDS)

    def overflow(_module: object, _inputs: object, pixels: torch.Tensor) -> torch.Tensor:
        overflowing = pixels.clone()
        overflowing[0, 0, 0, 0] = float("inf")
        return overflowing

    hooks = [
        one.diffusion.pipe.vae.decoder.register_forward_hook(overflow) for one in (student, teacher)
    ]
    _, pictures, drawn = student.draw(PROMPTS, SEEDS)
    _, refined = teacher.refine(PROMPTS, SEEDS, [(0, n) for n in range(4)], latents)
    for hook in hooks:
        hook.remove()
    ((place, why),) = drawn.permanent_failures
    assert (place, "the student's pixels are not finite" in why) == (0, True)
    assert [place for place, _ in refined.permanent_failures] == [0, 3], "batches of three"
    assert "the teacher's pixels" in refined.permanent_failures[0][1]
    assert np.array_equal(pictures[1:], good[1:])
    assert student.draw(PROMPTS, SEEDS)[2].permanent_failures == ()


def by_slot(network: torch.nn.Module) -> Any:
    """Let a network add up in another order at each place in its batch, as a GPU's may."""

    def differ(_module: object, _inputs: object, made: Any) -> Any:
        whole = made[0] if isinstance(made, tuple) else made
        other = whole + torch.arange(len(whole)).view(-1, 1, 1, 1) * 1e-2
        return (other, *made[1:]) if isinstance(made, tuple) else other

    return network.register_forward_hook(differ)


@pytest.mark.parametrize("draws", [1, 2])
def test_a_piece_of_a_batch_is_drawn_in_its_slots(draws: int) -> None:
    """Its bits are those of the whole batch where they depend on the place, as on a GPU."""
    student = with_plan(Student(STUDENT, threads=1), DrawPlan(draws))
    pipe = student.diffusion.pipe
    for network in (pipe.unet, pipe.vae.decoder):
        by_slot(network)
    latents, pictures, _ = student.draw(PROMPTS, SEEDS)
    slots = [1, 3]
    piece = ([PROMPTS[row] for row in slots], [SEEDS[row] for row in slots])
    drawings = [row * draws + which for row in slots for which in range(draws)]
    again, same, facts = student.draw(*piece, slots=slots)
    assert torch.equal(again, latents[drawings])
    assert np.array_equal(same, pictures[drawings])
    assert facts.rows == 2
    assert not torch.equal(student.draw(*piece)[0], latents[drawings])
    fewer, _, _ = student.draw(*piece, micro_batch_size=1, slots=slots)
    assert len(fewer) == 2 * draws


@pytest.mark.parametrize("strategy", ["refine", "regenerate"])
@pytest.mark.parametrize("through", ["latents", "pixels"])
def test_a_piece_of_a_batch_is_refined_in_its_slots(
    strategy: str, through: str, student: Student
) -> None:
    teacher = make_teacher(0.5, 2, strategy)
    latents, pictures, _ = student.draw(PROMPTS[:3], SEEDS[:3])
    start = latents if through == "latents" else pictures
    picks = [(0, row) for row in range(3)]
    pipe = teacher.diffusion.pipe
    for network in (pipe.unet, pipe.vae.decoder, pipe.vae.encoder):
        by_slot(network)
    refined, _ = teacher.refine(PROMPTS[:3], SEEDS[:3], picks, start)
    piece = ([PROMPTS[0], PROMPTS[2]], [SEEDS[0], SEEDS[2]], [picks[0], picks[2]], start)
    again, facts = teacher.refine(*piece, slots=[0, 2])
    assert np.array_equal(again, refined[[0, 2]])
    assert facts.rows == 2
    assert not np.array_equal(teacher.refine(*piece)[0], refined[[0, 2]])


def test_a_failure_in_a_piece_of_a_batch_is_the_rows_own(student: Student) -> None:
    """Not that of the slot, nor of a copy that filled an empty one."""

    def overflow(_module: object, _inputs: object, pixels: torch.Tensor) -> torch.Tensor:
        broken = pixels.clone()
        broken[[0, 3]] = float("nan")
        return broken

    hook = student.diffusion.pipe.vae.decoder.register_forward_hook(overflow)
    _, _, facts = student.draw(PROMPTS[:2], SEEDS[:2], slots=[1, 3])
    hook.remove()
    assert [row for row, _ in facts.permanent_failures] == [1]


def test_a_piece_of_a_batch_is_scored_in_its_slots(student: Student) -> None:
    oracle = Oracle(SHAPES.oracle.model_copy(update={"batch_size": 3}), threads=1)
    score: Any = oracle.model.score
    oracle.model.score = lambda texts, shown: [  # type: ignore[method-assign]
        one + place for place, one in enumerate(score(texts, shown))
    ]
    _, pictures, _ = student.draw(PROMPTS, SEEDS)
    picks = [(0, row) for row in range(4)]
    scores, _ = oracle.score(PROMPTS, picks, pictures)
    piece = ([PROMPTS[1], PROMPTS[3]], [picks[1], picks[3]], pictures)
    assert oracle.score(*piece, slots=[1, 3])[0] == [scores[1], scores[3]]
    assert oracle.score(*piece)[0] != [scores[1], scores[3]]


def test_the_threads_of_an_actor_are_set() -> None:
    """Or three actors on two cores would start as many threads each as there are cores."""
    for make in (
        lambda: Student(STUDENT, threads=1),
        lambda: Oracle(SHAPES.oracle, threads=1),
        lambda: Teacher(TEACHER, threads=1),
    ):
        torch.set_num_threads(2)
        make()
        assert torch.get_num_threads() == 1


def test_refinement_starts_from_the_students_latents(student: Student) -> None:
    """At a small strength the picture stays; at a large one it goes."""
    latents, pictures, _ = student.draw(PROMPTS[:3], SEEDS[:3])
    distance = {}
    for strength in (0.05, 1.0):
        picks = [(0, 0), (0, 1), (0, 2)]
        refined, _ = make_teacher(strength, 2).refine(PROMPTS[:3], SEEDS[:3], picks, latents)
        distance[strength] = np.abs(refined.astype(int) - pictures.astype(int)).mean()
    assert distance[0.05] < distance[1.0] / 2


def test_refinement_picks_its_rows_from_several_batches(student: Student) -> None:
    first, _, _ = student.draw(PROMPTS[:2], SEEDS[:2])
    second, _, _ = student.draw(PROMPTS[2:], SEEDS[2:])
    teacher = make_teacher(0.5, 2)
    rows = [1, 3]
    mixed, _ = teacher.refine(
        [PROMPTS[i] for i in rows], [SEEDS[i] for i in rows], [(0, 1), (1, 1)], first, second
    )
    alone, _ = teacher.refine(PROMPTS[3:], SEEDS[3:], [(0, 1)], second)
    assert np.array_equal(mixed[1], alone[0])


def test_regeneration_needs_no_latents_and_has_noise_of_its_own(student: Student) -> None:
    teacher = make_teacher(1.0, 2, "regenerate")
    one, _ = teacher.refine(PROMPTS[:1], SEEDS[:1], [])
    two, _ = teacher.refine(PROMPTS[:1], [99], [])
    assert one.shape == (1, 64, 64, 3)
    assert not np.array_equal(one, two)


def test_the_oracle_scores_each_row_by_itself(student: Student) -> None:
    oracle = Oracle(SHAPES.oracle.model_copy(update={"batch_size": 2}), threads=1)
    _, pictures, _ = student.draw(PROMPTS, SEEDS)
    picks = [(0, n) for n in range(4)]
    scores, facts = oracle.score(PROMPTS, picks, pictures)
    assert facts.rows == len(scores) == 4
    backwards, _ = oracle.score(PROMPTS[::-1], picks[::-1], pictures)
    assert backwards == scores[::-1]
    assert oracle.score(PROMPTS[1:2], [(1, 0)], pictures[:1], pictures[1:2])[0] == scores[1:2]


def test_the_variances_are_those_of_the_schedule() -> None:
    variances = schedule_of(open_pipeline_files(TEACHER)).levels
    assert len(variances) == 1000
    assert variances == sorted(variances)


def test_a_changed_model_file_is_another_model(tmp_path: Path) -> None:
    original = Path(SHAPES.student.path)
    copy = tmp_path / "student"
    copytree(original, copy)

    def same(one: Path, other: Path) -> bool:
        student, teacher = (
            open_pipeline_files(SHAPES.student.model_copy(update={"path": str(path)}))
            for path in (one, other)
        )
        return autoencoder_difference(student, teacher, FileReader()) is None

    assert FileReader().fingerprint(copy) == FileReader().fingerprint(original)
    assert same(copy, Path(SHAPES.teacher.path))
    (copy / "README.md").write_text("documents change no picture")
    assert FileReader().fingerprint(copy) == FileReader().fingerprint(original)
    config = copy / "vae/config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "_diffusers_version": "9"}))
    assert FileReader().fingerprint(copy) != FileReader().fingerprint(original)
    assert same(copy, original), "remarks and layout change no latents"
    config.write_text(json.dumps({**settings, "scaling_factor": 2.0}))
    assert not same(copy, original)
    config.write_text(json.dumps(settings))
    weights = copy / "vae/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert not same(copy, original)


def test_prompts_longer_than_the_student_reads_are_drawn_and_told(student: Student) -> None:
    """The embedded text encoder reads 32 tokens, the first and the last of them marks."""
    words = ["red"] * 40
    prompts = [PROMPTS[0], " ".join(words), " ".join(words[:30]), " ".join(words[:31])]
    latents, _, facts = student.draw(prompts, [1, 1, 1, 1])
    assert facts.truncated == (1, 3)
    assert torch.equal(latents[1], latents[3]), "words beyond the limit are not read"
    _, _, facts = student.draw(["red " * 25_000, PROMPTS[0]], [1, 2])
    assert facts.truncated == (0,)


def test_each_role_says_which_prompts_it_cuts(student: Student) -> None:
    """As a plan says it by the files alone. The embedded oracle reads 32 tokens, too."""
    prompts = [PROMPTS[0], "red " * 40, "red " * 30]
    latents, pictures, _ = student.draw(prompts, [1, 1, 1])
    plan = Refinement("refine", 0.6, 2, "latents")
    teacher = Teacher(SHAPES.teacher.model_copy(update={"steps": 4, "batch_size": 3}), threads=1)
    picks = [(0, 0), (0, 1), (0, 2)]
    assert teacher.refine(prompts, [1, 1, 1], picks, latents, plan=plan)[1].truncated == (1,)
    oracle = Oracle(SHAPES.oracle.model_copy(update={"batch_size": 3}), threads=1)
    assert oracle.score(prompts, picks, pictures)[1].truncated == (1,)
    assert cut_prompts(SHAPES, prompts) == {"student": 1, "oracle": 1, "teacher": 1}
