"""A hint that teaches the teacher's UNet where it is.

Everything that is drawn looks the same in a mirror, so a UNet has no use for left and right until
it understands relations, and cannot understand relations until it knows left from right: trained
without this, every object was right and "left of" remained a matter of chance. Linear heads ask
the features that query the text for their own coordinates; they are thrown away afterwards.
"""

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn


class Compass(nn.Module):
    """A UNet together with its heads."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        wide, widest = unet.config.block_out_channels[1:]
        self.heads = nn.ModuleList(nn.Linear(n, 2) for n in (wide, widest, widest, wide, wide))

    def asked(self) -> list[nn.Module]:
        """The layers whose outputs query the text."""
        down, up = self.unet.down_blocks, self.unet.up_blocks
        return [
            down[1].resnets[0],
            down[2].resnets[0],
            self.unet.mid_block.resnets[0],
            up[1].resnets[0],
            up[1].resnets[1],
        ]

    def forward(self, noisy: Tensor, times: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """The UNet's answer, and the mean squared error of the coordinates in [-1, 1]."""
        features: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            features.append(output)

        hooks = [layer.register_forward_hook(keep) for layer in self.asked()]
        answer: Tensor = self.unet(noisy, times, texts).sample
        for hook in hooks:
            hook.remove()
        errors = [
            (head(feature.movedim(1, -1)).float() - _coordinates(feature.shape[-1])).square().mean()
            for head, feature in zip(self.heads, features, strict=True)
        ]
        return answer, torch.stack(errors).mean()


def _coordinates(side: int) -> Tensor:
    """(side, side, 2)."""
    steps = (torch.arange(side) + 0.5) * (2 / side) - 1
    return torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
