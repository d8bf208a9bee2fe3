"""The figures of a call on a device: its rate, its memory, the time without a kernel, its parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from inspect import signature
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from actors.models.diffusion import Diffusion

Line = dict[str, Any]
Call = Callable[[], object]


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
        one @ one
        return 2 * side**3 / self.seconds(lambda: one @ one, 2 * self.repeats)

    def seconds(self, call: Call, repeats: int | None = None) -> float:
        """The median of some calls."""
        taken = []
        for _ in range(repeats or self.repeats):
            self.wait()
            start = perf_counter()
            call()
            self.wait()
            taken.append(perf_counter() - start)
        return median(taken)

    def wait(self) -> None:
        """Until the device has done what it was asked."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def line(self, call: Call, pictures: int, dtype: str, counted: bool = True) -> Line:
        """All figures of a call that makes this many pictures.

        counted: whether its operations are, which torch.compile does not allow.
        """
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        start = perf_counter()
        with FlopCounterMode(display=False) if counted else nullcontext() as counter:
            call()
        self.wait()
        first = perf_counter() - start
        seconds = self.seconds(call)
        line: Line = {"pictures_per_second": pictures / seconds, "first_seconds": first}
        if counter is not None:
            operations = counter.get_total_flops()
            line["operations"] = operations
            line["share_of_matrix_rate"] = operations / seconds / self.matrix_rate[dtype]
        if self.is_gpu:
            line["peak_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
            line["idle_share"] = self._idle(call)
        return line

    def _idle(self, call: Call) -> float:
        """The share of the call in which no kernel runs."""
        with profile(activities=[ProfilerActivity.CUDA]) as trace:
            self.wait()
            start = perf_counter()
            call()
            self.wait()
            wall = perf_counter() - start
        busy: float = sum(event.self_device_time_total for event in trace.key_averages()) / 1e6
        return max(0.0, 1 - busy / wall)


class Parts:
    """The time of a call's parts, the device waited for before and after each."""

    def __init__(self, model: Diffusion, meter: Meter) -> None:
        self.meter = meter
        self.seconds: dict[str, float] = {}
        self._depth = 0
        pipe, refining = model.pipe, model._refining
        for one in filter(None, (pipe, refining)):
            for name, part in (("encode_prompt", "text"), ("prepare_latents", "noise")):
                if hasattr(one, name):
                    self._around(one, name, part)
        self._around(model.denoiser, "forward", "network")
        self._around(pipe.scheduler, "step", "scheduler")
        self._around(pipe.vae, "decode", "decode")

    def _around(self, owner: Any, name: str, part: str) -> None:
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.meter.wait()
            start = perf_counter()
            self._depth += 1
            try:
                return inner(*args, **kwargs)
            finally:
                self._depth -= 1
                self.meter.wait()
                if not self._depth:
                    self.seconds[part] = self.seconds.get(part, 0) + perf_counter() - start

        # The class's own is found again when this one is deleted.
        timed.__signature__ = signature(inner)  # type: ignore[attr-defined]
        setattr(owner, name, timed)

    def of(self, call: Call) -> dict[str, float]:
        """Milliseconds by part; `other` is Python's own, copies and facts."""
        self.seconds.clear()
        whole = self.meter.seconds(call, 1)
        self.seconds["other"] = whole - sum(self.seconds.values())
        return {part: round(seconds * 1000, 2) for part, seconds in self.seconds.items()}
