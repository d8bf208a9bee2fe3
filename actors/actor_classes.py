"""Maps each role to the class of its actors. Imports them late, since torch takes seconds."""

from __future__ import annotations

from actors.settings import ModelSettings


def actor_classes(models: ModelSettings) -> dict[str, type]:
    """The classes by role; each takes its model's settings."""
    if models.timed:
        from actors.timed import TimedOracle, TimedStudent, TimedTeacher

        return {"student": TimedStudent, "oracle": TimedOracle, "teacher": TimedTeacher}
    from actors.oracle import Oracle
    from actors.student import Student
    from actors.teacher import Teacher

    return {"student": Student, "oracle": Oracle, "teacher": Teacher}
