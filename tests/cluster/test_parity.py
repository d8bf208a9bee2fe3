"""The job against plain diffusers, one prompt at a time, as the authors' released code does it.

yandex-research/adaptive-diffusion: the student's pipeline; a score; where it is below the
threshold, img2img with `strength` from the student's latents.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

from actors.seeds import stage_seed
from jobs.execution.progress import Progress
from jobs.resolution import Job
from tests.cluster.conftest import rows_of


class PlainOracle:
    """The job's oracle through transformers alone."""

    def __init__(self, folder: str) -> None:
        self.model = BlipForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = AutoImageProcessor.from_pretrained(folder)

    def score(self, prompt: str, picture: Image.Image) -> float:
        text = self.tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt")
        pixels = self.processor(picture, return_tensors="pt")
        with torch.inference_mode():
            logits = self.model(
                input_ids=text.input_ids,
                attention_mask=text.attention_mask,
                pixel_values=pixels.pixel_values,
            ).itm_score[0]
        return float(logits[1] - logits[0])


def _quiet(pipe: StableDiffusionPipeline) -> StableDiffusionPipeline:
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.timeout(600)
def test_the_same_decisions_and_pictures_as_plain_diffusers(done: tuple[Job, Progress]) -> None:
    torch.set_num_threads(1)  # more of them would wait for each other where others compute too
    job, _ = done
    models = job.spec.models
    load = {"torch_dtype": torch.float32}
    student = _quiet(StableDiffusionPipeline.from_pretrained(models.student.path, **load))
    teacher = _quiet(StableDiffusionImg2ImgPipeline.from_pretrained(models.teacher.path, **load))
    oracle = PlainOracle(models.oracle.path)
    before = job.output.read_job()
    assert before is not None
    threshold = float(before["threshold"])
    differing = 0
    for row in rows_of(job.output.path):
        draw_plan = {
            "prompt": row["prompt"],
            "num_inference_steps": 2,
            "guidance_scale": models.student.guidance_scale,
        }
        noise = stage_seed(row["seed"], "student")
        picture = student(generator=torch.Generator().manual_seed(noise), **draw_plan).images[0]
        score = oracle.score(row["prompt"], picture)
        assert score == pytest.approx(row["student_score"], abs=0.02)
        assert (score < threshold) == (row["source"] == "teacher")
        if score < threshold:
            latents = student(
                generator=torch.Generator().manual_seed(noise), output_type="latent", **draw_plan
            ).images
            picture = teacher(
                prompt=row["prompt"],
                image=latents,
                strength=0.6,
                num_inference_steps=5,  # int(5 * 0.6) is the 3 steps of the job
                guidance_scale=models.teacher.guidance_scale,
                generator=torch.Generator().manual_seed(stage_seed(row["seed"], "teacher")),
            ).images[0]
        stored = np.asarray(Image.open(BytesIO(row["image"]["bytes"])), dtype=int)
        difference = np.abs(stored - np.asarray(picture, dtype=int))
        # Another batch size changes the last bits of a float, and so now and then a rounding.
        assert difference.max() <= 1, row["prompt"]
        differing += int((difference > 0).sum())
    assert differing < 0.001 * 22 * 64 * 64 * 3
