"""Ladders of attempts, carried out in every order that Hypothesis thinks of, with faults."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from jobs.execution.active_part import picks
from jobs.execution.calls import Call, Done
from jobs.execution.cascade import Cascade
from jobs.execution.outputs import attempts_of
from jobs.execution.row_state import State
from jobs.execution.stages import STAGES, OutputKind, Stage, Step
from jobs.rules import Rules
from jobs.spec.climb import Climb, Ladder, Rung, climb
from tests.unit.jobs.execution.test_cascade import World, batches_of, row_groups, run

PICTURES = (Stage.DRAW, Stage.REFINE)


@dataclass
class LadderWorld(World):
    """`rung_scores`: by rung and row. `nothing`: rungs with rows of which they make no picture; the
    first makes one of each."""

    rung_scores: list[list[float]] = field(default_factory=list)
    nothing: set[tuple[int, int]] = field(default_factory=set)

    @property
    def rungs(self) -> list[tuple[Step, Step, Step]]:
        return attempts_of(self.cascade.rules.ladder)

    def rung_of(self, step: Step) -> int:
        return next(number for number, steps in enumerate(self.rungs) if step in steps)

    def scores(self, call: Call) -> tuple[float, ...]:
        if not STAGES[call.stage].gives_scores:
            return ()
        scores = self.rung_scores[self.rung_of(call.step)]
        return tuple(scores[row] for row in call.rows)

    def unmade(self, call: Call) -> list[int]:
        if call.stage not in PICTURES:
            return []
        number = self.rung_of(call.step)
        return [row for row in call.rows if (number, row) in self.nothing]

    def check_picks(self, call: Call) -> None:
        """A refinement starts from the row's best drawing, and all else from its own picture."""
        found = picks(self.cascade, call)
        for row, (which, place) in zip(call.rows, found, strict=bool(found)):
            source = call.sources[which]
            assert source.rows[place] == row
            if call.stage is Stage.REFINE:
                assert source.attempt == self.expected(row).drawing
            else:
                assert source.attempt == call.attempt

    def expected(self, row: int) -> Climb:
        """By the rule for one row, which test_climb has."""
        scores = [
            None if (number, row) in self.nothing else of[row]
            for number, of in enumerate(self.rung_scores)
        ]
        return climb(self.cascade.rules.ladder, scores)

    def check_rows(self, failed: set[int]) -> None:
        """Each row that did not fail ended as the ladder says, and spent what its attempts take."""
        for number, row in enumerate(self.cascade.rows):
            if number in failed:
                continue
            wanted = self.expected(number)
            assert (row.at, row.student_score, row.teacher_score) == (
                wanted, wanted.student_score, wanted.teacher_score
            )  # fmt: skip
            assert wanted.has is not None
            by_teacher = self.cascade.rules.ladder[wanted.has].by_teacher
            assert row.source == ("teacher" if by_teacher else "student")
            assert row.state is (State.ACCEPTED if len(wanted.taken) == 1 else State.REJECTED)
            assert self.cascade.spent(number) == [self.rungs[rung][0] for rung in wanted.taken]


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    drawings, pictures = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    below = st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.1])
    further = [Rung(make="draw", below=draw(below)) for _ in range(drawings - 1)]
    of_teacher = [
        Rung(
            make=draw(st.sampled_from(["refine", "regenerate"])),
            below=draw(below),
            keep=draw(st.sampled_from(["teacher", "best"])),
        )
        for _ in range(pictures)
    ]
    return (Rung(make="draw"), *further, *of_teacher)


@st.composite
def ladder_worlds(draw: st.DrawFn, poisoned: bool = False) -> LadderWorld:
    num_rows, ladder = draw(st.integers(1, 12)), draw(ladders())
    score = st.integers(0, 10).map(lambda tenths: tenths / 10)
    rules = Rules(
        ladder=ladder,
        student_batch=draw(st.integers(1, 6)),
        teacher_batch=draw(st.integers(1, 6)),
        through=draw(st.sampled_from(["latents", "pixels"])),
        save_student=draw(st.booleans()),
    )
    rows, rungs = st.integers(0, num_rows - 1), st.integers(1, max(1, len(ladder) - 1))
    invalid = draw(st.dictionaries(rows, st.just("the prompt is empty"), max_size=3))
    stages = st.sampled_from([stage for stage in Stage if stage is not Stage.COMMIT])
    return LadderWorld(
        Cascade(num_rows, rules, invalid, groups=draw(row_groups(num_rows))),
        draw_scores=[],
        teacher_scores=[],
        rung_scores=[draw(st.lists(score, min_size=num_rows, max_size=num_rows)) for _ in ladder],
        nothing=draw(st.sets(st.tuples(rungs, rows), max_size=6)),
        poison=draw(st.dictionaries(rows, stages, max_size=3)) if poisoned else {},
        more_poison=draw(st.dictionaries(rows, stages, max_size=3)) if poisoned else {},
    )


def failed_in(world: LadderWorld) -> set[int]:
    return {n for n, row in enumerate(world.cascade.rows) if row.state is State.FAILED}


@given(ladder_worlds(), st.data())
def test_every_row_climbs_as_far_as_its_scores_say_in_any_order(
    world: LadderWorld, data: st.DataObject
) -> None:
    invalid = failed_in(world)
    run(world, data)
    assert world.cascade.done
    world.check_rows(invalid)
    if not world.nothing:
        assert set(world.done_calls.values()) <= {1}, "without faults nothing is made twice"
    assert world.stored == set()
    assert world.cascade.outputs.held == frozenset()


@given(ladder_worlds(), st.data())
def test_an_attempts_batches_are_the_rows_that_take_it_in_row_order(
    world: LadderWorld, data: st.DataObject
) -> None:
    rules, invalid = world.cascade.rules, failed_in(world)
    run(world, data)
    for number, (make, _, _) in enumerate(world.rungs):
        takes = [
            row
            for row in range(world.cascade.num_rows)
            if row not in invalid and number in world.expected(row).taken
        ]
        groups, size = world.cascade.groups.student, rules.student_batch
        if rules.ladder[number].by_teacher:
            groups, size = world.cascade.groups.teacher, rules.teacher_batch
        batches = batches_of(takes, groups, size)
        assert {call.rows for call in world.done_calls if call.step == make} == batches


@given(ladder_worlds(), st.data())
def test_faults_change_no_row_of_a_ladder(world: LadderWorld, data: st.DataObject) -> None:
    """Actors die, references are lost, completions come twice."""
    invalid, faults = failed_in(world), 0
    world.carry_out(world.cascade.start())
    while world.todo:
        call = world.todo[data.draw(st.integers(0, len(world.todo) - 1))]
        fault = data.draw(st.sampled_from(["none", "none", "kill", "lose", "twice"]))
        faults += fault != "none"
        if fault == "kill" and faults < 60:
            world.fail(call, blame=False)
        elif fault == "lose" and world.stored and faults < 60:
            lost = sorted(world.stored, key=lambda s: (s[0].step, s[0].rows, s[1]))
            world.lose(*lost[data.draw(st.integers(0, len(lost) - 1))])
        elif fault == "twice" and world.done_calls:
            twice = next(iter(world.done_calls))
            if twice not in world.todo:
                assert world.cascade.handle(Done(twice, (0.0,) * len(twice.rows))) == []
        else:
            world.completion(call)
    assert world.cascade.done
    assert world.stored == set()
    world.check_rows(invalid)


@given(ladder_worlds(poisoned=True), st.data())
def test_two_orders_of_a_ladders_events_give_the_same_rows(
    world: LadderWorld, data: st.DataObject
) -> None:
    """Failed rows too: reason, scores and evaluations."""
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
        assert each.cascade.done
        assert each.stored == set()
    assert world.cascade.rows == again.cascade.rows
    numbers = range(world.cascade.num_rows)
    assert [*map(world.cascade.spent, numbers)] == [*map(again.cascade.spent, numbers)]
    world.check_rows(failed_in(world))


@given(ladder_worlds(), st.data())
def test_pixels_of_a_ladder_do_not_wait_for_the_part(
    world: LadderWorld, data: st.DataObject
) -> None:
    world.carry_out(world.cascade.start())
    while world.todo != [call for call in world.todo if call.stage is Stage.COMMIT]:
        others = [call for call in world.todo if call.stage is not Stage.COMMIT]
        world.completion(others[data.draw(st.integers(0, len(others) - 1))])
    assert {output for _, output in world.stored} <= {OutputKind.FILES}


def test_the_store_holds_the_last_attempt_and_the_best_and_no_other() -> None:
    ladder = (
        Rung(make="draw"),
        *[Rung(make="draw", below=0.9)] * 3,
        Rung(make="refine", below=0.9, keep="best"),
    )
    rules = Rules(ladder=ladder, student_batch=1, teacher_batch=1)
    scores = [[0.1], [0.4], [0.2], [0.3], [0.05]]
    world = LadderWorld(Cascade(1, rules), [], [], rung_scores=scores)
    world.carry_out(world.cascade.start())
    held = []
    while world.todo:
        world.completion(world.todo[0])
        held.append({call.attempt for call, output in world.stored if call.stage is Stage.DRAW})
    assert max(map(len, held)) == 2, "the best drawing, and the last one until it is scored"
    assert {1} in held, "the best one alone, while the teacher works"
    assert world.cascade.rows[0].at.has == 1
    assert world.cascade.rows[0].source == "student"


def test_a_ladder_of_one_drawing_needs_no_teacher() -> None:
    rules = Rules(ladder=(Rung(make="draw"),), student_batch=2, teacher_batch=2)
    world = LadderWorld(Cascade(3, rules), [], [], rung_scores=[[0.1, 0.2, 0.3]])
    world.carry_out(world.cascade.start())
    while world.todo:
        world.completion(world.todo[0])
    assert world.cascade.done
    assert [row.source for row in world.cascade.rows] == ["student"] * 3
