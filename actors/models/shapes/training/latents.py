"""Pictures turned into latents once, so that the diffusion stages never touch pixels."""

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor

from actors.models.shapes import verifier, world
from actors.models.shapes.training import common
from actors.models.shapes.training.common import Workshop

SEED = 21
NUM_PICTURES = 30_000
NUM_LAYOUTS = 4_000
PICTURES_PER_LAYOUT = 6
CHUNK = 500


@torch.inference_mode()
def encode(vae: AutoencoderTiny, pictures: world.Picture) -> Tensor:
    """(batch, 64, 64, 3) uint8 -> (batch, 4, 16, 16) float32."""
    with torch.autocast("cpu", torch.bfloat16):
        latents: Tensor = vae.encoder(common.to_tensor(pictures))
    return latents.float()


@torch.inference_mode()
def decode(vae: AutoencoderTiny, latents: Tensor) -> world.Picture:
    """(batch, 4, 16, 16) -> (batch, 64, 64, 3) uint8."""
    chunks = [common.to_pictures(vae.decoder(part)) for part in latents.float().split(CHUNK)]
    return np.concatenate(chunks)


def right(pictures: world.Picture, captions: list[str]) -> NDArray[np.bool_]:
    """Which of the pictures are wholly right, by the verifier."""
    verdicts = [
        verifier.verify(picture, world.parse(caption))
        for picture, caption in zip(pictures, captions, strict=True)
    ]
    return np.array([verdict.right for verdict in verdicts])


def cached(shop: Workshop, vae: AutoencoderTiny) -> tuple[list[str], Tensor]:
    """Training captions and latents, (NUM_PICTURES, 4, 16, 16) float16, from the cache if there."""
    file = shop.folder / "latents.pt"
    if not file.exists():
        captions: list[str] = []
        latents = []
        for start in range(0, NUM_PICTURES, CHUNK):
            texts, pictures = common.render_many(SEED + start, CHUNK, "train")
            captions += texts
            latents.append(encode(vae, pictures).half())
        torch.save({"captions": captions, "latents": torch.cat(latents)}, file)
        shop.log("latents", pictures=len(captions))
    stored = torch.load(file, weights_only=True)
    return stored["captions"], stored["latents"]


def layouts(shop: Workshop, vae: AutoencoderTiny) -> tuple[list[str], Tensor]:
    """Training captions and the mean latents of several pictures of each, float16.

    (NUM_LAYOUTS, 4, 16, 16), from the cache if there. Only captions with a relation.
    """
    file = shop.folder / "layouts.pt"
    if not file.exists():
        rng = np.random.default_rng(SEED + 1)
        captions: list[world.Caption] = []
        while len(captions) < NUM_LAYOUTS:
            captions += world.sample_captions(rng, 1000, "train", distinct=False)
            captions = [caption for caption in captions if caption.relations][:NUM_LAYOUTS]
        means = []
        for start in range(0, NUM_LAYOUTS, CHUNK // 4):
            chunk = captions[start : start + CHUNK // 4]
            pictures = [world.draw(c, rng) for c in chunk for _ in range(PICTURES_PER_LAYOUT)]
            several = encode(vae, np.stack(pictures)).unflatten(0, (-1, PICTURES_PER_LAYOUT))
            means.append(several.mean(dim=1).half())
        texts = [str(caption) for caption in captions]
        torch.save({"captions": texts, "latents": torch.cat(means)}, file)
        shop.log("layouts", captions=len(texts))
    stored = torch.load(file, weights_only=True)
    return stored["captions"], stored["latents"]
