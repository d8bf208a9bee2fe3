"""Student, oracle and teacher on a GPU, the most important first: `python -m benchmarks.gpu`.

Models of published sizes with random weights (benchmarks/gpu_models.py, and ImageReward at its
size). `--json FILE` is written anew after every line, and what `--seconds` leaves no time for is
named there. Sections:

- `bits`: what a row's bits depend on (benchmarks/gpu_bits.py), by precision and settings.
- `rates`: pictures a second of our actors, of plain diffusers in batches of the same size, and of
  plain diffusers with one prompt a call; `compile`: with that on.
- `options`: our actors with none and with each other option (benchmarks/gpu_options.py), of the
  settings and of the rows of a call.
- `oracle`: ImageReward, ours and the package's own `score`, which takes one pair a call.
- `decode`: what the autoencoder costs, by its precision and the place where bytes are made.

A line of speed has

- `pictures_per_second`: from the median of some calls, after one that warms up.
- `times_plain`: that divided by the plain one's in the same run, in batches of the same size.
- `share_of_matrix_rate`: the call's floating-point operations a second, as a share of what a large
  product of matrices reaches in this precision in the same run.
- `peak_gib`: the most GPU memory that was allocated at once, weights included.
- `idle_share`: the share of a call, while it is traced, in which no kernel runs.
- `parts`: milliseconds of a call by part, each with the GPU waited for, so they add up to more.

Without a GPU it runs the tiny models only (`--models tiny-sd`), which shows that it works.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from inspect import signature
from pathlib import Path
from time import perf_counter
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from diffusers import AutoPipelineForImage2Image, DiffusionPipeline

from actors.errors import ModelError
from actors.images import Pictures
from actors.models.batches import best_device
from actors.models.diffusion import Diffusion
from actors.models.oracles.image_reward import ImageReward
from actors.oracle import Oracle
from actors.refinement import Refinement
from actors.settings import (
    ExtraScoreSettings,
    OracleSettings,
    StudentSettings,
    TeacherSettings,
)
from actors.student import Student
from actors.teacher import Teacher
from benchmarks import gpu_bits
from benchmarks.gpu_bits import STRENGTH, rows
from benchmarks.gpu_meter import Call, Line, Meter, Parts
from benchmarks.gpu_models import MODELS, save
from benchmarks.gpu_options import OF_SETTINGS, call_with, check_takes, of_rows
from benchmarks.gpu_report import Report
from tests.models.reward import make_folder, one_by_one, small_encoder

STUDENT = {"steps": 4, "guidance_scale": 1.0}
TEACHER = {"steps": 25, "guidance_scale": 7.5}
REFINEMENT = Refinement("refine", STRENGTH, round(STRENGTH * 25), "latents")


def our_settings(role: str, name: str, folder: Path, batch: int, **more: Any) -> Any:
    """The settings of our student or teacher."""
    model = MODELS[name]
    kind, fields = (StudentSettings, STUDENT) if role == "student" else (TeacherSettings, TEACHER)
    shape = {"width": model.side, "height": model.side, "dtype": model.dtype}
    return kind(path=str(folder), batch_size=batch, **{**shape, **fields, **more})


def our_actor(settings: Any) -> Student | Teacher:
    """The class of which Ray makes actors."""
    if isinstance(settings, StudentSettings):
        return Student(settings)
    return Teacher(settings)


def our_call(actor: Student | Teacher, batch: int) -> Call:
    """A call with a whole batch, as the driver makes it."""
    return call_with(actor, batch, REFINEMENT)


def plain_pipeline(name: str, folder: Path, device: torch.device) -> Any:
    """The pipeline as a user of diffusers loads it."""
    pipe: Any = DiffusionPipeline.from_pretrained(folder, dtype=getattr(torch, MODELS[name].dtype))
    pipe = pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def plain_call(pipe: Any, name: str, role: str, batch: int) -> Call:
    """The call of a user of diffusers for a batch of pictures."""
    prompts, seeds = rows(batch)
    size = {"width": MODELS[name].side, "height": MODELS[name].side}
    noise = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    draw = {"num_inference_steps": STUDENT["steps"], **size}
    if role == "student":
        return lambda: pipe(
            prompts, generator=noise, guidance_scale=STUDENT["guidance_scale"], **draw
        )
    pictures = pipe(prompts, generator=noise, **draw).images
    improving: Any = AutoPipelineForImage2Image.from_pipe(pipe)
    improving.set_progress_bar_config(disable=True)
    fields = {
        "num_inference_steps": TEACHER["steps"],
        "guidance_scale": TEACHER["guidance_scale"],
        "strength": STRENGTH,
        **{key: value for key, value in size.items() if key in signature(improving).parameters},
    }
    return lambda: improving(prompts, image=pictures, generator=noise, **fields)


class Bench:
    """The sections, for models that are built and saved when they are first asked for."""

    def __init__(self, report: Report, home: Path, largest: int, all_settings: bool) -> None:
        self.report, self.home, self.meter = report, home, report.meter
        self.largest, self.all_settings = largest, all_settings
        self.folders: dict[str, Path] = {}

    def folder(self, name: str) -> Path:
        """Of a pipeline. Raises KeyError if it could not be built."""
        if name not in self.folders:

            def build() -> Line:
                self.folders[name] = save(name, self.home / name, self.meter.device)
                return {}

            self.report.add("build", build)
            self.report.free()
        return self.folders[name]

    def batches(self, name: str, role: str) -> list[int]:
        """The batch sizes at which speed is measured."""
        return [batch for batch in MODELS[name].batches[role] if batch <= self.largest]

    def run(self, section: str, name: str) -> None:
        """One section with one model."""
        self.report.section, self.report.model = section, name
        if section == "oracle":
            self.oracle()
        elif perf_counter() < self.report.end:
            try:
                getattr(self, section)(name)
            except KeyError:
                self.report.add(section, lambda: {"error": "there is no such model"})
        else:
            self.report.add(section, dict)

    def bits(self, name: str) -> None:
        """Each stage, by precision and settings."""
        folder, model = self.folder(name), MODELS[name]
        dtypes = ("float16", "bfloat16") if self.meter.is_gpu else (model.dtype,)
        size = sorted({batch for sizes in model.batches.values() for batch in sizes})[1]
        for dtype in sorted(dtypes, key=lambda dtype: dtype != model.dtype):
            self._bits(
                name, folder, size, dtype, all_settings=self.all_settings and dtype == model.dtype
            )
        self._bits(name, folder, size, model.dtype, channels_last=True)

    def _bits(
        self,
        name: str,
        folder: Path,
        size: int,
        dtype: str,
        all_settings: bool = False,
        **more: Any,
    ) -> None:
        how = ", ".join([dtype, *more])
        # Guidance of the teacher's: two evaluations a step, as in a teacher's batches.
        settings = our_settings("teacher", name, folder, size, **{**more, "dtype": dtype})
        with self.report.model_of(how, partial(Diffusion, settings)) as loaded:
            if loaded is None:
                return
            found = self._stages(loaded, how)
            modules = partial(gpu_bits.place_dependent_modules, loaded)
            self.report.add(f"{how}: modules that depend on the place", modules, batch=size)
            chosen = gpu_bits.settings_of_the_device()
            for setting in chosen if all_settings else ("as it is",):
                with chosen[setting]():
                    self._compare(found, size, f"{how}, {setting}")

    def _compare(
        self, stages: dict[str, gpu_bits.OfRows], size: int, how: str, one_shape: bool = False
    ) -> None:
        for stage, made in stages.items():
            compare = partial(gpu_bits.compared, made, size, one_shape)
            self.report.add(f"{how}: {stage}", compare, batch=size)

    def _stages(self, loaded: Diffusion, how: str) -> dict[str, gpu_bits.OfRows]:
        found: dict[str, gpu_bits.OfRows] = {}
        self.report.add(f"{how}: inputs", lambda: found.update(gpu_bits.stages(loaded)) or {})
        return found

    def rates(self, name: str) -> None:
        """Ours and plain diffusers."""
        folder, model = self.folder(name), MODELS[name]
        plain: dict[tuple[str, int], float] = {}
        with self.report.model_of("plain", partial(self._plain, name, folder)) as pipe:
            for role in model.batches if pipe else ():
                for batch in self.batches(name, role):
                    make = partial(self._plain_line, pipe, name, role, batch)
                    line = self.report.add(f"{role}, plain diffusers", make, batch=batch)
                    plain[role, batch] = line.get("pictures_per_second", 0)
        for role in model.batches:
            self._ours(name, role, plain)

    def _plain(self, name: str, folder: Path) -> Any:
        return plain_pipeline(name, folder, self.meter.device)

    def _plain_line(self, pipe: Any, name: str, role: str, batch: int) -> Line:
        return self.meter.line(plain_call(pipe, name, role, batch), batch, MODELS[name].dtype)

    def _ours(self, name: str, role: str, plain: dict[tuple[str, int], float], **more: Any) -> None:
        model = MODELS[name]
        batches = self.batches(name, role)
        # Compiled for one shape: another would be compiled anew.
        batches = batches[1:2] if more.get("compile") else batches
        what = ", ".join([f"{role}, ours", *more])
        compiled = bool(more.get("compile"))
        settings = our_settings(role, name, self.folder(name), batches[-1], **more)
        with self.report.model_of(what, partial(our_actor, settings)) as actor:
            for batch in batches if actor is not None else ():

                def measured(batch: int = batch) -> Line:
                    call = our_call(actor, batch)
                    line = self.meter.line(call, batch, model.dtype, counted=not compiled)
                    if beside := plain.get((role, batch)):
                        line["times_plain"] = line["pictures_per_second"] / beside
                    if alone := plain.get((role, 1)):
                        line["times_plain_one_by_one"] = line["pictures_per_second"] / alone
                    return line

                if self.report.section != "parts":
                    self.report.add(what, measured, batch=batch)
            if actor is not None and not compiled:
                our_call(actor, batches[0])()  # A teacher makes its pipeline at its first call.
                parts = Parts(actor.diffusion, self.meter)
                for batch in batches:
                    make = partial(self._parts, parts, actor, batch)
                    self.report.add(f"{what}: parts", make, batch=batch)
                del parts
            if actor is not None and compiled:
                stages = self._stages(actor.diffusion, what)
                self._compare(stages, batches[0], what, one_shape=True)

    @staticmethod
    def _parts(parts: Parts, actor: Student | Teacher, batch: int) -> Line:
        return {"parts": parts.of(our_call(actor, batch))}

    def parts(self, name: str) -> None:
        """Of what the calls are made, without their rates."""
        for role in MODELS[name].batches:
            self._ours(name, role, {})

    def options(self, name: str) -> None:
        """Each option alone, at the middle batch; a model does not have all of them."""
        for role in MODELS[name].batches:
            for option, more in OF_SETTINGS.items():
                self._option(name, role, option, more)

    def _option(self, name: str, role: str, option: str, more: dict[str, Any]) -> None:
        batch, model, what = MODELS[name].batches[role][1], MODELS[name], f"{role}, {option}"
        settings = our_settings(role, name, self.folder(name), batch, **more)
        try:
            check_takes(settings)
        except ModelError as error:
            why = str(error)
            self.report.add(what, lambda: {"skipped": why}, batch=batch)
            return
        with self.report.model_of(what, partial(our_actor, settings)) as actor:
            if actor is None:
                return
            calls: dict[str, dict[str, Any]] = {what: {}}
            if not more:
                of_the_rows = of_rows(settings.guidance_scale, model.side)
                calls |= {f"{role}, {one} of the rows": of for one, of in of_the_rows.items()}
            for said, of in calls.items():

                def measured(of: dict[str, Any] = of) -> Line:
                    call = call_with(actor, batch, REFINEMENT, **of)
                    # Its operations are not counted: they are those of the section `rates`.
                    return self.meter.line(call, batch, model.dtype, counted=False)

                self.report.add(said, measured, batch=batch)

    def extra_scores(self, oracle: OracleSettings, dtype: str, batch: int) -> None:
        """The same oracle with a further score of every picture."""
        extra = ExtraScoreSettings(kind="image-reward", path=oracle.path, column="again")
        settings = oracle.model_copy(update={"extra_scores": (extra,)})
        with self.report.model_of("extra score", partial(Oracle, settings)) as loaded:
            if loaded is not None:
                score = gpu_bits.scores(loaded, 512)
                make = partial(self.meter.line, lambda: score(range(batch), None), batch, dtype)
                self.report.add(f"ours, {dtype}, with an extra score", make, batch=batch)

    def compile(self, name: str) -> None:
        """torch.compile, for the middle batch."""
        for role in MODELS[name].batches:
            self._ours(name, role, {}, compile=True)

    def decode(self, name: str) -> None:
        """The autoencoder by itself: its precision, and where the bytes are made."""
        batch = MODELS[name].batches["student"][1]
        settings = our_settings("student", name, self.folder(name), batch)
        with self.report.model_of("student", partial(Diffusion, settings)) as model:
            if model is None:
                return
            prompts, seeds = rows(batch)
            latents = model.draw(prompts, seeds, 1)
            for dtype in ("float32", "float16", "bfloat16") if self.meter.is_gpu else ("float32",):
                for layout in (torch.contiguous_format, torch.channels_last):
                    make = partial(self._decode_line, model, latents, dtype, layout)
                    self.report.add(f"decode, {dtype}, {str(layout)[6:]}", make, batch=batch)

    def _decode_line(
        self, model: Diffusion, latents: torch.Tensor, dtype: str, layout: torch.memory_format
    ) -> Line:
        vae = model.pipe.vae.to(getattr(torch, dtype)).to(memory_format=layout)
        scaled = latents.to(vae.dtype) / model._scale() + model._shift()

        @torch.inference_mode()
        def network() -> torch.Tensor:
            decoded: torch.Tensor = vae.decode(scaled).sample
            return decoded

        @torch.inference_mode()
        def bytes_on_the_device() -> np.ndarray:
            pixels = (network().float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
            return (pixels * 255).round().to(torch.uint8).cpu().numpy()

        @torch.inference_mode()
        def bytes_on_the_host() -> np.ndarray:
            pictures = model.pipe.image_processor.postprocess(network(), output_type="np")
            return np.asarray((pictures * 255).round(), dtype=np.uint8)

        line = self.meter.line(network, len(latents), dtype)
        ways = {"on_the_device": bytes_on_the_device, "on_the_host": bytes_on_the_host}
        for way, call in ways.items():
            made = call()
            line[f"{way}_ms"] = self.meter.seconds(call) * 1000
            line.setdefault("sha256", gpu_bits.digest(made))
        line["same_bytes"] = np.array_equal(bytes_on_the_device(), bytes_on_the_host())
        return line

    def oracle(self) -> None:
        """ImageReward, at its size on a GPU, and else tiny."""
        is_gpu = self.meter.is_gpu
        folder = self.home / "oracle"
        with nullcontext() if is_gpu else small_encoder():
            self.report.add(
                "build", lambda: {"folder": make_folder(folder, 12 if is_gpu else 1).name}
            )
            batch = 32 if is_gpu else 2

            def settings(dtype: Any) -> OracleSettings:
                fields = {"path": str(folder), "batch_size": batch, "dtype": dtype}
                return OracleSettings(kind="image-reward", **fields)

            beside = self.report.add(
                "plain, one pair a call",
                partial(self._plain_oracle, settings("float32")),
                batch=batch,
            )
            for dtype in ("float32", "float16", "bfloat16") if is_gpu else ("float32",):
                with self.report.model_of(dtype, partial(Oracle, settings(dtype))) as oracle:
                    if oracle is not None:
                        self._oracle(oracle, dtype, batch, beside.get("pictures_per_second"))
            self.extra_scores(settings("float32"), "float32", batch)

    def _plain_oracle(self, settings: OracleSettings) -> Line:
        """The calls as a user of image-reward writes them."""
        model = ImageReward(settings, self.meter.device).model
        model.mlp = model.mlp.head  # The package's own model, which our loading wraps.
        prompts, _ = rows(settings.batch_size)
        call = partial(one_by_one, model, prompts, noise(len(prompts)))
        return self.meter.line(call, len(prompts), "float32")

    def _oracle(self, oracle: Oracle, dtype: str, batch: int, beside: float | None) -> None:
        score = gpu_bits.scores(oracle, 512)

        def measured() -> Line:
            line = self.meter.line(lambda: score(range(batch), None), batch, dtype)
            if beside:
                line["times_plain"] = line["pictures_per_second"] / beside
            return line

        self.report.add(f"ours, {dtype}", measured, batch=batch)
        chosen = gpu_bits.settings_of_the_device()
        for setting in ("as it is", "matmul.allow_tf32"):
            with chosen[setting]():
                make = partial(gpu_bits.compared, score, batch)
                self.report.add(f"ours, {dtype}, {setting}: bits", make, batch=batch)


def noise(count: int) -> Pictures:
    """Pictures of 512 pixels."""
    return np.random.default_rng(0).integers(0, 256, (count, 512, 512, 3), dtype=np.uint8)


PLAN = (
    ("bits", "sd15"), ("bits", "sdxl"), ("oracle", "sd15"), ("rates", "sdxl"), ("rates", "sd15"),
    ("bits", "sd35-medium"), ("decode", "sdxl"), ("compile", "sd15"), ("rates", "flux-schnell"),
    ("rates", "sd35-medium"), ("options", "sdxl"), ("compile", "sdxl"), ("options", "sd15"),
    ("parts", "sdxl"), ("rates", "sd35-large"),
)  # fmt: skip
"""Sections and models, the most important first."""


def plan(models: Sequence[str] | None, sections: Sequence[str] | None) -> list[tuple[str, str]]:
    """The sections to run: of PLAN, or every section for models that it does not name."""
    known = dict.fromkeys(section for section, _ in PLAN)
    planned = {model for _, model in PLAN}
    more = [(s, m) for m in models or () if m not in planned for s in known]
    chosen = [*(pair for pair in PLAN if models is None or pair[1] in models), *more]
    return [pair for pair in chosen if sections is None or pair[0] in sections]


def main(arguments: Sequence[str] | None = None) -> list[Line]:
    """Measures, prints, and with --json writes the lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS)
    parser.add_argument("--sections", nargs="+", choices={section for section, _ in PLAN})
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1e9, help="No line begins after these.")
    parser.add_argument("--largest", type=int, default=8, help="The largest batch for speed.")
    parser.add_argument("--all-settings", action="store_true", help="Bits by settings of torch.")
    parser.add_argument("--json", type=Path, help="Write every line here.")
    chosen = parser.parse_args(arguments)
    device = best_device()
    chosen_plan = plan(chosen.models, chosen.sections)
    if device.type == "cpu" and not all(model.startswith("tiny") for _, model in chosen_plan):
        parser.error("there is no GPU here: only --models tiny-sd and the like")
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    meter = Meter(device, chosen.repeats)
    about = {
        "device": torch.cuda.get_device_name(device) if meter.is_gpu else "CPU",
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
    rates = ", ".join(f"{dtype} {rate / 1e12:.3g}" for dtype, rate in meter.matrix_rate.items())
    print(f"{about}; matrices, in 10^12 operations a second: {rates}", flush=True)
    report = Report(meter, about, chosen.json, chosen.seconds)
    with tempfile.TemporaryDirectory() as home:
        bench = Bench(report, Path(home), chosen.largest, chosen.all_settings)
        for section, model in chosen_plan:
            bench.run(section, model)
    return report.lines


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
