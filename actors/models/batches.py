"""Batches of one shape, and the device that computes them, for pipelines and oracles alike.

Imports neither diffusers, which takes an oracle's actor two seconds for nothing, nor torch: the
driver imports the actors' classes too, and computes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def best_device() -> torch.device:
    """The GPU that Ray gave to this process, or else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rows_by_slot(num_rows: int, slots: Sequence[int] | None) -> Sequence[int]:
    """The row that is computed in each slot of a batch; a copy of the first fills an empty slot.

    `slots`: by row, ascending; None for 0, 1, 2 and on. On a GPU a row's last bits depend on its
    slot, because convolutions add up in another order there, and not on its neighbours (measured:
    docs/performance.md). So a row that is computed again stays in the slot that it had.
    """
    if slots is None:
        return range(num_rows)
    if len(slots) != num_rows or list(slots) != sorted(set(slots)) or slots[0] < 0:
        raise ValueError(f"{num_rows} rows need as many ascending slots, got {list(slots)}")
    rows = [0] * (slots[-1] + 1)
    for row, slot in enumerate(slots):
        rows[slot] = row
    return rows


def padded(rows: Sequence[T], size: int) -> list[T]:
    """`rows`, filled up to `size` by repeating the last one.

    At one batch size a row's result is the same to the bit whatever its neighbours; at another the
    last bits differ. So every batch has the same shape, and the padding is thrown away.
    """
    if not 0 < len(rows) <= size:
        raise ValueError(f"a batch has 1 to {size} rows, got {len(rows)}")
    return [*rows, *[rows[-1]] * (size - len(rows))]
