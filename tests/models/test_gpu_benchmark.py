"""benchmarks/gpu.py runs, here with tiny models; its figures of them mean nothing."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from benchmarks import gpu, gpu_models

PLAIN = {
    "student": "student, plain diffusers, a batch a call",
    "teacher": "teacher, plain diffusers, a batch a call",
    "oracle": gpu.PLAIN_ORACLE,
}
OURS = {"ours", "ours, channels last", "ours, compiled", "ours, compiled, channels last"}


class Run:
    """A run with every option."""

    def __init__(self, file: Path) -> None:
        before = counters["stats"]["unique_graphs"]
        arguments = ["--models", "tiny", "--batches", "2", "--repeats", "1", "--compile"]
        self.lines = gpu.main([*arguments, "--json", str(file)])
        self.num_graphs = counters["stats"]["unique_graphs"] - before
        self.written = json.loads(file.read_text())
        self.ours = [line for line in self.lines if ", ours" in line["what"]]


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


def test_every_line_is_measured(run: Run) -> None:
    pipelines = {f"{role}, {what}" for role in ("student", "teacher") for what in OURS}
    alone = {f"{role}, plain diffusers, one prompt a call" for role in ("student", "teacher")}
    found = {line["what"] for line in run.lines}
    assert found >= {*PLAIN.values(), *alone, *pipelines, "oracle, ours, float32"}
    assert all(line["pictures_per_second"] > 0 for line in run.lines)
    assert all(line["share_of_matrix_rate"] > 0 for line in run.lines)
    on_gpu = torch.cuda.is_available()
    for figure in ("peak_gib", "idle_share"):
        assert {line[figure] is not None for line in run.lines} == {on_gpu}, figure
    assert run.written["lines"] == run.lines


def test_each_of_ours_is_compared_with_the_plain_one(run: Run) -> None:
    rates = {line["what"]: line["pictures_per_second"] for line in run.lines}
    for line in run.ours:
        beside = rates[PLAIN[line["what"].split(",")[0]]]
        assert line["times_plain"] == line["pictures_per_second"] / beside, line["what"]


def test_each_of_ours_has_the_same_bits_whatever_its_neighbours(run: Run) -> None:
    assert {line["what"]: line["same_bits"] for line in run.ours if not line["same_bits"]} == {}


def test_each_compiled_line_has_a_graph_of_its_own(run: Run) -> None:
    """Where torch.compile gives up it only warns."""
    assert run.num_graphs == sum("compiled" in line["what"] for line in run.lines) == 4


def test_bits_that_depend_on_neighbours_or_place_are_found() -> None:
    batch = np.arange(3)
    assert gpu.same_bits(lambda part: batch[part] * 2) is True
    assert gpu.same_bits(lambda part: batch[part] + len(batch[part])) is False
    assert gpu.same_bits(lambda part: batch[part] * np.arange(1, 1 + len(batch[part]))) is False
    assert gpu.same_bits(lambda part: batch[part] * 0) is None
    assert gpu.same_bits(lambda part: batch[:1][part]) is None


def test_what_memory_does_not_suffice_for_is_said_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def too_large() -> gpu.Made:
        raise torch.OutOfMemoryError

    report = gpu.Report("tiny", gpu.Meter(torch.device("cpu"), repeats=1))
    assert report.add("large", 1, "float32", too_large, beside=1.0) is None
    assert report.add("small", 1, "float32", lambda: (lambda: None, {}))
    assert [line["what"] for line in report.lines] == ["large", "small"]
    assert "out of memory" in capsys.readouterr().out


def test_a_model_is_gone_before_the_next_is_loaded() -> None:
    """Or the next one's memory would be both's."""

    class Model:
        def __init__(self) -> None:
            self.hook = self.call  # A circle, as a loaded pipeline's hooks are.

        def call(self) -> None: ...

    seen: list[weakref.ref[Model]] = []

    def make() -> gpu.Made:
        assert [model() for model in seen] == [None] * len(seen)
        model = Model()
        seen.append(weakref.ref(model))
        return model.hook, {}

    report = gpu.Report("tiny", gpu.Meter(torch.device("cpu"), repeats=1))
    for what in ("one", "two"):
        report.add(what, 1, "float32", make)
    assert len(seen) == 2


def test_models_of_real_size_have_the_published_numbers_of_parameters() -> None:
    """In billions; on the meta device, which keeps shapes and no numbers."""
    published = {"sd15": ("unet", 0.860), "sdxl": ("unet", 2.567), "sd35": ("transformer", 8.06)}
    for name, (part, billions) in published.items():
        with torch.device("meta"):
            network = getattr(gpu_models.MODELS[name][0](), part)
        count = sum(weight.numel() for weight in network.parameters()) / 1e9
        assert count == pytest.approx(billions, rel=0.01), name
