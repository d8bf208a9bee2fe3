"""The lines of a run on a GPU as they come: printed and written at once, failures too."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.gpu_meter import Line, Meter

FORMS = {
    "load_seconds": "{:.1f} s",
    "pictures_per_second": "{:.3f} pictures/s",
    "share_of_matrix_rate": "{:.0%} of the matrix rate",
    "peak_gib": "{:.1f} GiB",
    "idle_share": "{:.0%} idle",
    "times_plain": "{:.2f} times plain",
    "repeat": "repeat {}",
    "place": "place {}",
    "neighbours": "neighbours {}",
    "padding": "padding {}",
    "holes": "holes {}",
    "modules": "{}",
    "other_size": "other size off by {:.3g}",
    "parts": "{}",
    "error": "{}",
    "skipped": "{}",
}


class Report:
    """The lines as they come: printed and written at once."""

    def __init__(self, meter: Meter, about: Line, file: Path | None, seconds: float) -> None:
        self.meter, self.about, self.file = meter, about, file
        self.end = perf_counter() + seconds
        self.lines: list[Line] = []
        self.section = self.model = ""

    def add(self, what: str, make: Callable[[], Line], **known: Any) -> Line:
        """Measure one line. What fails is a line too: the next may do better."""
        start = perf_counter()
        line: Line = {"section": self.section, "model": self.model, "what": what, **known}
        if start > self.end:
            line["skipped"] = "no time left"
        else:
            try:
                line |= make()
            except Exception as error:  # noqa: BLE001
                line["error"] = f"{type(error).__name__}: {error}"[:300]
            line["took"] = round(perf_counter() - start, 2)
        self.lines.append(line)
        print_line(line)
        if self.file:
            whole = {**self.about, "matrix_rate": self.meter.matrix_rate, "lines": self.lines}
            self.file.write_text(json.dumps(whole, indent=1) + "\n")
        return line

    @contextmanager
    def model_of(self, what: str, load: Callable[[], Any]) -> Iterator[Any]:
        """A loaded model, for the lines in the block; gone at its end, or the next one's memory
        would be both's. None if it could not be loaded."""
        found: list[Any] = []

        def loading() -> Line:
            start = perf_counter()
            found.append(load())
            self.meter.wait()
            return {"load_seconds": perf_counter() - start}

        self.add(f"load, {what}", loading)
        try:
            yield found[0] if found else None
        finally:
            found.clear()
            self.free()

    def free(self) -> None:
        """The memory of models that nothing names any more."""
        # Else torch.compile leaves the ninth network uncompiled, with only a warning.
        torch.compiler.reset()
        gc.collect()
        if self.meter.is_gpu:
            torch.cuda.empty_cache()


def print_line(line: Line) -> None:
    """One line for people."""
    shown = [form.format(line[key]) for key, form in FORMS.items() if line.get(key) is not None]
    batch = f" x{line['batch']}" if "batch" in line else ""
    about = f"{line['section']:8}{line['model']:12} {line['what']}{batch}"
    print(f"{about}: {', '.join(shown)}", flush=True)
