"""Stage 6: a ControlNet that is shown edges, for the teacher and, as it is, for the student.

Zhang et al. 2023 (arXiv 2302.05543): a copy of the UNet's first half, whose answers are added to
the second; it begins by saying nothing. The UNet stays as it is. Edges are Canny's, found in right
pictures by the code that finds them in a user's (`actors.images`).
"""

import numpy as np
import torch
from diffusers import AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn

from actors.images import edges_of
from actors.models.shapes.training import common, latents, pipelines
from actors.models.shapes.training import teacher as teacher_stage
from actors.models.shapes.training.common import Workshop
from actors.models.shapes.training.pipelines import Parts

SEED = 66
NUM_STEPS = 700
BATCH = 64
PEAK_RATE = 1e-3
NUM_PICTURES = 10_000
DROPPED = 0.2
"""How often the caption is replaced by the empty one: then only the edges say what there is."""

THRESHOLDS = (100, 200)
"""Canny's, as in a job file's `control`."""

EMBEDDING_CHANNELS = (16, 32, 64)
"""Two halvings, as the autoencoder's: edges have 64 pixels where latents have 16 cells."""


class Controlled(nn.Module):
    """The ControlNet and the frozen UNet, as one module that predicts a velocity."""

    def __init__(self, control: ControlNetModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.control = control
        self._frozen = [unet]  # in a list, so that its weights are not this module's

    def forward(self, noisy: Tensor, times: Tensor, states: Tensor, edges: Tensor) -> Tensor:
        """Velocities (batch, 4, 16, 16). edges: (batch, 3, 64, 64) in 0..1."""
        down, middle = self.control(noisy, times, states, edges, return_dict=False)
        answer: Tensor = self._frozen[0](
            noisy,
            times,
            states,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        return answer


def train(shop: Workshop, master: Parts) -> ControlNetModel:
    """Train, or load what a finished run left. The result holds the averaged weights."""
    torch.manual_seed(SEED)
    pipelines.fast_training(master.unet, master.text_encoder)
    master.unet.requires_grad_(False).eval()
    control = ControlNetModel.from_unet(
        master.unet, conditioning_embedding_out_channels=EMBEDDING_CHANNELS
    )
    control.requires_grad_(True).train()
    replicas = common.Replicas(Controlled(control, master.unet))
    optimizer = torch.optim.AdamW(control.parameters(), lr=PEAK_RATE, weight_decay=1e-2)
    average = common.Average(control, decay=0.99)
    progress = common.Progress(
        file=shop.folder / "control.pt",
        parts={"control": control, "optimizer": optimizer, "average": average},
    )
    progress.resume()
    if progress.step < NUM_STEPS:
        captions, clean, edges = _pictures(shop, master.vae)
        states = teacher_stage.read(master, captions)
        empty = teacher_stage.read(master, [""])
        alphas_cumprod = pipelines.alphas_cumprod()
        running = 1.0
        for step in progress.steps(NUM_STEPS):
            rng, generator = common.step_generators(SEED, step)
            common.set_learning_rate(
                optimizer, common.learning_rate(step, NUM_STEPS, PEAK_RATE, warmup=50)
            )
            rows = torch.from_numpy(rng.integers(len(clean), size=BATCH))
            kept = torch.from_numpy(rng.random(BATCH) >= DROPPED)
            times = teacher_stage.sample_times(generator)
            batch = clean[rows].float()
            noise = torch.randn(batch.shape, generator=generator)
            noisy, target = teacher_stage.velocity(batch, noise, alphas_cumprod[times])
            texts = torch.where(kept[:, None, None], states[rows], empty)
            shown = edges[rows].float().unsqueeze(1).expand(-1, 3, -1, -1)

            def loss_of(
                replica: Controlled,
                share: slice,
                noisy: Tensor = noisy,
                target: Tensor = target,
                times: Tensor = times,
                texts: Tensor = texts,
                shown: Tensor = shown,
            ) -> Tensor:
                with torch.autocast("cpu", torch.bfloat16):
                    predicted = replica(noisy[share], times[share], texts[share], shown[share])
                loss: Tensor = (predicted.float() - target[share]).square().mean()
                return loss

            loss = replicas.backward(loss_of, BATCH)
            common.clip_and_step(replicas.module, optimizer, 1.0)
            average.update(control)
            running += (loss - running) * 0.05
            if step % 50 == 0:
                shop.log("control", step=step, loss=running)
    control.load_state_dict(average.weights)
    control.eval()
    return control


def save(shop: Workshop, control: ControlNetModel) -> None:
    """Write the network's folder, in float16 to stay small."""
    folder = shop.weights / "control"
    control.half().save_pretrained(folder, safe_serialization=True)
    control.float()
    pipelines.forget_paths(folder)


def _pictures(shop: Workshop, vae: AutoencoderTiny) -> tuple[list[str], Tensor, Tensor]:
    """Training captions; latents, (NUM_PICTURES, 4, 16, 16); edges, (NUM_PICTURES, 64, 64) bool."""
    captions, pictures = common.render_many(SEED, NUM_PICTURES, "train")
    chunks = range(0, NUM_PICTURES, latents.CHUNK)
    clean = [latents.encode(vae, pictures[at : at + latents.CHUNK]).half() for at in chunks]
    edges: NDArray[np.bool_] = np.stack([edges_of(p, *THRESHOLDS)[..., 0] > 0 for p in pictures])
    shop.log("control", pictures=len(captions), edge_pixels=float(edges.mean()))
    return captions, torch.cat(clean), torch.from_numpy(edges)
