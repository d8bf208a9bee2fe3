"""Stage 1: the autoencoder, 64x64x3 pictures <-> 16x16x4 latents.

AutoencoderTiny has no normalisation layers and is fully convolutional, so most steps train on
32x32 crops around objects, which costs a quarter, and the last ones on whole pictures. Latents are
kept near zero mean and unit variance by a penalty, because the pipelines use a scaling factor of 1;
then they are whitened, and the decoder is polished alone.
"""

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor

from actors.models.shapes import world
from actors.models.shapes.training import common, latents
from actors.models.shapes.training.common import Workshop

SEED = 11
NUM_PICTURES = 24_000
NUM_STEPS_CROPS = 2_300
NUM_STEPS_WHOLE = 350
PEAK_RATE = 2e-3
NUM_WHITENING = 4_000
SPREADS = (0.9, 0.75, 0.75, 0.75)
"""Standard deviation of each channel after `whiten`. Below 1 where the tails are heavy: most of the
canvas has no object, and the decoder clamps its input softly at 3."""

NUM_STEPS_POLISH = 300
PEAK_RATE_POLISH = 7e-4
LATENT_NOISE = 0.05
"""Standard deviation of the noise on latents of unit variance: the decoder learns to forgive what
a diffusion model gets slightly wrong."""


def build() -> AutoencoderTiny:
    """Factor 4, 4 latent channels; most layers at the lowest resolution, where they cost least."""
    return AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=(32, 32, 32),
        decoder_block_out_channels=(32, 32, 32),
        num_encoder_blocks=(0, 1, 3),
        num_decoder_blocks=(3, 1, 0),
        upsampling_scaling_factor=2,
        scaling_factor=1.0,
    )


def _batch(pictures: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random crops; whole pictures when `side` is the canvas's. (batch, side, side, 3)."""
    batch = 256 if side < world.SIDE else 64
    rows = rng.integers(len(pictures), size=batch)
    if side == world.SIDE:
        return pictures[rows]
    # Latents see 4x4 pixels, and every object lies alike on them: crops keep that.
    corners = 4 * rng.integers(0, (world.SIDE - side) // 4 + 1, size=(batch, 2))
    return np.stack(
        [
            pictures[row, y : y + side, x : x + side]
            for row, (y, x) in zip(rows, corners, strict=True)
        ]
    )


def _weights(pictures: Tensor) -> Tensor:
    """9 where a pixel or a neighbour differs from its surroundings' background, 1 elsewhere.

    The background is each picture's median, which objects never reach. (batch, 1, h, w).
    """
    background = pictures.flatten(2).median(dim=2).values[..., None, None]
    differs = ((pictures - background).abs().amax(dim=1, keepdim=True) > 0.04).float()
    return 1 + 8 * torch.nn.functional.max_pool2d(differs, 3, stride=1, padding=1)


def _fidelity(drawn: Tensor, pictures: Tensor) -> Tensor:
    """Weighted absolute plus squared error."""
    error = drawn - pictures
    weights = _weights(pictures)
    return (weights * (error.abs() + 2 * error.square())).mean() / weights.mean()


def _losses(vae: AutoencoderTiny, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of reconstruction, and of latents whose moments are not 0 and 1."""
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encoder(pictures).float()
        drawn = vae.decoder(latents + noise)
    mean = latents.mean(dim=(0, 2, 3))
    variance = latents.var(dim=(0, 2, 3))
    moments = mean.square().mean() + (variance - 1).square().mean()
    return _fidelity(drawn.float(), pictures), moments


def train(shop: Workshop) -> AutoencoderTiny:
    """Train, or load what a finished run left."""
    torch.manual_seed(SEED)
    vae = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=PEAK_RATE, weight_decay=1e-4)
    progress = common.Progress(
        file=shop.folder / "autoencoder.pt", parts={"vae": vae, "optimizer": optimizer}
    )
    progress.resume()
    num_steps = NUM_STEPS_CROPS + NUM_STEPS_WHOLE
    if progress.step < num_steps:
        _, pictures = common.render_many(SEED, NUM_PICTURES, "train")
        for step in progress.steps(num_steps):
            rng, generator = common.step_generators(SEED, step)
            common.set_learning_rate(
                optimizer, common.learning_rate(step, num_steps, PEAK_RATE, warmup=200)
            )
            side = 32 if step < NUM_STEPS_CROPS else world.SIDE
            batch = common.to_tensor(_batch(pictures, side, rng))
            shape = (len(batch), 4, side // 4, side // 4)
            noise = LATENT_NOISE * torch.randn(shape, generator=generator)
            fidelity, moments = _losses(vae, batch, noise)
            (fidelity + 0.05 * moments).backward()
            common.clip_and_step(vae, optimizer, 1.0)
            if step % 100 == 0:
                shop.log("autoencoder", step=step, loss=fidelity.item(), moments=moments.item())
    file = shop.folder / "whitened.pt"
    if not file.exists():
        whiten(vae)
        torch.save(vae.state_dict(), file)
    vae.load_state_dict(torch.load(file, weights_only=True))
    return vae.eval()


@torch.no_grad()
def whiten(vae: AutoencoderTiny) -> tuple[Tensor, Tensor]:
    """Turn and scale the latents so that their channels are uncorrelated.

    Nothing above keeps all four channels from saying the same, and they do: the background's
    brightness had 85 % of the variance, colour as little as 1.5 %, which a diffusion model sees
    only when almost all noise is gone. The linear map is exact in the encoder's last layer; in the
    decoder it goes into the first one, behind a soft clamp, and `polish` makes up for that.
    Returns the map: new = old @ matrix.T + shift.
    """
    _, pictures = common.render_many(SEED + 2, NUM_WHITENING, "train")
    with torch.autocast("cpu", torch.bfloat16):
        latents = torch.cat(
            [vae.encoder(part).float() for part in common.to_tensor(pictures).split(500)]
        )
    values = latents.movedim(1, -1).flatten(0, -2)
    mean, (variances, axes) = values.mean(dim=0), torch.linalg.eigh(torch.cov(values.T))
    matrix = torch.tensor(SPREADS)[:, None] * (axes / variances.sqrt()).T.flip(0)
    shift = -matrix @ mean
    last, first = vae.encoder.layers[-1], vae.decoder.layers[0]
    last.weight.copy_(torch.einsum("on,nchw->ochw", matrix, last.weight))
    last.bias.copy_(matrix @ last.bias + shift)
    inverse = torch.linalg.inv(matrix)
    first.bias.add_(first.weight.sum(dim=(2, 3)) @ mean)
    first.weight.copy_(torch.einsum("onhw,nc->ochw", first.weight, inverse))
    return matrix, shift


def polish(shop: Workshop, vae: AutoencoderTiny) -> None:
    """Train the decoder alone some more, on whole pictures: the latents stay what they are."""
    torch.manual_seed(SEED + 1)
    optimizer = torch.optim.AdamW(vae.decoder.parameters(), lr=PEAK_RATE_POLISH, weight_decay=1e-4)
    progress = common.Progress(
        file=shop.folder / "decoder.pt", parts={"decoder": vae.decoder, "optimizer": optimizer}
    )
    progress.resume()
    if progress.step < NUM_STEPS_POLISH:
        _, pictures = common.render_many(SEED + 1, NUM_PICTURES // 2, "train")
        for step in progress.steps(NUM_STEPS_POLISH):
            rng, generator = common.step_generators(SEED + 1, step)
            common.set_learning_rate(
                optimizer, common.learning_rate(step, NUM_STEPS_POLISH, PEAK_RATE_POLISH)
            )
            batch = common.to_tensor(_batch(pictures, world.SIDE, rng))
            noise = 2 * LATENT_NOISE * torch.randn((len(batch), 4, 16, 16), generator=generator)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                latents = vae.encoder(batch).float()
            with torch.autocast("cpu", torch.bfloat16):
                drawn = vae.decoder(latents + noise)
            loss = _fidelity(drawn.float(), batch)
            loss.backward()
            common.clip_and_step(vae.decoder, optimizer, 1.0)
            if step % 100 == 0:
                shop.log("decoder", step=step, loss=loss.item())
    vae.eval()


def judge(shop: Workshop, vae: AutoencoderTiny) -> None:
    """Log how many reconstructions of validation pictures are right: the bound for all models."""
    captions, pictures = common.render_many(SEED, 500, "validation")
    right = latents.right(latents.decode(vae, latents.encode(vae, pictures)), captions)
    shop.log("autoencoder", reconstructions_right=float(right.mean()))
