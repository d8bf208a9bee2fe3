"""Student, oracle and teacher on a GPU: `python -m benchmarks.gpu --models sd15 sdxl sd35`.

Models of published sizes with random weights (benchmarks/gpu_models.py, and ImageReward at its
size). For each batch size: pictures per second, peak memory, the share of the card's matrix rate as
measured in the same run, and the time in which no kernel runs. Beside them, in the same run: plain
diffusers, one prompt at a time and in batches, drawing and image-to-image; each of our options as a
ratio to it. And whether a row has the same bits whatever its neighbours.

Without a GPU it runs tiny models only (`--models tiny`), which shows that it runs, and no speed.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from diffusers import AutoPipelineForImage2Image, DiffusionPipeline
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from actors.models.diffusion import Diffusion, best_device
from actors.oracle import Oracle
from actors.settings import DiffusionSettings, OracleSettings
from benchmarks.gpu_models import MODELS, save
from tests.models.test_image_reward import make_folder

PROMPTS = ["a small red circle left of a large blue square", "a dog on a mat", "two birds"]
STUDENT = {"steps": 4, "guidance_scale": 1.0}
TEACHER = {"steps": 25, "guidance_scale": 7.5}
ROLES: dict[str, dict[str, Any]] = {"student": STUDENT, "teacher": TEACHER}
STRENGTH = 0.6

Line = dict[str, Any]


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
        """Everything about a call that makes so many pictures."""
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
        busy = sum(event.self_device_time_total for event in trace.key_averages()) / 1e6
        return max(0.0, 1 - busy / wall)


def settings_for(name: str, folder: Path, batch_size: int, **fields: Any) -> DiffusionSettings:
    _, dtype, side = MODELS[name]
    shape = {"width": side, "height": side, "dtype": dtype, "batch_size": batch_size}
    return DiffusionSettings(path=str(folder), **{**shape, **fields})


def drawing(model: Diffusion) -> Callable[[], object]:
    """What a student does with a batch."""
    prompts, seeds = rows(model.settings.batch_size)
    return lambda: model.decode(model.draw(prompts, seeds, model.settings.steps))


def refining(model: Diffusion) -> Callable[[], object]:
    """What a teacher does with a batch of latents."""
    prompts, seeds = rows(model.settings.batch_size)
    start = model.draw(prompts, seeds, 1)
    steps = round(STRENGTH * model.settings.steps)
    return lambda: model.decode(model.refine(prompts, seeds, start, STRENGTH, steps))


def plain(
    name: str, folder: Path, device: torch.device, role: str, at_once: int, batch: int
) -> Callable[[], object]:
    """The same as a user of diffusers writes it, `at_once` prompts a call."""
    _, dtype, side = MODELS[name]
    pipe: Any = DiffusionPipeline.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
    told: dict[str, Any] = {"num_inference_steps": STUDENT["steps"], "width": side, "height": side}
    told["guidance_scale"] = ROLES[role]["guidance_scale"]
    prompts, seeds = rows(batch)
    if role == "teacher":
        noise = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        start = pipe(prompts, generator=noise, output_type="latent", **told).images
        pipe = AutoPipelineForImage2Image.from_pipe(pipe)
        known = signature(pipe.__call__).parameters
        told = {key: value for key, value in told.items() if key in known}
        told |= {"num_inference_steps": TEACHER["steps"], "strength": STRENGTH}
    pipe.set_progress_bar_config(disable=True)

    def call() -> None:
        for first in range(0, batch, at_once):
            part = slice(first, first + at_once)
            noise = [torch.Generator("cpu").manual_seed(seed) for seed in seeds[part]]
            more = {"image": start[part]} if role == "teacher" else {}
            pipe(prompts[part], generator=noise, **told, **more)

    return call


def same_bits(model: Diffusion, role: str) -> bool:
    """Whether a row is the same to the bit whatever its neighbours and its place."""
    prompts, seeds = rows(model.settings.batch_size)
    steps = min(4, model.settings.steps)
    start = model.draw(prompts, seeds, 1)

    def made(order: slice) -> torch.Tensor:
        texts, noise = prompts[order], seeds[order]
        if role == "student":
            latents = model.draw(texts, noise, steps)
        else:
            turned = start.flip(0) if order.step else start[order]
            latents = model.refine(texts, noise, turned, STRENGTH, steps)
        return torch.from_numpy(model.decode(latents))

    together = made(slice(None))
    turned, alone = made(slice(None, None, -1)).flip(0), made(slice(1))
    return torch.equal(together, turned) and torch.equal(together[:1], alone)


def measure(
    name: str, folder: Path, meter: Meter, batches: Sequence[int], compiled: bool
) -> list[Line]:
    """All lines of one model."""
    _, dtype, _ = MODELS[name]
    lines: list[Line] = []

    def add(what: str, batch: int, make: Callable[[], Callable[[], object]], **more: Any) -> Line:
        try:
            line = meter.line(make(), batch, dtype)
        except torch.OutOfMemoryError:
            line = {"pictures_per_second": None}
        if more.get("beside") and line["pictures_per_second"]:
            line["times_plain"] = line["pictures_per_second"] / more["beside"]
        lines.append({"model": name, "what": what, "batch": batch, **line, **more})
        print_line(lines[-1])
        gc.collect()
        if meter.is_gpu:
            torch.cuda.empty_cache()
        return lines[-1]

    options: dict[str, dict[str, Any]] = {
        "ours": {},
        "ours, channels last": {"channels_last": True},
    }
    if compiled:
        options["ours, compiled"] = {"compile": True}
        options["ours, compiled, channels last"] = {"compile": True, "channels_last": True}
    first = batches[0]
    for role, making in (("student", drawing), ("teacher", refining)):
        add(
            f"{role}, plain diffusers, one prompt a call",
            first,
            lambda role=role: plain(name, folder, meter.device, role, 1, first),
        )
        for batch in batches:
            beside = add(
                f"{role}, plain diffusers, a batch a call",
                batch,
                lambda role=role, b=batch: plain(name, folder, meter.device, role, b, b),
            )["pictures_per_second"]
            for what, more in options.items():
                model = Diffusion(settings_for(name, folder, batch, **ROLES[role], **more))
                add(
                    f"{role}, {what}",
                    batch,
                    lambda making=making, model=model: making(model),
                    same_bits=same_bits(model, role),
                    beside=beside,
                )
                del model
    return lines


def measure_oracle(folder: Path, meter: Meter, batches: Sequence[int], layers: int) -> list[Line]:
    """ImageReward at its size (12 layers), on pictures of 512 pixels."""
    make_folder(folder, layers)
    return [
        _oracle_line(folder, meter, batch, dtype)
        for batch in batches
        for dtype in (("float32", "float16") if meter.is_gpu else ("float32",))
    ]


def _oracle_line(folder: Path, meter: Meter, batch: int, dtype: Any) -> Line:
    oracle = Oracle(
        OracleSettings(kind="image-reward", path=str(folder), batch_size=batch, dtype=dtype)
    )
    pictures = torch.randint(0, 256, (batch, 512, 512, 3), dtype=torch.uint8).numpy()
    prompts, _ = rows(batch)
    picks = [(0, row) for row in range(batch)]
    measured = meter.line(lambda: oracle.score(prompts, picks, pictures), batch, dtype)
    line = {"model": "image-reward", "what": dtype, "batch": batch, **measured}
    print_line(line)
    return line


FORMS = {
    "share_of_matrix_rate": "{:.0%} of the matrix rate",
    "peak_gib": "{:.1f} GiB",
    "idle_share": "{:.0%} idle",
    "times_plain": "{:.2f} times plain diffusers in such batches",
    "same_bits": "same bits: {}",
}


def print_line(line: Line) -> None:
    """One line for people."""
    rate = line["pictures_per_second"]
    shown = "out of memory" if rate is None else f"{rate:9.3f} pictures/s"
    for key, form in FORMS.items():
        if line.get(key) is not None:
            shown += ", " + form.format(line[key])
    print(f"{line['model']:12} {line['what']:40} batch {line['batch']:3}: {shown}", flush=True)


def main(arguments: Sequence[str] | None = None) -> list[Line]:
    """Measures, prints, and with --json writes the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["sd15", "sdxl", "sd35"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="Measure torch.compile too.")
    parser.add_argument("--oracle-layers", type=int, default=12, help="12 is ImageReward's size.")
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
            lines += measure_oracle(
                Path(home) / "oracle", meter, chosen.batches, chosen.oracle_layers
            )
    if chosen.json:
        about = {"device": name, "torch": torch.__version__, "matrix_rate": meter.matrix_rate}
        chosen.json.write_text(json.dumps({**about, "lines": lines}, indent=2) + "\n")
    return lines


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
