"""benchmarks/gpu_quick.sh runs, here with tiny models; its figures of them mean nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from actors.models.diffusion import Diffusion
from actors.settings import DiffusionSettings
from benchmarks import gpu, gpu_bits, gpu_models, gpu_options
from benchmarks.gpu_meter import Line, Meter
from benchmarks.gpu_report import Report
from tests.models.conftest import Folders, settings_for

ROOT = Path(__file__).parents[2]
STAGES = ("draw", "decode", "refine", "encode")
ROLES = ("student", "teacher")
FAMILIES = ["tiny-sdxl", "tiny-sd3", "tiny-flux"]


class Run:
    """A run with every section."""

    def __init__(self, file: Path) -> None:
        before = counters["stats"]["unique_graphs"]
        arguments = ["--models", "tiny-sd", "--repeats", "1"]
        self.lines = gpu.main([*arguments, "--json", str(file)])
        self.num_graphs = counters["stats"]["unique_graphs"] - before
        self.written = json.loads(file.read_text())

    def found(self, section: str) -> dict[tuple[str, int | None], Line]:
        """The section's lines, by what they measure and their batch."""
        lines = [line for line in self.lines if line["section"] == section]
        return {(line["what"], line.get("batch")): line for line in lines}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """With torch.compile's real tracing; its code generator, which takes minutes, is left out. A
    class may be compiled only once, so that a run with many batch sizes is not needed."""
    torch.set_num_threads(1)
    once = torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True)
    with pytest.MonkeyPatch.context() as patch, once:
        traced: Any = partial(torch.compile, backend="eager")
        patch.setattr("actors.models.loading.torch.compile", traced)
        yield Run(tmp_path_factory.mktemp("gpu") / "figures.json")


@pytest.mark.skipif(torch.cuda.is_available(), reason="what it says without a GPU")
def test_real_sizes_are_refused_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--models", "sd15"])
    assert "no GPU here" in capsys.readouterr().err


def test_nothing_fails(run: Run) -> None:
    assert [line for line in run.lines if "error" in line] == []
    assert run.written["lines"] == run.lines


def test_ours_is_compared_with_the_plain_one(run: Run) -> None:
    rates = run.found("rates")
    for role in ("student", "teacher"):
        for batch in (1, 2):
            ours, plain = rates[f"{role}, ours", batch], rates[f"{role}, plain diffusers", batch]
            assert ours["times_plain"] == ours["pictures_per_second"] / plain["pictures_per_second"]
            assert ours["share_of_matrix_rate"] > 0
            parts = rates[f"{role}, ours: parts", batch]["parts"]
            assert {"text", "noise", "network", "decode", "other"} <= set(parts)
    oracle = run.found("oracle")
    plain = oracle["plain, one pair a call", 2]["pictures_per_second"]
    ours = oracle["ours, float32", 2]
    assert ours["times_plain"] == ours["pictures_per_second"] / plain
    assert run.found("decode")["decode, float32, contiguous_format", 2]["same_bytes"]


def test_a_rows_bits_are_compared_in_every_stage(run: Run) -> None:
    stages = {f"float32, as it is: {stage}" for stage in STAGES}
    bits = run.found("bits") | run.found("oracle")
    wanted = {*stages, "ours, float32, as it is: bits"}
    assert {what for what, _ in bits} >= wanted
    assert {what: line[check] for (what, _), line in bits.items() for check in gpu_bits.CHECKS
            if what in wanted and not line[check]} == {}  # fmt: skip


def test_each_compiled_line_has_a_graph_of_its_own(run: Run) -> None:
    """Where torch.compile gives up it only warns."""
    compiled = [what for what, _ in run.found("compile") if what.endswith("ours, compile")]
    assert run.num_graphs == 2 == sum(not what.startswith("load") for what in compiled)


OTHERS = {
    *("path", "timed", "revision", "allow_pickle", "variant", "denoiser", "vae", "lora", "loras"),
    *("controlnet", "scheduler", "dtype", "steps", "guidance_scale", "batch_size", "width"),
    *("height", "prompt_tokens", "image_guidance_scale", "guidance_passes", "compile"),
}
"""Settings that say which model it is and how much of it, or that other sections vary."""


def test_every_option_is_measured_alone(run: Run) -> None:
    """A new setting belongs to the options, or to those that are named above."""
    options = {name for more in gpu_options.OF_SETTINGS.values() for name in more}
    assert options | OTHERS == set(DiffusionSettings.model_fields)
    found = run.found("options")
    measured = {what for (what, batch), line in found.items() if "pictures_per_second" in line}
    skipped = {what: line["skipped"] for (what, _), line in found.items() if "skipped" in line}
    every = {f"{role}, {one}" for role in ROLES for one in gpu_options.OF_SETTINGS}
    of_the_rows = {"student, size", "teacher, size", "teacher, guidance_scale"}
    of_the_rows |= {"teacher, negative_prompt"}
    assert measured | set(skipped) == every | {f"{what} of the rows" for what in of_the_rows}
    # What Stable Diffusion does not have, in a sentence that says so.
    assert set(skipped) == {"student, clip_skip", "teacher, clip_skip", "teacher, guidance_rescale"}
    assert all("Leave it out" in why for why in skipped.values())
    assert run.found("oracle")["ours, float32, with an extra score", 2]["pictures_per_second"] > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_the_other_families_run_too(name: str) -> None:
    lines = gpu.main(["--models", name, "--repeats", "1", "--sections", "bits", "rates"])
    assert [line for line in lines if "error" in line] == []
    assert sum(": parts" in line["what"] for line in lines) == 2 * len(
        gpu_models.MODELS[name].batches
    )


def test_the_script_runs_on_a_machine_without_ray(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('there is no Ray here')\n")
    file = tmp_path / "results" / "figures.json"
    script = [ROOT / "benchmarks" / "gpu_quick.sh", file]
    chosen = ["--models", "tiny-sd", "--sections", "decode", "--repeats", "1"]
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([*script, *chosen], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    written = json.loads(file.read_text())
    assert {"device", "torch", "cudnn", "diffusers", "matrix_rate"} <= set(written)
    assert [line["what"] for line in written["lines"]][:2] == ["build", "load, student"]


def test_settings_of_the_device_are_put_back() -> None:
    places = (
        (torch.backends.cudnn, ("deterministic", "benchmark", "allow_tf32")),
        (torch.backends.cuda.matmul, ("allow_tf32", "allow_fp16_reduced_precision_reduction")),
    )

    def flags() -> list[object]:
        return [getattr(place, name) for place, names in places for name in names]

    before = flags()
    changed = []
    for setting in gpu_bits.settings_of_the_device().values():
        with setting():
            changed += [flags()] if flags() != before else []
        assert flags() == before
    assert len(changed) == 5


def rows(values: Any) -> gpu_bits.OfRows:
    """A stage that makes `values(rows)`."""
    return lambda chosen, _size: np.array(values(np.array(chosen)))


@pytest.mark.parametrize(
    ("made", "differ"),
    [
        (rows(lambda chosen: chosen * 2), set()),
        (rows(lambda chosen: chosen + len(chosen)), {"padding"}),
        (rows(lambda chosen: chosen + chosen.sum()), {"neighbours", "padding", "holes"}),
        (rows(lambda chosen: chosen * np.arange(1, 1 + len(chosen))), {"place"}),
    ],
)
def test_what_bits_depend_on_is_found(made: gpu_bits.OfRows, differ: set[str]) -> None:
    facts = gpu_bits.compared(made, 4)
    assert {check for check in gpu_bits.CHECKS if not facts[check]} == differ
    assert all(facts[f"{check}_difference"] > 0 for check in differ)


@pytest.mark.parametrize("made", [rows(lambda chosen: chosen * 0), rows(lambda c: c * np.nan)])
def test_rows_that_are_alike_or_no_numbers_say_nothing(made: gpu_bits.OfRows) -> None:
    facts = gpu_bits.compared(made, 4)
    assert {facts[check] for check in gpu_bits.CHECKS} == {None}


def test_the_module_that_depends_on_the_place_is_named(folders: Folders) -> None:
    model = Diffusion(settings_for(folders("stable-diffusion"), batch_size=2))
    layer = model.denoiser.mid_block.attentions[0].transformer_blocks[0].attn1.to_q
    usual = layer.forward
    assert gpu_bits.place_dependent_modules(model)["modules"] == {}
    layer.forward = lambda x: usual(x) + torch.arange(len(x))[:, None, None] * 1e-3
    (name,) = gpu_bits.place_dependent_modules(model)["modules"]
    assert name.startswith("Linear")


def report(seconds: float = 1e9, file: Path | None = None) -> Report:
    return Report(Meter(torch.device("cpu"), repeats=1), {}, file, seconds)


def test_what_fails_is_a_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    def too_large() -> Line:
        raise torch.OutOfMemoryError("no room")

    file = tmp_path / "lines.json"
    lines = report(file=file)
    lines.add("large", too_large)
    lines.add("small", lambda: {"pictures_per_second": 1.0})
    written: Sequence[Line] = json.loads(file.read_text())["lines"]
    assert "no room" in written[0]["error"]
    assert written[1]["pictures_per_second"] == 1.0


def test_what_there_is_no_time_for_is_named() -> None:
    def never() -> Line:
        raise AssertionError

    assert report(seconds=-1.0).add("late", never)["skipped"] == "no time left"


def test_a_model_is_gone_before_the_next_is_loaded() -> None:
    """Or the next one's memory would be both's."""
    seen: list[weakref.ref[Any]] = []

    class Model:
        def __init__(self) -> None:
            self.hook = self  # A circle, as a loaded pipeline's hooks are.

    def load() -> Any:
        assert [model() for model in seen] == [None] * len(seen)
        model = Model()
        seen.append(weakref.ref(model))
        return model

    lines = report()
    for what in ("one", "two"):
        with lines.model_of(what, load) as model:
            assert model is seen[-1]()
            del model
    assert len(seen) == 2


def test_models_of_real_size_have_the_published_numbers_of_parameters() -> None:
    """In billions, without buffers; on the meta device, which keeps shapes and no numbers."""
    published = {
        "sd15": ("unet", 0.860),
        "sdxl": ("unet", 2.567),
        "sd35-medium": ("transformer", 2.243),
        "sd35-large": ("transformer", 8.06),
        "flux-schnell": ("transformer", 11.89),
    }
    for name, (part, billions) in published.items():
        with torch.device("meta"):
            network = getattr(gpu_models.MODELS[name].build(), part)
        count = sum(weight.numel() for weight in network.parameters()) / 1e9
        assert count == pytest.approx(billions, rel=0.01), name
