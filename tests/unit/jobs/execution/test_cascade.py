"""The cascade, carried out in every order that Hypothesis thinks of, with and without faults."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.execution.active_part import picks
from jobs.execution.calls import Abandon, Call, Done, Failed, Instruction, Lost, Release
from jobs.execution.cascade import MAX_BLAMELESS_FAILURES, Cascade
from jobs.execution.part_rows import Groups
from jobs.execution.row_set import sets_of_equals
from jobs.execution.row_state import State, best_draws
from jobs.execution.stages import STAGES, OutputKind, Stage, Step
from jobs.rules import Rules


@dataclass
class World:
    """Carries calls out at once or never, and watches the object store that they share."""

    cascade: Cascade
    draw_scores: list[list[float]]
    """Of each row's drawings."""
    teacher_scores: list[float]
    poison: dict[int, Stage] = field(default_factory=dict)
    more_poison: dict[int, Stage] = field(default_factory=dict)
    not_finite: set[int] = field(default_factory=set)
    """Rows of which the teacher can make no picture."""
    todo: list[Call] = field(default_factory=list)
    stored: set[tuple[Call, OutputKind]] = field(default_factory=set)
    done_calls: Counter[Call] = field(default_factory=Counter)
    slots: dict[tuple[Step, int], int] = field(default_factory=dict)
    """By step and row: the slot in which the row was computed first."""
    abandoned: str | None = None

    @property
    def student_scores(self) -> list[float]:
        """Of each row's best drawing."""
        return [max(each) for each in self.draw_scores]

    def carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Call():
                    needed = self.cascade.outputs.input_of(instruction.step)
                    for source in instruction.sources:
                        assert (source, needed) in self.stored, f"{instruction} lacks {source}"
                    assert instruction not in self.todo, f"{instruction} was sent twice"
                    self.todo.append(instruction)
                case Release(call, output):
                    self.stored.remove((call, output))
                case Abandon(reason):
                    self.abandoned = reason

    def completion(self, call: Call) -> None:
        self.todo.remove(call)
        if any(call.stage in (self.poison.get(r), self.more_poison.get(r)) for r in call.rows):
            self.carry_out(self.cascade.handle(Failed(call, "poison")))
            return
        self.check_picks(call)
        self.check_slots(call)
        self.done_calls[call] += 1
        self.stored |= {(call, output) for output in STAGES[call.stage].outputs}
        permanent_failures = tuple((row, "not finite") for row in self.unmade(call))
        self.carry_out(self.cascade.handle(Done(call, self.scores(call), permanent_failures)))

    def scores(self, call: Call) -> tuple[float, ...]:
        """What the oracle says."""
        if call.stage is Stage.SCORE_DRAWN:
            return tuple(score for row in call.rows for score in self.draw_scores[row])
        if call.stage is Stage.SCORE_REFINED:
            return tuple(self.teacher_scores[row] for row in call.rows)
        return ()

    def unmade(self, call: Call) -> list[int]:
        """Rows of which a call makes no picture."""
        return [row for row in call.rows if call.stage is Stage.REFINE and row in self.not_finite]

    def check_slots(self, call: Call) -> None:
        """A row is computed in the slot of its batch, however often, and with whomever."""
        batch, rules = STAGES[call.stage].slots_of, self.cascade.rules
        if batch is None:
            assert call.slots is None
            return
        slots = call.slots or tuple(range(len(call.rows)))
        assert len(slots) == len(call.rows)
        assert list(slots) == sorted(set(slots))
        size = rules.student_batch if batch is Stage.DRAW else rules.teacher_batch
        assert slots[-1] < size
        for row, slot in zip(call.rows, slots, strict=True):
            assert self.slots.setdefault((Step(batch, call.attempt), row), slot) == slot

    def check_picks(self, call: Call) -> None:
        """Each row has the output of its own drawing: all of them to be scored, then the best."""
        draws = self.cascade.rules.draws
        made = [
            [
                (row, which)
                for row in source.rows
                for which in range(draws if source.stage is Stage.DRAW else 1)
            ]
            for source in call.sources
        ]
        found = [made[which][place] for which, place in picks(self.cascade, call)]
        if found and call.stage is Stage.SCORE_DRAWN:
            assert found == [(row, which) for row in call.rows for which in range(draws)]
        elif found:
            from_student = call.sources[0].stage is Stage.DRAW
            best = [each.index(max(each)) for each in self.draw_scores]
            assert found == [(row, best[row] if from_student else 0) for row in call.rows]

    def fail(self, call: Call, blame: bool) -> None:
        self.todo.remove(call)
        self.carry_out(self.cascade.handle(Failed(call, "killed", blame=blame)))

    def lose(self, call: Call, output: OutputKind) -> None:
        """The output is gone, and every call that was about to read it fails."""
        self.stored.discard((call, output))
        self.carry_out(self.cascade.handle(Lost(call, output)))
        for waiting in list(self.todo):
            if call in waiting.sources and self.cascade.outputs.input_of(waiting.step) is output:
                self.fail(waiting, blame=False)


@st.composite
def row_groups(draw: st.DrawFn, num_rows: int) -> Groups:
    """Rows of up to three sizes, and with up to two guidance scales of the teacher's beside."""
    size, scale = (
        draw(st.lists(st.integers(0, most), min_size=num_rows, max_size=num_rows))
        for most in (draw(st.integers(0, 2)), draw(st.integers(0, 1)))
    )
    return Groups(sets_of_equals(size), sets_of_equals(list(zip(size, scale, strict=True))))


def batches_of(rows: Sequence[int], groups: Sequence[int], size: int) -> set[tuple[int, ...]]:
    """The batches of some rows, by definition. groups: sets of rows."""
    found = set()
    for group in groups:
        those = [row for row in rows if group >> row & 1]
        found |= {tuple(those[i : i + size]) for i in range(0, len(those), size)}
    return found


@st.composite
def worlds(
    draw: st.DrawFn, poisoned: bool = False, not_finite: bool = False, twice: bool = False
) -> World:
    """`twice`: a row may break two stages."""
    num_rows = draw(st.integers(1, 24))
    scores = st.lists(
        st.floats(0, 1, allow_nan=False).map(lambda x: round(x, 1)),
        min_size=num_rows,
        max_size=num_rows,
    )
    rules = Rules.pair(
        threshold=draw(st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.1])),
        student_batch=draw(st.integers(1, 6)),
        teacher_batch=draw(st.integers(1, 6)),
        strategy=draw(st.sampled_from(["refine", "regenerate"])),
        through=draw(st.sampled_from(["latents", "pixels"])),
        keep=draw(st.sampled_from(["teacher", "best"])),
        save_student=draw(st.booleans()),
        draws=draw(st.integers(1, 3)),
    )
    rows = st.integers(0, num_rows - 1)
    invalid_rows = draw(st.dictionaries(rows, st.just("the prompt is empty"), max_size=4))
    stages = st.sampled_from([s for s in Stage if s is not Stage.COMMIT])
    return World(
        Cascade(num_rows, rules, invalid_rows, groups=draw(row_groups(num_rows))),
        draw_scores=[
            list(each) for each in zip(*(draw(scores) for _ in range(rules.draws)), strict=True)
        ],
        teacher_scores=draw(scores),
        poison=draw(st.dictionaries(rows, stages, max_size=3)) if poisoned else {},
        more_poison=draw(st.dictionaries(rows, stages, max_size=6)) if twice else {},
        not_finite=draw(st.sets(rows)) if not_finite else set(),
    )


def expected(world: World, row: int) -> tuple[State, str | None]:
    """What the paper and the job file say of a row: the definition, without any machinery."""
    rules = world.cascade.rules
    if world.student_scores[row] >= rules.threshold:
        return State.ACCEPTED, "student"
    if row in world.not_finite:
        return State.REJECTED, "student"
    best = rules.ladder[-1].keep == "best" and world.student_scores[row] > world.teacher_scores[row]
    return State.REJECTED, "student" if best else "teacher"


def run(world: World, data: st.DataObject) -> None:
    world.carry_out(world.cascade.start())
    while world.todo:
        world.completion(world.todo[data.draw(st.integers(0, len(world.todo) - 1))])


@given(worlds(), st.data())
def test_every_row_is_decided_once_in_any_order(world: World, data: st.DataObject) -> None:
    invalid_rows = {n for n, row in enumerate(world.cascade.rows) if row.state is State.FAILED}
    run(world, data)
    assert world.cascade.done
    for number, row in enumerate(world.cascade.rows):
        if number in invalid_rows:
            assert row.error == "the prompt is empty"
        else:
            assert (row.state, row.source) == expected(world, number)
    for stage in (Stage.DRAW, Stage.SCORE_DRAWN, Stage.REFINE):
        rows = [
            row for call in world.done_calls.elements() if call.stage is stage for row in call.rows
        ]
        assert len(rows) == len(set(rows)), f"{stage} did a row twice"


@given(worlds(not_finite=True), st.data())
def test_a_row_of_which_the_teacher_makes_no_picture_keeps_the_students(
    world: World, data: st.DataObject
) -> None:
    """Released or not, whatever `keep` says; nothing scores or encodes the teacher's."""
    run(world, data)
    assert world.cascade.done
    kept = {
        n
        for n, row in enumerate(world.cascade.rows)
        if row.state is State.REJECTED and n in world.not_finite
    }
    for number, row in enumerate(world.cascade.rows):
        if row.state is not State.FAILED:
            assert (row.state, row.source) == expected(world, number)
    assert all(world.cascade.rows[row].teacher_score is None for row in kept)
    assert world.cascade.num_unrefinable == len(kept)
    for stage in (Stage.SCORE_REFINED, Stage.ENCODE_REFINED):
        assert not any(kept & set(call.rows) for call in world.done_calls if call.stage is stage)
    encoded = [
        row
        for call in world.done_calls.elements()
        if call.stage is Stage.ENCODE_DRAWN
        for row in call.rows
    ]
    assert len(encoded) == len(set(encoded))
    assert kept <= set(encoded)


@given(worlds(), st.data())
def test_batches_do_not_depend_on_the_order(world: World, data: st.DataObject) -> None:
    rules = world.cascade.rules
    usable = [n for n, row in enumerate(world.cascade.rows) if row.state is State.WAITING]
    rejected = [n for n in usable if world.student_scores[n] < rules.threshold]
    run(world, data)
    groups = world.cascade.groups
    drawn = {call.rows for call in world.done_calls if call.stage is Stage.DRAW}
    refined = {call.rows for call in world.done_calls if call.stage is Stage.REFINE}
    assert drawn == batches_of(usable, groups.student, rules.student_batch)
    assert refined == batches_of(rejected, groups.teacher, rules.teacher_batch)


@given(worlds(not_finite=True), st.data())
def test_nothing_is_held_when_the_part_is_done(world: World, data: st.DataObject) -> None:
    run(world, data)
    assert world.cascade.outputs.held == frozenset()
    assert world.stored == set()


@given(worlds(not_finite=True), st.data())
def test_pixels_do_not_wait_for_the_part(world: World, data: st.DataObject) -> None:
    """When only the commit is left, every picture and latent has been released."""
    world.carry_out(world.cascade.start())
    while world.todo != [call for call in world.todo if call.stage is Stage.COMMIT]:
        others = [call for call in world.todo if call.stage is not Stage.COMMIT]
        world.completion(others[data.draw(st.integers(0, len(others) - 1))])
    assert {output for _, output in world.stored} <= {OutputKind.FILES}


@settings(max_examples=300)
@given(worlds(not_finite=True), st.data())
def test_faults_change_no_decision(world: World, data: st.DataObject) -> None:
    """Actors die, references are lost, completions come twice: the rows end as without faults."""
    invalid_rows = {n for n, row in enumerate(world.cascade.rows) if row.state is State.FAILED}
    world.carry_out(world.cascade.start())
    faults = 0
    while world.todo:
        call = world.todo[data.draw(st.integers(0, len(world.todo) - 1))]
        fault = data.draw(st.sampled_from(["none", "none", "kill", "lose", "twice"]))
        faults += fault != "none"
        if fault == "kill" and faults < 60:
            world.fail(call, blame=data.draw(st.booleans()) and call.stage is not Stage.COMMIT)
        elif fault == "lose" and world.stored and faults < 60:
            lost = sorted(world.stored, key=lambda s: (s[0].stage, s[0].rows, s[1]))
            world.lose(*lost[data.draw(st.integers(0, len(lost) - 1))])
        elif fault == "twice" and world.done_calls:
            before = world.cascade.outputs.held
            twice = next(iter(world.done_calls))
            if twice not in world.todo:
                assert world.cascade.handle(Done(twice, (0.0,) * len(twice.rows))) == []
                assert world.cascade.outputs.held == before
        else:
            world.completion(call)
    assert world.cascade.done
    assert world.stored == set()
    for number, row in enumerate(world.cascade.rows):
        # A call that was blamed too often for the deaths of its actor may give a row up.
        if number not in invalid_rows and row.state is not State.FAILED:
            assert (row.state, row.source) == expected(world, number)


@settings(max_examples=300)
@given(worlds(poisoned=True, not_finite=True), st.data())
def test_a_poison_row_fails_alone(world: World, data: st.DataObject) -> None:
    invalid_rows = {n for n, row in enumerate(world.cascade.rows) if row.state is State.FAILED}
    reached = {
        row
        for row, stage in world.poison.items()
        if row not in invalid_rows and _reaches(world, row, stage)
    }
    run(world, data)
    assert world.cascade.done
    assert world.stored == set()
    failed = {n for n, row in enumerate(world.cascade.rows) if row.state is State.FAILED}
    assert failed == invalid_rows | reached
    for row in reached:
        assert world.cascade.rows[row].error == f"{world.poison[row]}: poison"


def _reaches(world: World, row: int, stage: Stage) -> bool:
    rules = world.cascade.rules
    state, source = expected(world, row)
    accepted = state is State.ACCEPTED
    match stage:
        case Stage.DRAW | Stage.SCORE_DRAWN:
            return True
        case Stage.REFINE:
            return not accepted
        case Stage.SCORE_REFINED:
            return not accepted and row not in world.not_finite
        case Stage.ENCODE_DRAWN:
            return source == "student" or rules.save_student
        case _:
            return source == "teacher"


def test_teacher_starts_before_the_part_is_drawn() -> None:
    rules = Rules.pair(threshold=0.5, student_batch=2, teacher_batch=2)
    world = World(Cascade(8, rules), [[0.1]] * 8, [0.9] * 8)
    world.carry_out(world.cascade.start())
    world.completion(Call(Stage.DRAW, (0, 1)))
    world.completion(Call(Stage.SCORE_DRAWN, (0, 1)))
    assert Call(Stage.REFINE, (0, 1)) in world.todo
    assert Call(Stage.DRAW, (6, 7)) in world.todo


def test_rejected_rows_wait_unbatched_until_their_batch_is_certain() -> None:
    """Rows 2 and 3 are judged first; only rows 0 and 1 say who is in which batch."""
    rules = Rules.pair(threshold=0.5, student_batch=2, teacher_batch=3)
    world = World(Cascade(6, rules), [[0.1]] * 6, [0.9] * 6)
    world.carry_out(world.cascade.start())
    for rows, unbatched in (((2, 3), 2), ((0, 1), 1), ((4, 5), 0)):
        world.completion(Call(Stage.DRAW, rows))
        world.completion(Call(Stage.SCORE_DRAWN, rows))
        assert world.cascade.num_unbatched == unbatched
    assert [call.rows for call in world.todo if call.stage is Stage.REFINE] == [
        (0, 1, 2),
        (3, 4, 5),
    ]


def test_a_commit_that_keeps_failing_abandons_the_part() -> None:
    rules = Rules.pair(threshold=0.5, student_batch=2, teacher_batch=2, max_attempts=2)
    world = World(Cascade(2, rules), [[0.9]] * 2, [0.9] * 2)
    world.carry_out(world.cascade.start())
    while not any(call.stage is Stage.COMMIT for call in world.todo):
        world.completion(world.todo[0])
    world.fail(world.todo[0], blame=True)
    assert world.abandoned is None
    world.fail(world.todo[0], blame=True)
    assert world.abandoned == "killed"


@pytest.mark.parametrize("keep", ["teacher", "best"])
def test_a_tie_keeps_the_teacher(keep: str) -> None:
    rules = Rules.pair(threshold=0.5, student_batch=1, teacher_batch=1, keep=keep)  # type: ignore[arg-type]
    world = World(Cascade(1, rules), [[0.4]], [0.4])
    world.carry_out(world.cascade.start())
    while world.todo:
        world.completion(world.todo[0])
    assert world.cascade.rows[0].source == "teacher"


@given(worlds(), st.data())
def test_a_killed_actor_costs_its_own_call_and_no_other(world: World, data: st.DataObject) -> None:
    """What a running call reads is kept until it is back, so that nothing else is made again."""
    world.carry_out(world.cascade.start())
    kills = 0
    while world.todo:
        call = world.todo[data.draw(st.integers(0, len(world.todo) - 1))]
        if kills < 30 and data.draw(st.booleans()):
            kills += 1
            world.fail(call, blame=False)
        else:
            world.completion(call)
    assert set(world.done_calls.values()) == {1}


def test_a_rejected_row_that_fails_keeps_its_place_in_the_teachers_batch() -> None:
    """Or the batches would depend on whether it failed before or after the rows in front of it."""
    for early in (True, False):
        world = failing_in_an_encoding(early)
        refined = {call.rows for call in world.done_calls if call.stage is Stage.REFINE}
        assert refined == {(0, 1), (2, 3)}


def test_a_failed_rows_columns_do_not_depend_on_when_it_failed() -> None:
    """Its encoding, with `save_student`, fails before the teacher begins, or after it is done."""
    early, late = (failing_in_an_encoding(early).cascade for early in (True, False))
    assert early.rows == late.rows
    row = early.rows[1]
    assert (row.error, row.teacher_score) == ("encode drawn: poison", 0.9)
    assert early.spent(1) == late.spent(1) == [Step(Stage.DRAW), Step(Stage.REFINE)]


def failing_in_an_encoding(early: bool) -> World:
    rules = Rules.pair(
        threshold=0.5, student_batch=1, teacher_batch=2, save_student=True, max_attempts=1
    )
    world = World(Cascade(4, rules), [[0.1]] * 4, [0.9] * 4, poison={1: Stage.ENCODE_DRAWN})
    world.carry_out(world.cascade.start())
    first = [Call(stage, (1,)) for stage in (Stage.DRAW, Stage.SCORE_DRAWN, Stage.ENCODE_DRAWN)]
    for call in first if early else []:
        world.completion(call)
    while world.todo:
        encoding = [call for call in world.todo if call.stage is Stage.ENCODE_DRAWN]
        others = [call for call in world.todo if call not in encoding]
        world.completion((others or encoding)[0])
    return world


@settings(max_examples=300)
@given(worlds(poisoned=True, not_finite=True, twice=True), st.data())
def test_two_orders_of_the_same_events_give_the_same_rows(
    world: World, data: st.DataObject
) -> None:
    """Failed rows too: reason, scores and evaluations, and the batches that were drawn."""
    invalid = {n: row.error for n, row in enumerate(world.cascade.rows) if row.error}
    again = replace(
        world,
        cascade=Cascade(
            world.cascade.num_rows, world.cascade.rules, invalid, groups=world.cascade.groups
        ),
        todo=[], stored=set(), done_calls=Counter(),
    )  # fmt: skip
    for each in (world, again):
        run(each, data)
    assert world.cascade.rows == again.cascade.rows
    numbers = range(world.cascade.num_rows)
    assert [*map(world.cascade.spent, numbers)] == [*map(again.cascade.spent, numbers)]


@pytest.mark.parametrize("stage", [Stage.SCORE_DRAWN, Stage.SCORE_REFINED])
def test_a_score_that_is_no_number_fails_its_row_alone(stage: Stage) -> None:
    rules = Rules.pair(threshold=0.5, student_batch=2, teacher_batch=2)
    student = [math.nan if stage is Stage.SCORE_DRAWN else 0.1, 0.2]
    world = World(Cascade(2, rules), [[one] for one in student], [math.inf, 0.9])
    world.carry_out(world.cascade.start())
    while world.todo:
        world.completion(world.todo[0])
    assert world.cascade.done
    assert world.stored == set()
    gave = math.nan if stage is Stage.SCORE_DRAWN else math.inf
    assert world.cascade.rows[0].error == f"{stage}: the oracle gave {gave}, which is no score"
    assert world.cascade.rows[1].source == "teacher"


def test_bad_luck_without_end_is_blamed_in_the_end() -> None:
    world = World(
        Cascade(1, Rules.pair(threshold=0.5, student_batch=1, teacher_batch=1)), [[0.9]], [0.9]
    )
    world.carry_out(world.cascade.start())
    for _ in range(MAX_BLAMELESS_FAILURES + world.cascade.rules.max_attempts):
        world.fail(Call(Stage.DRAW, (0,)), blame=False)
    assert world.cascade.rows[0].state is State.FAILED


def test_the_best_drawing_is_the_first_of_equals_and_never_one_without_a_score() -> None:
    nan = math.nan
    scores = (0.1, 0.9, 0.2, 0.5, 0.5, 0.1, nan, -3.0, nan, nan, nan, nan)
    assert best_draws(scores, 3) == [1, 0, 1, 0]


def test_a_row_fails_only_if_none_of_its_drawings_has_a_score() -> None:
    cascade = Cascade(2, Rules.pair(threshold=0.5, student_batch=2, teacher_batch=2, draws=2))
    (draw,) = cascade.start()
    assert isinstance(draw, Call)
    (score,) = cascade.handle(Done(draw))
    assert isinstance(score, Call)
    cascade.handle(Done(score, (math.nan, 0.7, math.nan, math.inf)))
    good, bad = cascade.rows
    assert (good.state, good.student_score) == (State.ACCEPTED, 0.7)
    assert bad.error == "score drawn: the oracle gave nan, which is no score"


@given(worlds(), st.data())
def test_a_hopeless_row_fails_at_once_and_its_neighbours_end_as_ever(
    world: World, data: st.DataObject
) -> None:
    """Nothing is repeated or halved for it, and nothing asks for what was made of it."""
    num_rows = world.cascade.num_rows
    permanent_failures = data.draw(st.sets(st.integers(0, num_rows - 1), max_size=3))
    invalid_rows = {n for n, row in enumerate(world.cascade.rows) if row.state is State.FAILED}
    world.carry_out(world.cascade.start())
    while world.todo:
        call = world.todo[data.draw(st.integers(0, len(world.todo) - 1))]
        if call.stage is not Stage.DRAW:
            assert not permanent_failures & set(call.rows) or call.stage is Stage.COMMIT
            world.completion(call)
            continue
        world.todo.remove(call)
        world.done_calls[call] += 1
        world.stored |= {(call, output) for output in STAGES[call.stage].outputs}
        failed = tuple((row, "broken") for row in call.rows if row in permanent_failures)
        world.carry_out(world.cascade.handle(Done(call, permanent_failures=failed)))
    assert world.cascade.done
    assert max(world.done_calls.values()) == 1
    for number, row in enumerate(world.cascade.rows):
        if number in invalid_rows:
            assert row.error == "the prompt is empty"
        elif number in permanent_failures:
            assert (row.state, row.error) == (State.FAILED, "draw: broken")
        else:
            assert (row.state, row.source) == expected(world, number)
