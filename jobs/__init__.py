"""Bottega in Python: make a job, plan it, run it, read what came out (docs/python.md).

    from jobs import load_spec, open_output, resolve, run

    job = resolve(load_spec("job.yaml"))
    run(job)                                    # on the Ray that runs in this process
    for row in open_output(job.output.url).rows():
        ...

What `__all__` lists is public; the rest of the package may change. Importing the package imports
nothing else: each name brings its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.errors import (
        BottegaError,
        CancelledJobError,
        ClusterError,
        InputError,
        InterruptedJobError,
        JobError,
        MissingError,
        ModelError,
        NoInputError,
        NoPlaceError,
        NoSuchJobError,
        OutputError,
        OutputFailedError,
        PoolFailedError,
        SpecError,
        StalledError,
        StorageError,
        TooManyFailuresError,
        UserError,
    )
    from jobs.execution.launch import (
        LadderSearch,
        ScoredSample,
        calibrate,
        retry,
        run,
        search_ladders,
    )
    from jobs.execution.progress import Progress
    from jobs.execution.resources import Resources
    from jobs.output.dataset import Output, OutputProgress, open_output
    from jobs.planning.forecast import Forecast, plan
    from jobs.resolution import Job, resolve
    from jobs.spec.job_spec import JobSpec, load_spec, make_spec

__all__ = [
    "BottegaError",
    "CancelledJobError",
    "ClusterError",
    "Forecast",
    "InputError",
    "InterruptedJobError",
    "Job",
    "JobError",
    "JobSpec",
    "LadderSearch",
    "MissingError",
    "ModelError",
    "NoInputError",
    "NoPlaceError",
    "NoSuchJobError",
    "Output",
    "OutputError",
    "OutputFailedError",
    "OutputProgress",
    "PoolFailedError",
    "Progress",
    "Resources",
    "ScoredSample",
    "SpecError",
    "StalledError",
    "StorageError",
    "TooManyFailuresError",
    "UserError",
    "calibrate",
    "load_spec",
    "make_spec",
    "open_output",
    "plan",
    "resolve",
    "retry",
    "run",
    "search_ladders",
]

_PLACES = {
    "jobs.execution.launch": (
        *("LadderSearch", "ScoredSample"),
        *("calibrate", "retry", "run", "search_ladders"),
    ),
    "jobs.execution.progress": ("Progress",),
    "jobs.execution.resources": ("Resources",),
    "jobs.output.dataset": ("Output", "OutputProgress", "open_output"),
    "jobs.planning.forecast": ("Forecast", "plan"),
    "jobs.resolution": ("Job", "resolve"),
    "jobs.spec.job_spec": ("JobSpec", "load_spec", "make_spec"),
}
"""Where the public names are; what is in none of these is an error, in `actors.errors`.

No module or folder of this package has the name of a public function: Python would put it in the
function's place when it is imported.
"""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        places = (place for place, names in _PLACES.items() if name in names)
        value = getattr(import_module(next(places, "actors.errors")), name)
        globals()[name] = value  # found at once from now on
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
