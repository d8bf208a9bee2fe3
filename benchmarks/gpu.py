"""Student, oracle and teacher on a GPU: `python -m benchmarks.gpu --models sd15 sdxl sd35`.

Models of published sizes with random weights (benchmarks/gpu_models.py, and ImageReward at its
size). It prints a line for each model, role, option and batch size, and lines for the comparison:
plain diffusers, drawing and image-to-image, and the plain image-reward package. A line has

- `pictures_per_second`: the median of some calls, after one that warms up; null: out of memory.
- `times_plain`: our rate divided by the plain one's in the same run: diffusers' in batches of the
  same size; image-reward's, which has no batches, one pair a call and in float32.
- `share_of_matrix_rate`: the call's floating-point operations a second, as a share of what a large
  product of matrices reaches in this precision in the same run.
- `peak_gib`: the most GPU memory that was allocated at once, weights included.
- `idle_share`: the share of a call, while it is traced, in which no kernel runs.
- `same_bits`: whether a row is the same to the bit whatever its neighbours and its place: drawn and
  decoded, refined and decoded (in few steps), or scored; null: no two rows differed.

Without a GPU it runs tiny models only (`--models tiny`, with a small oracle), which shows that it
works, but no speed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from inspect import signature
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from diffusers import AutoPipelineForImage2Image, DiffusionPipeline
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from actors.images import Pictures
from actors.models.batches import best_device
from actors.models.diffusion import Diffusion
from actors.models.oracles.image_reward import ImageReward
from actors.oracle import Oracle
from actors.settings import DiffusionSettings, OracleSettings
from benchmarks.gpu_models import MODELS, save
from tests.models.reward import make_folder, one_by_one, small_encoder

PROMPTS = ["a small red circle left of a large blue square", "a dog on a mat", "two birds"]
STUDENT = {"steps": 4, "guidance_scale": 1.0}
TEACHER = {"steps": 25, "guidance_scale": 7.5}
ROLES: dict[str, dict[str, Any]] = {"student": STUDENT, "teacher": TEACHER}
STRENGTH = 0.6
FEW_STEPS = 4
PLAIN_ORACLE = "oracle, plain image-reward, one pair a call"

Line = dict[str, Any]
Made = tuple[Callable[[], object], Line]
"""A call to be timed, and its known figures."""
OfRows = Callable[[slice], np.ndarray]
"""Makes or scores some rows of a batch."""


def rows(count: int) -> tuple[list[str], list[int]]:
    """Prompts and seeds."""
    return [PROMPTS[row % len(PROMPTS)] for row in range(count)], list(range(count))


class Meter:
    """Times a call on a device."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self.repeats = device, repeats
        self.is_gpu = device.type == "cuda"
        self.matrix_rate = {
            dtype: self._matrix_rate(getattr(torch, dtype))
            for dtype in ("float32", "float16", "bfloat16")
        }

    def _matrix_rate(self, dtype: torch.dtype) -> float:
        """Floating-point operations per second of a large product of matrices."""
        side = 8192 if self.is_gpu else 256
        one = torch.randn(side, side, device=self.device).to(dtype)
        return 2 * side**3 / self.seconds(lambda: one @ one)

    def seconds(self, call: Callable[[], object]) -> float:
        """The median of some calls, after one that warms up (and compiles)."""
        call()
        taken = []
        for _ in range(self.repeats):
            self._wait()
            start = perf_counter()
            call()
            self._wait()
            taken.append(perf_counter() - start)
        return median(taken)

    def _wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def line(self, call: Callable[[], object], pictures: int, dtype: str) -> Line:
        """All figures of a call that makes this many pictures."""
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        seconds = self.seconds(call)
        with FlopCounterMode(display=False) as counter:
            call()
        rate = counter.get_total_flops() / seconds
        return {
            "pictures_per_second": pictures / seconds,
            "share_of_matrix_rate": rate / self.matrix_rate[dtype],
            "peak_gib": torch.cuda.max_memory_allocated(self.device) / 2**30
            if self.is_gpu
            else None,
            "idle_share": self._idle(call),
        }

    def _idle(self, call: Callable[[], object]) -> float | None:
        """The share of the call in which no kernel runs."""
        if not self.is_gpu:
            return None
        with profile(activities=[ProfilerActivity.CUDA]) as trace:
            self._wait()
            start = perf_counter()
            call()
            self._wait()
            wall = perf_counter() - start
        busy: float = sum(event.self_device_time_total for event in trace.key_averages()) / 1e6
        return max(0.0, 1 - busy / wall)


def settings_for(name: str, folder: Path, batch_size: int, **fields: Any) -> DiffusionSettings:
    _, dtype, side = MODELS[name]
    shape = {"width": side, "height": side, "dtype": dtype, "batch_size": batch_size}
    return DiffusionSettings(path=str(folder), **{**shape, **fields})


def draw_plan(model: Diffusion, steps: int) -> OfRows:
    """A student's calls."""
    prompts, seeds = rows(model.settings.batch_size)
    return lambda part: model.decode(model.draw(prompts[part], seeds[part], steps))


def refining(model: Diffusion, steps: int) -> OfRows:
    """A teacher's calls on latents."""
    prompts, seeds = rows(model.settings.batch_size)
    start = model.draw(prompts, seeds, 1)

    def made(part: slice) -> Pictures:
        # The seeds are the places: a tensor cannot be sliced backwards.
        own = start[seeds[part]]
        return model.decode(model.refine(prompts[part], seeds[part], own, STRENGTH, steps))

    return made


def scoring(oracle: Oracle) -> OfRows:
    """An oracle's calls on pictures."""
    prompts, places = rows(oracle.settings.batch_size)
    shown = noise(len(prompts))
    return lambda part: np.array(
        oracle.score(prompts[part], [(0, place) for place in places[part]], shown)[0]
    )


def noise(count: int) -> Pictures:
    """Pictures of 512 pixels."""
    return np.random.default_rng(0).integers(0, 256, (count, 512, 512, 3), dtype=np.uint8)


def same_bits(made: OfRows) -> bool | None:
    """Whether a row is the same to the bit whatever its neighbours and its place.

    None if there is only one row, or if all are alike, as black pictures are.
    """
    together, alone = made(slice(None)), made(slice(1))
    if (together == together[:1]).all():
        return None
    turned = made(slice(None, None, -1))[::-1]
    return np.array_equal(together, turned) and np.array_equal(together[:1], alone)


def our_pipeline(settings: DiffusionSettings, role: str) -> Made:
    """The calls that make a batch of pictures with our students and teachers."""
    model = Diffusion(settings)
    making, steps = draw_plan, settings.steps
    if role == "teacher":
        making, steps = refining, round(STRENGTH * settings.steps)
    known = {"same_bits": same_bits(making(model, FEW_STEPS))}
    return partial(making(model, steps), slice(None)), known


def our_oracle(settings: OracleSettings) -> Made:
    """The calls that score a batch with our oracles."""
    made = scoring(Oracle(settings))
    return partial(made, slice(None)), {"same_bits": same_bits(made)}


def plain_oracle(settings: OracleSettings, device: torch.device) -> Made:
    """The same calls as a user of image-reward writes them."""
    model = ImageReward(settings, device).model
    model.mlp = model.mlp.head  # The package's own model, which our loading wraps.
    prompts, _ = rows(settings.batch_size)
    return partial(one_by_one, model, prompts, noise(len(prompts))), {}


def plain_pipeline(
    name: str, folder: Path, device: torch.device, role: str, at_once: int, batch: int
) -> Made:
    """The calls of a user of diffusers for a batch of pictures, `at_once` prompts a call."""
    _, dtype, side = MODELS[name]
    pipe: Any = DiffusionPipeline.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
    fields: dict[str, Any] = {
        "num_inference_steps": STUDENT["steps"],
        "width": side,
        "height": side,
    }
    fields["guidance_scale"] = ROLES[role]["guidance_scale"]
    prompts, seeds = rows(batch)
    if role == "teacher":
        noise = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        start = pipe(prompts, generator=noise, output_type="latent", **fields).images
        pipe = AutoPipelineForImage2Image.from_pipe(pipe)
        known = signature(pipe.__call__).parameters
        fields = {key: value for key, value in fields.items() if key in known}
        fields |= {"num_inference_steps": TEACHER["steps"], "strength": STRENGTH}
    pipe.set_progress_bar_config(disable=True)

    def call() -> None:
        for first in range(0, batch, at_once):
            part = slice(first, first + at_once)
            noise = [torch.Generator("cpu").manual_seed(seed) for seed in seeds[part]]
            more = {"image": start[part]} if role == "teacher" else {}
            pipe(prompts[part], generator=noise, **fields, **more)

    return call, {}


class Report:
    """Measures a model's lines, and prints each at once."""

    def __init__(self, model: str, meter: Meter) -> None:
        self.model, self.meter = model, meter
        self.lines: list[Line] = []

    def add(
        self,
        what: str,
        batch: int,
        dtype: str,
        make: Callable[[], Made],
        beside: float | None = None,
    ) -> float | None:
        """Measure the model that `make` makes, and drop it: the next line needs its memory.

        beside: the plain one's pictures per second. Returns those of this line.
        """
        line = self._measured(batch, dtype, make)
        rate: float | None = line["pictures_per_second"]
        if beside and rate:
            line["times_plain"] = rate / beside
        self.lines.append({"model": self.model, "what": what, "batch": batch, **line})
        print_line(self.lines[-1])
        # Else torch.compile leaves the ninth network uncompiled, with only a warning.
        torch.compiler.reset()
        gc.collect()
        if self.meter.is_gpu:
            torch.cuda.empty_cache()
        return rate

    def _measured(self, batch: int, dtype: str, make: Callable[[], Made]) -> Line:
        try:
            call, known = make()
            return self.meter.line(call, batch, dtype) | known
        except torch.OutOfMemoryError:
            return {"pictures_per_second": None}


def measure(
    name: str, folder: Path, meter: Meter, batches: Sequence[int], compiled: bool
) -> list[Line]:
    """All lines of one pipeline."""
    _, dtype, _ = MODELS[name]
    report = Report(name, meter)
    options: dict[str, dict[str, Any]] = {
        "ours": {},
        "ours, channels last": {"channels_last": True},
    }
    if compiled:
        options["ours, compiled"] = {"compile": True}
        options["ours, compiled, channels last"] = {"compile": True, "channels_last": True}
    for role, fields in ROLES.items():
        plain = partial(plain_pipeline, name, folder, meter.device, role)
        first = batches[0]
        what = f"{role}, plain diffusers, one prompt a call"
        report.add(what, first, dtype, partial(plain, 1, first))
        for batch in batches:
            what = f"{role}, plain diffusers, a batch a call"
            beside = report.add(what, batch, dtype, partial(plain, batch, batch))
            for option, more in options.items():
                make = partial(
                    our_pipeline, settings_for(name, folder, batch, **fields, **more), role
                )
                report.add(f"{role}, {option}", batch, dtype, make, beside)
    return report.lines


def measure_oracle(folder: Path, meter: Meter, batches: Sequence[int], tiny: bool) -> list[Line]:
    """All lines of ImageReward, at its size or tiny."""
    report = Report("tiny" if tiny else "image-reward", meter)
    with small_encoder() if tiny else nullcontext():
        make_folder(folder, layers=1 if tiny else 12)

        def settings(batch: int, dtype: Any) -> OracleSettings:
            fields = {"path": str(folder), "batch_size": batch, "dtype": dtype}
            return OracleSettings(kind="image-reward", **fields)

        most = max(batches)
        plain = partial(plain_oracle, settings(most, "float32"), meter.device)
        beside = report.add(PLAIN_ORACLE, most, "float32", plain)
        for batch in batches:
            for dtype in ("float32", "float16") if meter.is_gpu else ("float32",):
                make = partial(our_oracle, settings(batch, dtype))
                report.add(f"oracle, ours, {dtype}", batch, dtype, make, beside)
    return report.lines


FORMS = {
    "share_of_matrix_rate": "{:.0%} of the matrix rate",
    "peak_gib": "{:.1f} GiB",
    "idle_share": "{:.0%} idle",
    "times_plain": "{:.2f} times plain",
    "same_bits": "same bits: {}",
}


def print_line(line: Line) -> None:
    """One line for people."""
    rate = line["pictures_per_second"]
    shown = "out of memory" if rate is None else f"{rate:9.3f} pictures/s"
    for key, form in FORMS.items():
        if line.get(key) is not None:
            shown += ", " + form.format(line[key])
    print(f"{line['model']:12} {line['what']:43} batch {line['batch']:3}: {shown}", flush=True)


def main(arguments: Sequence[str] | None = None) -> list[Line]:
    """Measures, prints, and with --json writes the lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["sd15", "sdxl", "sd35"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="Measure torch.compile too.")
    parser.add_argument("--no-oracle", action="store_true")
    parser.add_argument("--json", type=Path, help="Write every line here.")
    chosen = parser.parse_args(arguments)
    device = best_device()
    if device.type == "cpu" and chosen.models != ["tiny"]:
        parser.error("there is no GPU here: only --models tiny")
    meter = Meter(device, chosen.repeats)
    name = torch.cuda.get_device_name(device) if meter.is_gpu else "CPU"
    rates = ", ".join(f"{dtype} {rate / 1e12:.3g}" for dtype, rate in meter.matrix_rate.items())
    print(f"{name}, torch {torch.__version__}; matrices, in 10^12 operations a second: {rates}")
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as home:
        for model in chosen.models:
            folder = save(model, Path(home) / model, device)
            lines += measure(model, folder, meter, chosen.batches, chosen.compile)
        if not chosen.no_oracle:
            tiny = chosen.models == ["tiny"]
            lines += measure_oracle(Path(home) / "oracle", meter, chosen.batches, tiny)
    if chosen.json:
        about = {"device": name, "torch": torch.__version__, "matrix_rate": meter.matrix_rate}
        chosen.json.write_text(json.dumps({**about, "lines": lines}, indent=2) + "\n")
    return lines


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
