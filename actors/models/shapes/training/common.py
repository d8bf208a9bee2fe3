"""Shared by the training stages: seeds, schedules, the log, and checkpoints to resume from."""

import copy
import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from actors.models.shapes import world

NUM_THREADS = 2


@dataclass(kw_only=True)
class Workshop:
    """Where a training run keeps its things."""

    folder: Path
    """Checkpoints and caches. Deleting it starts the training anew."""

    weights: Path
    """Where finished models are written."""

    log_file: Path
    """One JSON object per line, appended."""

    started: float = field(default_factory=time.monotonic)

    def log(self, stage: str, **facts: float | int | str) -> None:
        """Write one line to the log."""
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in facts.items()}
        line = {"stage": stage, "seconds": round(time.monotonic() - self.started), **rounded}
        with self.log_file.open("a") as file:
            file.write(json.dumps(line) + "\n")


@dataclass(kw_only=True)
class Progress:
    """A stage's state on disk, so that a killed run continues at its last checkpoint."""

    file: Path
    parts: dict[str, Any]
    """Name -> object with `state_dict` and `load_state_dict`."""

    every_seconds: float = 120.0
    step: int = 0
    _saved: float = field(default_factory=time.monotonic)

    def resume(self) -> None:
        """Load the last checkpoint, if there is one."""
        if self.file.exists():
            state = torch.load(self.file, weights_only=True)
            self.step = state["step"]
            for name, part in self.parts.items():
                part.load_state_dict(state[name])

    def steps(self, num_steps: int) -> Iterator[int]:
        """Count from where the last run stopped, and save now and then and at the end."""
        while self.step < num_steps:
            yield self.step
            self.step += 1
            now = time.monotonic()
            if now - self._saved > self.every_seconds or self.step == num_steps:
                self._saved = now
                self.save()

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".partial")
        torch.save({"step": self.step, **state}, partial)
        partial.replace(self.file)


class Average:
    """An exponential moving average of a module's weights, with a warm-up (Karras et al. 2022)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's weights."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """For `Progress`."""
        return {"num_updates": self.num_updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """For `Progress`."""
        self.num_updates, self.weights = state["num_updates"], state["weights"]


def learning_rate(step: int, num_steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    angle = math.pi * (step - warmup) / max(1, num_steps - warmup)
    return peak * (0.01 + 0.99 * (1 + math.cos(angle)) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = value


def step_generators(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Randomness that depends on the step alone, so that a resumed run draws the same."""
    sequence = np.random.SeedSequence([seed, step])
    return np.random.default_rng(sequence), torch.Generator().manual_seed(
        int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
    )


def render_many(
    seed: int, num_pictures: int, split: world.Split
) -> tuple[list[str], NDArray[np.uint8]]:
    """Captions and right pictures of them: (num_pictures, 64, 64, 3) uint8."""
    rng = np.random.default_rng(seed)
    captions = world.sample_captions(rng, num_pictures, split, distinct=False)
    pictures = np.stack([world.draw(caption, rng) for caption in captions])
    return [str(caption) for caption in captions], pictures


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """(batch, height, width, 3) uint8 -> (batch, 3, height, width) float32 in [-1, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
    return tensor.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


def to_pictures(tensor: Tensor) -> NDArray[np.uint8]:
    """(batch, 3, height, width) in [-1, 1] -> (batch, height, width, 3) uint8."""
    scaled = tensor.float().add(1).mul(127.5).clamp(0, 255).round().to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


class Replicas:
    """One module trained by several threads, each with a share of every batch.

    Small models spend most of their time between operations when one operation is split over the
    cores; a share of the batch per core keeps every core busy. The replicas share their weights'
    memory and have gradients of their own, which are added up in a fixed order.
    """

    def __init__(self, module: nn.Module) -> None:
        torch.set_num_threads(1)
        self.module = module
        copies = [copy.deepcopy(module) for _ in range(NUM_THREADS - 1)]
        for other in copies:
            for mine, its in zip(module.parameters(), other.parameters(), strict=True):
                its.data = mine.data
        self._all = [module, *copies]

    def backward(self, loss_of: Callable[[Any, slice], Tensor], batch: int) -> float:
        """Add the gradient of the mean loss to the module. Returns the mean loss.

        loss_of: a replica and its rows of the batch -> the mean loss over those rows.
        """
        share = batch // len(self._all)
        slices = [slice(i * share, (i + 1) * share) for i in range(len(self._all))]

        def work(replica: nn.Module, rows: slice) -> float:
            loss = loss_of(replica, rows) / len(self._all)
            loss.backward()
            return loss.item()

        total = sum(_threads().map(work, self._all, slices))
        for other in self._all[1:]:
            for mine, its in zip(self.module.parameters(), other.parameters(), strict=True):
                if its.grad is None or mine.grad is None:
                    continue
                mine.grad.add_(its.grad)
                its.grad = None
        return total


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(NUM_THREADS)


def in_shares(work: Callable[[slice], Tensor], batch: int) -> Tensor:
    """Run `work` on a share of the batch per thread and join what it returns."""
    torch.set_num_threads(1)
    share = -(-batch // NUM_THREADS)
    slices = [slice(start, min(start + share, batch)) for start in range(0, batch, share)]
    return torch.cat(list(_threads().map(work, slices)))


def clip_and_step(module: nn.Module, optimizer: torch.optim.Optimizer, most: float) -> float:
    """One optimiser step with the gradient's norm limited. Returns the norm before."""
    norm = nn.utils.clip_grad_norm_(module.parameters(), most)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)
