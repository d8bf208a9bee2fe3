"""The last layers of an oracle, which bring an embedding down to one number, or to a few."""

from __future__ import annotations

from collections.abc import Callable

import torch


class RowByRow(torch.nn.Module):
    """A head that is computed in float32, and for one row at a time.

    Measured on a CPU: such narrow layers give other last bits at another place in the batch (16
    values to one, 5 rows: every time). A head is small; one row at a time costs next to nothing.
    """

    def __init__(self, head: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.head = head

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """embeddings: (rows, width) -> (rows, outputs) float32."""
        return torch.cat([self.head(row) for row in embeddings.float().split(1)])
