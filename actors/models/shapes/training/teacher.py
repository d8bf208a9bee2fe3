"""Stage 3: the teacher, a text-conditioned latent diffusion model.

v-prediction (Salimans & Ho 2022), captions dropped at random for classifier-free guidance
(Ho & Salimans 2022), an exponential average of the weights. The text encoder stays as it is.
"""

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler
from torch import Tensor

from actors.models.shapes import world
from actors.models.shapes.training import common, language, latents, pipelines
from actors.models.shapes.training.common import Workshop
from actors.models.shapes.training.compass import Compass
from actors.models.shapes.training.pipelines import Parts

SEED = 22
NUM_STEPS = 5_200
BATCH = 64
PEAK_RATE = 1e-3
DROPPED = 0.1
"""How often a caption is replaced by the empty one."""

NUM_LAYOUT_ROWS = 16
"""Rows of a batch that learn where things go, from pure noise and the mean of several pictures.

At the last timestep the input holds no signal, and the best answer is minus the mean of all
pictures of the caption. One picture is a noisy sample of it, in which the relation drowns: after
300,000 samples objects were right and their relations still a matter of chance. The mean of
several pictures has the same optimum and far less noise.
"""

EVALUATE_EVERY = 250
GUIDANCE = 1.5


def sample_times(generator: torch.Generator) -> Tensor:
    """One timestep from each 64th of their distribution: less variance than independent draws.

    The power favours noisy timesteps, where it is decided which object goes where: of uniform
    draws 30 % are below 300, of these 18 %.
    """
    uniform = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
    mixed = uniform[torch.randperm(BATCH, generator=generator)]
    return (mixed.pow(0.7) * 1000).long().clamp(max=999)


def velocity(clean: Tensor, noise: Tensor, alphas: Tensor) -> tuple[Tensor, Tensor]:
    """The noisy latents and the target at each row's timestep. alphas: (batch,)."""
    signal, spread = alphas.sqrt()[:, None, None, None], (1 - alphas).sqrt()[:, None, None, None]
    return signal * clean + spread * noise, signal * noise - spread * clean


def train(shop: Workshop, vae: AutoencoderTiny) -> Parts:
    """Train, or load what a finished run left. The result holds the averaged weights."""
    torch.manual_seed(SEED)
    tokenizer, encoder = language.train(shop)
    encoder.requires_grad_(False).eval()
    unet = pipelines.build_unet()
    pipelines.fast_training(unet, encoder)
    compass = Compass(unet)
    replicas = common.Replicas(compass)
    optimizer = torch.optim.AdamW(
        compass.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-2
    )
    average = common.Average(unet, decay=0.999)
    progress = common.Progress(
        file=shop.folder / "teacher.pt",
        parts={"compass": compass, "optimizer": optimizer, "average": average},
    )
    progress.resume()
    parts = Parts(vae=vae, tokenizer=tokenizer, text_encoder=encoder, unet=unet)
    if progress.step < NUM_STEPS:
        captions, clean = latents.cached(shop, vae)
        states = read(parts, captions)
        layout_captions, layouts = latents.layouts(shop, vae)
        layout_states = read(parts, layout_captions)
        empty = read(parts, [""])
        alphas_cumprod = pipelines.alphas_cumprod()
        running = 1.0
        for step in progress.steps(NUM_STEPS):
            rng, generator = common.step_generators(SEED, step)
            common.set_learning_rate(
                optimizer, common.learning_rate(step, NUM_STEPS, PEAK_RATE, warmup=200)
            )
            rows = torch.from_numpy(rng.integers(len(clean), size=BATCH))
            kept = torch.from_numpy(rng.random(BATCH) >= DROPPED)
            times = sample_times(generator)
            batch = clean[rows].float()
            noise = torch.randn(batch.shape, generator=generator)
            noisy, target = velocity(batch, noise, alphas_cumprod[times])
            texts = torch.where(kept[:, None, None], states[rows], empty)
            some = torch.from_numpy(rng.integers(len(layouts), size=NUM_LAYOUT_ROWS))
            noisy[-NUM_LAYOUT_ROWS:] = noise[-NUM_LAYOUT_ROWS:]
            target[-NUM_LAYOUT_ROWS:] = -layouts[some].float()
            times[-NUM_LAYOUT_ROWS:] = 999
            texts[-NUM_LAYOUT_ROWS:] = layout_states[some]
            order = torch.from_numpy(rng.permutation(BATCH))
            noisy, target, times, texts = (x[order] for x in (noisy, target, times, texts))

            def loss_of(
                replica: Compass,
                share: slice,
                noisy: Tensor = noisy,
                target: Tensor = target,
                times: Tensor = times,
                texts: Tensor = texts,
            ) -> Tensor:
                with torch.autocast("cpu", torch.bfloat16):
                    predicted, astray = replica(noisy[share], times[share], texts[share])
                error = (predicted.float() - target[share]).square().mean()
                loss: Tensor = error + 0.1 * astray
                return loss

            loss = replicas.backward(loss_of, BATCH)
            common.clip_and_step(compass, optimizer, 1.0)
            average.update(unet)
            running += (loss - running) * 0.02
            if step % 100 == 0:
                shop.log("teacher", step=step, loss=running)
            if step % EVALUATE_EVERY == EVALUATE_EVERY - 1:
                evaluate(shop, parts, average, step)
    unet.load_state_dict(average.weights)
    unet.eval()
    return parts


def read(parts: Parts, captions: list[str]) -> Tensor:
    """The text encoder's states of all captions: (captions, tokens, width) bfloat16."""
    chunks = [captions[i : i + 500] for i in range(0, len(captions), 500)]
    return torch.cat([parts.encode_text(chunk).bfloat16() for chunk in chunks])


def evaluate(shop: Workshop, parts: Parts, average: common.Average, step: int) -> None:
    """Log how many of a few validation captions the averaged weights draw right."""
    current = {name: value.clone() for name, value in parts.unet.state_dict().items()}
    parts.unet.load_state_dict(average.weights)
    captions, _ = common.render_many(SEED, 96, "validation")
    drawn = sample(parts, captions, num_steps=12, guidance=GUIDANCE, seed=step)
    right = latents.right(latents.decode(parts.vae, drawn), captions)
    sizes = np.array([len(world.parse(caption).things) for caption in captions])
    by_size = {f"right_with_{n}_objects": float(right[sizes == n].mean()) for n in (1, 2, 3)}
    shop.log("teacher", step=step, right_at_12_steps=float(right.mean()), **by_size)
    parts.unet.load_state_dict(current)


def sample(
    parts: Parts, captions: list[str], *, num_steps: int, guidance: float, seed: int
) -> Tensor:
    """Draw latents with DDIM, (batch, 4, 16, 16), in bfloat16: for judging during training."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn((len(captions), 4, 16, 16), generator=generator)

    @torch.inference_mode()
    def draw(rows: slice) -> Tensor:
        scheduler = DDIMScheduler(**pipelines.SCHEDULE)
        scheduler.set_timesteps(num_steps)
        x, texts = start[rows], captions[rows]
        states = torch.cat([parts.encode_text([""] * len(texts)), parts.encode_text(texts)])
        for time in scheduler.timesteps:
            with torch.autocast("cpu", torch.bfloat16):
                velocity = parts.unet(torch.cat([x, x]), time, states).sample.float()
            without, with_text = velocity.chunk(2)
            x = scheduler.step(without + guidance * (with_text - without), time, x).prev_sample
        return x

    return common.in_shares(draw, len(captions))
