"""benchmarks/gpu.py runs, here on a CPU with tiny models; its figures there mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from actors.models.oracles import image_reward
from benchmarks import gpu, gpu_models


@pytest.mark.skipif(torch.cuda.is_available(), reason="what it says without a GPU")
def test_real_sizes_are_refused_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--models", "sd15"])
    assert "no GPU here" in capsys.readouterr().err


def test_every_line_is_measured(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    file = tmp_path / "figures.json"
    lines = gpu.main(
        ["--models", "tiny", "--batches", "2", "--repeats", "1", "--no-oracle", "--json", str(file)]
    )
    assert {line["what"] for line in lines} >= {
        "student, plain diffusers, one prompt a call",
        "student, plain diffusers, a batch a call",
        "teacher, plain diffusers, a batch a call",
        "student, ours",
        "teacher, ours",
        "student, ours, channels last",
    }
    assert all(line["pictures_per_second"] > 0 for line in lines)
    assert all(line["share_of_matrix_rate"] > 0 for line in lines)
    assert all(line.get("same_bits", True) for line in lines)
    assert {"times_plain" in line for line in lines if "ours" in line["what"]} == {True}
    assert json.loads(file.read_text())["lines"] == lines


def test_models_of_real_size_have_the_published_numbers_of_parameters() -> None:
    """In billions; on the meta device, which keeps shapes and no numbers."""
    published = {"sd15": ("unet", 0.860), "sdxl": ("unet", 2.567), "sd35": ("transformer", 8.06)}
    for name, (part, billions) in published.items():
        with torch.device("meta"):
            network = getattr(gpu_models.MODELS[name][0](), part)
        count = sum(weight.numel() for weight in network.parameters()) / 1e9
        assert count == pytest.approx(billions, rel=0.01), name


def test_the_oracle_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageReward's own test has its real size; here the scores are left out."""
    assert image_reward.ImageReward
    meter = gpu.Meter(torch.device("cpu"), repeats=1)
    monkeypatch.setattr(gpu, "make_folder", lambda folder, layers: folder)

    class Still:
        def __init__(self, settings: object) -> None: ...

        def score(self, prompts: list[str], picks: object, pictures: object) -> list[float]:
            torch.ones(4, 4) @ torch.ones(4, 4)
            return [0.0] * len(prompts)

    monkeypatch.setattr(gpu, "Oracle", Still)
    lines = gpu.measure_oracle(tmp_path, meter, [1, 2], layers=1)
    assert [line["batch"] for line in lines] == [1, 2]
