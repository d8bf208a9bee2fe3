"""Serves the schedules of a store: submits what is due, and follows it to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from actors.errors import ClusterError
from cluster.schedules.schedule import Missed, Schedule, due, duration, next_time
from cluster.schedules.store import Run, RunState, Store, changed
from cluster.schedules.submitting import Answer, Jobs

log = logging.getLogger("bottega.schedule")

LOOK_SECONDS = 30.0
"""Between two looks at the store and at what runs: a schedule that is added is seen as soon."""

MOST_AGAIN = 3
"""Times that a run is submitted again: a cluster that forgets each of four jobs keeps none."""

ENDED = {state.value for state in RunState if not state.is_active}


class Server:
    """One step is `serve_once`; `serve` makes them until it is stopped."""

    def __init__(self, store: Store, jobs: Jobs, now: Callable[[], datetime]) -> None:
        self._store, self._jobs, self._now = store, jobs, now
        self._began = now()

    def serve(self, wait: Callable[[float], bool]) -> None:
        """Serve until `wait`, which takes the seconds to the next look, says that it is over."""
        while True:
            try:
                seconds = self.serve_once()
            except ClusterError as error:
                # What could not be written is decided anew: a time is due until it is noted, and a
                # run that was submitted is attached to.
                log.warning("%s Tried again in %g s.", error, LOOK_SECONDS)
                seconds = LOOK_SECONDS
            if wait(seconds):
                return

    def serve_once(self) -> float:
        """Do what is to be done now; returns the seconds until something may be."""
        for schedule in self._store.all():
            self._note(schedule)
        schedules = {each.name: each for each in self._store.all()}
        for run in reversed(self._store.runs()):  # the oldest first
            if run.schedule not in schedules:
                continue  # it was added since, and is served in the next step
            if run.state is RunState.SUBMITTING:
                self.submit(schedules[run.schedule], run)
            elif run.state is RunState.RUNNING:
                self._look(schedules[run.schedule], run)
        now = self._now()
        coming = [time for each in schedules.values() if (time := next_time(each, now))]
        soonest = min(((time - now).total_seconds() for time in coming), default=LOOK_SECONDS)
        return max(0.0, min(LOOK_SECONDS, soonest))

    def _note(self, schedule: Schedule) -> None:
        now = self._now()
        found = due(schedule, now)
        if found:
            self._store.note_due(schedule, found, now)
            for each in found:
                what = each.skipped or "it is due"
                log.info("%s, %s: %s", schedule.name, each.run_for, what)

    def submit(self, schedule: Schedule, run: Run) -> None:
        """Submit a run; one that was submitted already is attached to, or goes on."""
        if other := self._other_active(run):
            reason = f"the run for {other.run_for} still goes on"
            self._end(run, RunState.SKIPPED, reason)
            return
        answer = self._jobs.submit(schedule, run.run_for)
        now = self._now()
        if not answer.error:
            again = run.submitted_again + bool(run.job and answer.starts)
            run = changed(
                run, now, state=RunState.RUNNING, job=answer.job, reason=answer.reason,
                submitted_again=again,
            )  # fmt: skip
            self._store.update(run)
            log.info("%s, %s: %s, %s", run.schedule, run.run_for, answer.job, answer.state)
            self._take(run, answer)
            return
        late = (now - self._tried_since(schedule, run)).total_seconds()
        if run.state is RunState.SUBMITTING and late > schedule.late_seconds:
            reason = f"not submitted for {duration(late)}: {answer.error}"
            self._end(run, RunState.FAILED, reason)
            return
        log.warning("%s, %s: not submitted yet: %s", run.schedule, run.run_for, answer.error)
        self._note_reason(run, answer.error)

    def _tried_since(self, schedule: Schedule, run: Run) -> datetime:
        """When the time to submit a run began. While nobody served, nobody tried: a run that is to
        be made up for has all of its time from the server's start on."""
        if schedule.missed is Missed.ONCE:
            return max(run.tried_since, self._began)
        return run.tried_since

    def _other_active(self, run: Run) -> Run | None:
        """A run of the same schedule that was submitted and goes on: runs do not overlap."""
        return next(
            (
                other
                for other in self._store.runs(run.schedule)
                if other.run_for != run.run_for and other.state.is_active and other.job
            ),
            None,
        )

    def _look(self, schedule: Schedule, run: Run) -> None:
        answer = self._jobs.look(schedule, run)
        if answer.is_unknown:
            self._submit_again(schedule, run)
        elif answer.error:
            log.warning("%s, %s: no answer: %s", run.schedule, run.run_for, answer.error)
            self._note_reason(run, answer.error)
        else:
            self._take(run, answer)

    def _submit_again(self, schedule: Schedule, run: Run) -> None:
        """A cluster that began anew knows no job of before: the run goes on as a new attempt, or is
        found done."""
        if run.submitted_again >= MOST_AGAIN:
            times = run.submitted_again + 1
            reason = f"the cluster forgot its job {times} times: look at the head's log and memory"
            self._end(run, RunState.LOST, reason)
            return
        reason = f"the cluster knows no {run.job}: it is submitted again"
        log.warning("%s, %s: %s", run.schedule, run.run_for, reason)
        now = self._now()
        run = changed(run, now, state=RunState.SUBMITTING, reason=reason, tried_since=now)
        self._store.update(run)
        self.submit(schedule, run)

    def _note_reason(self, run: Run, reason: str) -> None:
        if run.reason != reason:
            self._store.update(changed(run, self._now(), reason=reason))

    def _take(self, run: Run, answer: Answer) -> None:
        """End the run if its job has ended."""
        if answer.state in ENDED:
            self._end(run, RunState(answer.state), answer.reason)
        else:
            self._note_reason(run, answer.reason)

    def _end(self, run: Run, state: RunState, reason: str) -> None:
        self._store.update(changed(run, self._now(), state=state, reason=reason))
        level = logging.INFO if state is RunState.SUCCEEDED else logging.WARNING
        log.log(level, "%s, %s: %s (%s)", run.schedule, run.run_for, state, reason)
