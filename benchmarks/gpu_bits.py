"""Whether a row's bits depend on anything but the row: the promise on which a dataset rests.

A job may cut, repeat and reorder its calls, so a row has to be the same to the bit whatever its
neighbours, its place and the padding of its batch, in each of a student's and a teacher's stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from actors.images import Pictures
from actors.models.diffusion import Diffusion
from actors.oracle import Oracle

PROMPTS = ["a small red circle left of a large blue square", "a dog on a mat", "two birds"]
STRENGTH = 0.6
FEW_STEPS = 2

CHECKS = ("repeat", "place", "neighbours", "padding", "holes")

OfRows = Callable[[Sequence[int], int | None], np.ndarray]
"""Makes the rows with these numbers, in this order; `micro_batch_size` of them together."""


def rows(count: int) -> tuple[list[str], list[int]]:
    """Prompts and seeds."""
    return [PROMPTS[row % len(PROMPTS)] for row in range(count)], list(range(count))


def stages(model: Diffusion) -> dict[str, OfRows]:
    """A student's and a teacher's stages, each from inputs that belong to the row alone."""
    count = 2 * model.settings.batch_size
    prompts, seeds = rows(count)
    latents = model.draw(prompts, seeds, FEW_STEPS)

    def of(values: Sequence[Any], chosen: Sequence[int]) -> list[Any]:
        return [values[row] for row in chosen]

    def draw(chosen: Sequence[int], size: int | None) -> np.ndarray:
        return _numbers(model.draw(of(prompts, chosen), of(seeds, chosen), FEW_STEPS, size))

    decoded: list[np.ndarray] = []
    model.pipe.vae.decoder.register_forward_hook(
        lambda _module, _inputs, pixels: decoded.append(_numbers(pixels))
    )

    def decode(chosen: Sequence[int], size: int | None) -> np.ndarray:
        # Before they are rounded to bytes, which hides what differs little.
        decoded.clear()
        model.decode(latents[list(chosen)], size)
        return np.concatenate(decoded)[: len(chosen)]

    def refine(chosen: Sequence[int], size: int | None) -> np.ndarray:
        start = latents[list(chosen)]
        how = (of(prompts, chosen), of(seeds, chosen), start, STRENGTH, FEW_STEPS, size)
        return _numbers(model.refine(*how))

    def encode(chosen: Sequence[int], size: int | None) -> np.ndarray:
        return _numbers(model.encode(pictures[list(chosen)], size))

    pictures = _noise(count, model.shape.height, model.shape.width)
    found = {"draw": draw, "decode": decode}
    return found | ({"refine": refine, "encode": encode} if model.family.refines else {})


def _noise(count: int, height: int, width: int) -> Pictures:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def _numbers(latents: torch.Tensor) -> np.ndarray:
    return latents.float().cpu().numpy()


def scores(oracle: Oracle, side: int) -> OfRows:
    """An oracle's stage."""
    count = 2 * oracle.settings.batch_size
    prompts, _ = rows(count)
    pictures = _noise(count, side, side)

    def score(chosen: Sequence[int], size: int | None) -> np.ndarray:
        texts, picks = [prompts[row] for row in chosen], [(0, row) for row in chosen]
        return np.array(oracle.score(texts, picks, pictures, micro_batch_size=size)[0])

    return score


def compared(made: OfRows, size: int, one_shape: bool = False) -> dict[str, Any]:
    """What a row's bits depend on, for batches of `size`, which is at least 2.

    `repeat`, `place`, `neighbours`, `padding`, `holes`: whether they are the same to the bit when
    the call is repeated, is turned around, has other neighbours for its first row, has its first
    row alone with copies of it, or every second row in its place among others. None: no two rows
    differed, or a row has no numbers, so that this says nothing. `other_size`: the largest
    difference when half as many rows are computed together, for which nothing is promised; not
    measured with `one_shape`, for which a network was compiled.
    """
    whole = made(range(size), None)
    facts: dict[str, Any] = {"sha256": digest(whole)}
    if not np.isfinite(whole).all() or (whole == whole[:1]).all():
        return facts | dict.fromkeys(CHECKS)
    variants = {
        "repeat": (whole, made(range(size), None)),
        "place": (whole, made(range(size)[::-1], None)[::-1]),
        "neighbours": (whole[:1], made([0, *range(size, 2 * size - 1)], None)[:1]),
        "padding": (whole[:1], made([0], None)),
        # Every second row in its place, and strangers in the others'.
        "holes": (whole[::2], made([r + size * (r % 2) for r in range(size)], None)[::2]),
    }
    for what, (one, other) in variants.items():
        facts[what] = np.array_equal(one, other)
        if not facts[what]:
            facts[f"{what}_difference"] = _difference(one, other)
    if not one_shape:
        facts["other_size"] = _difference(whole, made(range(size), size // 2))
    return facts


def place_dependent_modules(model: Diffusion) -> dict[str, Any]:
    """The modules whose output depends on a row's place: the innermost ones.

    Every row of a batch is the same one, and so is every row of what a module makes of it, unless
    the module's result depends on the place.
    """
    size = model.settings.batch_size
    found: dict[str, int] = {}
    calls: dict[str, int] = {}
    inner: list[bool] = []

    def unequal(values: Any) -> bool | None:
        tensors = [one for one in _flat(values) if one.dim() > 1 and one.shape[0] % size == 0]
        groups = [one.unflatten(0, (one.shape[0] // size, size)) for one in tensors]
        return any(bool((one != one[:, :1]).any()) for one in groups) if groups else None

    def before(_module: torch.nn.Module, _inputs: Any, _named: Any) -> None:
        inner.append(False)

    def after(module: torch.nn.Module, inputs: Any, named: Any, made: Any) -> None:
        is_inner = not inner.pop()
        name = f"{type(module).__name__} {_shape(module, inputs)}"
        if unequal((inputs, named)) is False:
            calls[name] = calls.get(name, 0) + 1
            if unequal(made):
                if is_inner:
                    found[name] = found.get(name, 0) + 1
                inner[:] = [True] * len(inner)

    handles = []
    for network in (model.denoiser, model.pipe.vae.decoder):
        for module in network.modules():
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after, with_kwargs=True))
    model.decode(model.draw(PROMPTS[:1] * size, [0] * size, 1))
    for handle in handles:
        handle.remove()
    return {"modules": {name: f"{count} of {calls[name]}" for name, count in found.items()}}


def _flat(values: Any) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        return [one for value in values for one in _flat(value)]
    return []


def _shape(module: torch.nn.Module, inputs: Any) -> str:
    weight = getattr(module, "weight", None)
    shapes = [tuple(one.shape) for one in _flat(inputs)[:1]]
    return f"{tuple(weight.shape) if weight is not None else ''} on {shapes}"


def digest(numbers: np.ndarray) -> str:
    """A short hash, to compare with another run's."""
    return sha256(numbers.tobytes()).hexdigest()[:16]


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def settings_of_the_device() -> dict[str, Callable[[], AbstractContextManager[Any]]]:
    """Settings that may change bits, or what they depend on."""
    attention = {
        f"attention {backend.name.lower()}": lambda backend=backend: sdpa_kernel(backend)
        for backend in (
            SDPBackend.MATH,
            SDPBackend.EFFICIENT_ATTENTION,
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.CUDNN_ATTENTION,
        )
    }
    return {
        "as it is": nullcontext,
        "cudnn.deterministic": lambda: _flag(torch.backends.cudnn, "deterministic", True),
        "cudnn.benchmark": lambda: _flag(torch.backends.cudnn, "benchmark", True),
        "cudnn.allow_tf32 off": lambda: _flag(torch.backends.cudnn, "allow_tf32", False),
        "matmul.allow_tf32": lambda: _flag(torch.backends.cuda.matmul, "allow_tf32", True),
        "16-bit sums off": lambda: _flag(
            torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction", False
        ),
        **attention,
    }


@contextmanager
def _flag(place: Any, name: str, value: bool) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)
