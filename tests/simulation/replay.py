"""Replay the decisions of a job that ended with an unforeseen error.

    python -m tests.simulation.replay out/decisions.json

It makes each part's cascade anew, feeds it the events of the log in order, and compares its
instructions with those in the log. If a part decides or raises as it did, the fault can be studied
here, without Ray. If it decides otherwise, this code is not the code that wrote the log, or a
decision depended on more than its events. It also prints the dispatcher's events, and does not
replay them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.execution.calls import Call, Done, Event, Failed, Lost
from jobs.execution.cascade import Cascade
from jobs.execution.decision_log import FORMAT, instruction_as_json
from jobs.execution.part_rows import Groups
from jobs.execution.row_set import row_set
from jobs.execution.stages import OutputKind, Stage
from jobs.rules import Rules
from jobs.spec.climb import Rung


def read(file: Path) -> dict[str, Any]:
    """Read a log. Raises ValueError for a file of another format."""
    content: dict[str, Any] = json.loads(file.read_bytes())
    if content.get("format") != FORMAT:
        raise ValueError(f"{file} has format {content.get('format')!r}, and this reads {FORMAT}.")
    return content


def replay(content: Mapping[str, Any], show: Callable[[str], None] = lambda _: None) -> list[str]:
    """The differences between replay and log, a line each. `show` gets every line of the replay."""
    found: list[str] = []
    for part in content["parts"]:
        for line in _replay_part(part):
            show(line)
            if line.startswith("DIFFERS"):
                found.append(f"{part['label']}: {line}")
    for event in content["events"]:
        seconds, kind = event["seconds"], event["type"]
        fields = {name: value for name, value in event.items() if name not in ("seconds", "type")}
        show(f"{seconds:10.3f} s  {kind} {json.dumps(fields)}")
    show(f"the job ended with: {content['error']}")
    return found


def _replay_part(part: Mapping[str, Any]) -> Iterator[str]:
    yield f"{part['label']}: {part['num_rows']} rows"
    rungs = [Rung(**{**rung, "below": float(rung["below"])}) for rung in part["rules"]["ladder"]]
    rules = Rules(**{**part["rules"], "ladder": tuple(rungs)})
    invalid = {int(row): why for row, why in part["invalid_rows"].items()}
    groups = Groups(
        **{
            role: tuple(row_set(rows_of(group)) for group in groups)
            for role, groups in part.get("groups", {}).items()
        }
    )
    kept = frozenset(rows_of(part["kept"]))
    cascade = Cascade(part["num_rows"], rules, invalid, kept, groups=groups)
    for number, decision in enumerate(part["decisions"]):
        event = decision["event"] and event_of(decision["event"])
        try:
            made = cascade.handle(event) if event else cascade.start()
        except Exception as error:  # noqa: BLE001  perhaps the fault in question
            again = "as it did then" if decision["instructions"] is None else "DIFFERS"
            yield f"{again}: decision {number}, {event}: {type(error).__name__}: {error}"
            return
        instructions = [instruction_as_json(one) for one in made]
        yield f"{number:6}  {event or 'start'} -> {', '.join(map(str, made)) or 'nothing'}"
        if decision["instructions"] is None:
            yield f"DIFFERS: decision {number} raised then, and does not now"
        elif instructions != decision["instructions"]:
            yield f"DIFFERS: decision {number} was {decision['instructions']}, is {instructions}"
    if part["latest"]:
        yield "there were more decisions than can be replayed; the last ones:"
    for decision in part["latest"]:
        yield json.dumps(decision)


def event_of(written: Mapping[str, Any]) -> Event:
    """Make an event from the log."""
    known = written["call"]
    call = Call(Stage(known["stage"]), rows_of(known["rows"]), attempt=known["attempt"])
    match written["type"]:
        case "Done":
            failures = tuple((row, why) for row, why in written["permanent_failures"])
            return Done(call, tuple(float(score) for score in written["scores"]), failures)
        case "Failed":
            return Failed(call, written["reason"], written["blame"])
        case "Lost":
            return Lost(call, OutputKind[written["output"]])
    raise ValueError(f"{written['type']!r} is no event of a cascade.")


def rows_of(ranges: list[list[int]]) -> tuple[int, ...]:
    """The rows of [first, last] ranges."""
    return tuple(row for first, last in ranges for row in range(first, last + 1))


def main() -> int:
    """Print the replay; returns 1 if it differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.replay")
    parser.add_argument("file", type=Path, help="decisions.json of an output folder")
    return 1 if replay(read(parser.parse_args().file), print) else 0


if __name__ == "__main__":
    sys.exit(main())
