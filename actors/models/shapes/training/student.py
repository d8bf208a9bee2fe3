"""Stage 4: the student, distilled from the teacher by latent consistency distillation.

Luo et al. 2023 (arXiv 2310.04378), at one fixed guidance scale, so that the student needs neither
guidance nor an embedding of its scale: one network evaluation a step. The grid of 50 steps, the
boundary conditions and the step from one grid point to the one before are LCMScheduler's.
"""

import copy

import torch
from diffusers import LCMScheduler, UNet2DConditionModel
from torch import Tensor

from actors.models.shapes.training import common, latents, pipelines
from actors.models.shapes.training import teacher as teacher_stage
from actors.models.shapes.training.common import Workshop
from actors.models.shapes.training.pipelines import Parts

SEED = 33
NUM_STEPS = 240
BATCH = 64
PEAK_RATE = 4e-4
GUIDANCE = 1.5
"""The guided teacher that the student imitates, in diffusers' convention (1 is no guidance)."""

GRID = 20
"""Timesteps between neighbouring points of the grid of 50."""

TIMESTEP_SCALING = 10.0
SIGMA_DATA = 0.5
HUBER = 0.001
NUM_SAMPLE_STEPS = 4
EVALUATE_EVERY = 80


def boundary(times: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the input and of the network's answer, as LCMScheduler has them."""
    scaled = times.float()[:, None, None, None] * TIMESTEP_SCALING
    skip = SIGMA_DATA**2 / (scaled.square() + SIGMA_DATA**2)
    return skip, scaled / (scaled.square() + SIGMA_DATA**2).sqrt()


def clean_and_noise(noisy: Tensor, velocity: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """The clean latents and the noise that a predicted velocity stands for."""
    alphas = pipelines.alphas_cumprod()[times][:, None, None, None]
    signal, spread = alphas.sqrt(), (1 - alphas).sqrt()
    return signal * noisy - spread * velocity, signal * velocity + spread * noisy


def train(shop: Workshop, teacher: Parts) -> Parts:
    """Train, or load what a finished run left. The result holds the averaged weights."""
    torch.manual_seed(SEED)
    unet, target_unet = copy.deepcopy(teacher.unet), copy.deepcopy(teacher.unet)
    for part in (unet, target_unet):
        pipelines.fast_training(part, teacher.text_encoder)
    unet.train()
    replicas = common.Replicas(unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    target = common.Average(unet, decay=0.95)
    average = common.Average(unet, decay=0.99)
    progress = common.Progress(
        file=shop.folder / "student.pt",
        parts={"unet": unet, "optimizer": optimizer, "target": target, "average": average},
    )
    progress.resume()
    parts = Parts(
        vae=teacher.vae,
        tokenizer=teacher.tokenizer,
        text_encoder=teacher.text_encoder,
        unet=target_unet,
    )
    if progress.step < NUM_STEPS:
        captions, clean = latents.cached(shop, teacher.vae)
        ids = pipelines.tokenize(teacher.tokenizer, captions)
        alphas_cumprod = pipelines.alphas_cumprod()
        empty = teacher.encode_text([""])
        for step in progress.steps(NUM_STEPS):
            rng, generator = common.step_generators(SEED, step)
            common.set_learning_rate(
                optimizer, common.learning_rate(step, NUM_STEPS, PEAK_RATE, warmup=50)
            )
            rows = torch.from_numpy(rng.integers(len(clean), size=BATCH))
            start = torch.from_numpy(rng.integers(1, 1000 // GRID + 1, size=BATCH)) * GRID - 1
            batch = clean[rows].float()
            noise = torch.randn(batch.shape, generator=generator)
            noisy, _ = teacher_stage.velocity(batch, noise, alphas_cumprod[start])
            target_unet.load_state_dict(target.weights)

            def loss_of(
                replica: UNet2DConditionModel,
                share: slice,
                noisy: Tensor = noisy,
                start: Tensor = start,
                tokens: Tensor = ids[rows],
            ) -> Tensor:
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                    states = teacher.text_encoder(tokens[share])[0]
                goal = _goal(teacher, target_unet, noisy[share], start[share], states, empty)
                with torch.autocast("cpu", torch.bfloat16):
                    velocity = replica(noisy[share], start[share], states).sample.float()
                return _huber(_consistent(noisy[share], velocity, start[share]), goal)

            loss = replicas.backward(loss_of, BATCH)
            common.clip_and_step(unet, optimizer, 1.0)
            target.update(unet)
            average.update(unet)
            if step % 50 == 0:
                shop.log("student", step=step, loss=loss)
            if step % EVALUATE_EVERY == EVALUATE_EVERY - 1:
                target_unet.load_state_dict(average.weights)
                evaluate(shop, parts, step)
    target_unet.load_state_dict(average.weights)
    target_unet.eval()
    return parts


def _consistent(noisy: Tensor, velocity: Tensor, times: Tensor) -> Tensor:
    """The consistency function's value: the clean latents that the network stands for."""
    skip, out = boundary(times)
    return skip * noisy + out * clean_and_noise(noisy, velocity, times)[0]


def _huber(predicted: Tensor, goal: Tensor) -> Tensor:
    return ((predicted - goal).square() + HUBER**2).sqrt().mean() - HUBER


@torch.no_grad()
def _goal(
    teacher: Parts,
    target_unet: UNet2DConditionModel,
    noisy: Tensor,
    start: Tensor,
    states: Tensor,
    empty: Tensor,
) -> Tensor:
    """One guided DDIM step of the teacher, and what the target network says from there."""
    before = (start - GRID).clamp(min=0)
    both = torch.cat([empty.expand(len(noisy), -1, -1).to(states.dtype), states])
    with torch.autocast("cpu", torch.bfloat16):
        velocity = teacher.unet(torch.cat([noisy] * 2), torch.cat([start] * 2), both).sample.float()
    without, with_text = velocity.chunk(2)
    guided = without + GUIDANCE * (with_text - without)
    clean, noise = clean_and_noise(noisy, guided, start)
    earlier, _ = teacher_stage.velocity(clean, noise, pipelines.alphas_cumprod()[before])
    with torch.autocast("cpu", torch.bfloat16):
        velocity = target_unet(earlier, before, states).sample.float()
    return _consistent(earlier, velocity, before)


def evaluate(shop: Workshop, parts: Parts, step: int) -> None:
    """Log how many of a few validation captions the averaged student draws right."""
    captions, _ = common.render_many(SEED, 128, "validation")
    for num_steps in (2, NUM_SAMPLE_STEPS):
        drawn = sample(parts, captions, num_steps=num_steps, seed=step)
        right = latents.right(latents.decode(parts.vae, drawn), captions)
        shop.log("student", step=step, sample_steps=num_steps, right_of_128=float(right.mean()))


def sample(parts: Parts, captions: list[str], *, num_steps: int, seed: int) -> Tensor:
    """Draw latents with LCMScheduler, (batch, 4, 16, 16), in bfloat16: for judging in training."""
    generator = torch.Generator().manual_seed(seed)
    noises = torch.randn((num_steps, len(captions), 4, 16, 16), generator=generator)

    @torch.inference_mode()
    def draw(rows: slice) -> Tensor:
        x = noises[0, rows]
        states = parts.encode_text(captions[rows])
        alphas = pipelines.alphas_cumprod()
        times = _lcm_times(num_steps)
        for i, time in enumerate(times):
            with torch.autocast("cpu", torch.bfloat16):
                velocity = parts.unet(x, time, states).sample.float()
            clean = _consistent(x, velocity, time.expand(len(x)))
            if i + 1 == num_steps:
                return clean
            x, _ = teacher_stage.velocity(clean, noises[i + 1, rows], alphas[times[i + 1]][None])
        raise AssertionError("no step was taken")

    return common.in_shares(draw, len(captions))


def _lcm_times(num_steps: int) -> Tensor:
    scheduler = LCMScheduler(**pipelines.SCHEDULE)
    scheduler.set_timesteps(num_steps)
    times: Tensor = scheduler.timesteps
    return times
