"""The embedded models on this machine's cores: a job against the authors' released way.

    python benchmarks/authors_way.py

The authors' way (yandex-research/adaptive-diffusion) is one process and one prompt at a time: the
student's pipeline, the score, and below the threshold img2img from the student's latents. It gets
the job's threshold for nothing, and the faster number of torch threads (both are tried on the first
rows). The job's time includes its calibration, and it writes, checks and records its parts, with
one thread an actor. Loading is measured apart on both sides. The pictures are compared: the
decisions must be the same, and no value of a pixel off by more than one.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from timed_jobs import WarmDispatcher, write_result

from actors.models.presets import PRESETS
from actors.seeds import stage_seed
from cluster.session import ray_session
from jobs.execution.ray_executor import RayExecutor
from jobs.execution.run import run_job
from jobs.output.encode import encode_one
from jobs.resolution import Job, resolve
from jobs.scaling.initial_sizes import guess_loads, plan_pools
from jobs.spec.job_spec import make_spec
from jobs.spec.picture_formats import PNG

PROMPTS = Path(__file__).parent.parent / "examples/prompts.parquet"

TRIED_ROWS = 8
"""Rows to compare numbers of threads on. Chosen: about a second."""

Drawn = tuple[np.ndarray[Any, Any], float, bool]
"""The picture, the student's score, and whether the teacher refined it."""


def our_way(rows: int, folder: Path) -> tuple[Job, WarmDispatcher]:
    """Run the whole job with the default pools."""
    prompts = pq.read_table(PROMPTS)["prompt"].to_pylist()
    texts = [prompts[row % len(prompts)] for row in range(rows)]
    pq.write_table(pa.table({"prompt": texts}), folder / "prompts.parquet")
    fields = {
        "input": str(folder / "prompts.parquet"),
        "output": str(folder / "out"),
        "models": "shapes",
        "budget": {"refine": 0.3},
        "rows_per_part": 128,
        "calibration_rows": 32,
    }
    job = resolve(make_spec(fields))
    with ray_session(None) as have:
        plans = plan_pools(job.spec.pools, have.cpus, have.gpus, loads=guess_loads(job))
        executor = RayExecutor(job, plans)
        dispatcher = WarmDispatcher(
            job,
            executor,
            plans.sizes,
            2,
            object_store_bytes=have.object_store_bytes,
            capacity=plans.capacity,
        )
        run_job(job, lambda _: dispatcher)
    return job, dispatcher


class AuthorsWay:
    """Plain pipelines of diffusers and a plain model of transformers, in this process."""

    def __init__(self, job: Job) -> None:
        import torch
        from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
        from transformers import AutoImageProcessor, AutoTokenizer, BlipForImageTextRetrieval

        models = PRESETS["shapes"]
        begin = perf_counter()
        load = {"torch_dtype": torch.float32}
        self._student = StableDiffusionPipeline.from_pretrained(models.student.path, **load)
        self._teacher = StableDiffusionImg2ImgPipeline.from_pretrained(models.teacher.path, **load)
        for pipe in (self._student, self._teacher):
            pipe.set_progress_bar_config(disable=True)
        folder = models.oracle.path
        self._oracle = BlipForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._processor = AutoImageProcessor.from_pretrained(folder)
        self.loading_seconds = perf_counter() - begin
        self._torch, self._models, self._job = torch, models, job
        self._threshold = float(job.output.require_job()["threshold"])

    def draw(self, prompt: str, seed: int) -> Drawn:
        """Draw one prompt, from noise to the picture that stays."""
        torch, student, teacher = self._torch, self._models.student, self._models.teacher
        latents = self._student(
            prompt,
            num_inference_steps=student.steps,
            guidance_scale=student.guidance_scale,
            generator=torch.Generator().manual_seed(stage_seed(seed, "student")),
            output_type="latent",
        ).images
        with torch.inference_mode():
            vae = self._student.vae
            decoded = vae.decode(latents / vae.config.scaling_factor).sample
        picture = self._student.image_processor.postprocess(decoded)[0]
        score = self._score(prompt, picture)
        refined = score < self._threshold
        if refined:
            picture = self._teacher(
                prompt=prompt,
                image=latents,
                strength=self._job.refinement.strength,
                num_inference_steps=teacher.steps,
                guidance_scale=teacher.guidance_scale,
                generator=torch.Generator().manual_seed(stage_seed(seed, "teacher")),
            ).images[0]
        return np.asarray(picture), score, refined

    def _score(self, prompt: str, picture: Image.Image) -> float:
        text = self._tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt")
        pixels = self._processor(picture, return_tensors="pt")
        with self._torch.inference_mode():
            logits = self._oracle(
                input_ids=text.input_ids,
                attention_mask=text.attention_mask,
                pixel_values=pixels.pixel_values,
            ).itm_score[0]
        return float(logits[1] - logits[0])

    def best_threads(self, rows: list[dict[str, Any]]) -> int:
        """Choose between one thread and one for each core."""
        seconds = {}
        for threads in sorted({1, os.cpu_count() or 1}):
            self._torch.set_num_threads(threads)
            begin = perf_counter()
            for row in rows[:TRIED_ROWS]:
                self.draw(row["prompt"], row["seed"])
            seconds[threads] = perf_counter() - begin
        best = min(seconds, key=lambda threads: seconds[threads])
        self._torch.set_num_threads(best)
        return best


def rows_of(job: Job) -> list[dict[str, Any]]:
    """The rows of the job's dataset."""
    files = sorted((job.output.path / job.output.part_name(0)).parent.rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def differences(rows: list[dict[str, Any]], drawn: list[Drawn]) -> Iterator[str]:
    """A line for each row in which the two ways differ."""
    for row, (picture, score, refined) in zip(rows, drawn, strict=True):
        if refined != (row["source"] == "teacher"):
            yield f"{row['prompt']!r}: score {score} here, {row['student_score']} in the job"
            continue
        stored = np.asarray(Image.open(BytesIO(row["image"]["bytes"])), dtype=int)
        if (off := np.abs(stored - picture.astype(int)).max()) > 1:
            yield f"{row['prompt']!r}: a pixel is off by {off}"


def main() -> None:
    """Run both, and print their times, the bound and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=384)
    num_rows = parser.parse_args().rows
    logging.getLogger("bottega").setLevel(logging.ERROR)
    cores = os.cpu_count() or 1
    with TemporaryDirectory() as folder:
        job, dispatcher = our_way(num_rows, Path(folder))
        records = job.output.records().values()
        work = sum(sum(record["seconds"].values()) for record in records)
        rows = rows_of(job)
        theirs = AuthorsWay(job)
        threads = theirs.best_threads(rows)
        begin = perf_counter()
        drawn = [theirs.draw(row["prompt"], row["seed"]) for row in rows]
        files = [encode_one(picture, PNG) for picture, _, _ in drawn]
        pq.write_table(pa.table({"image": files}), Path(folder) / "theirs.parquet")
        seconds = perf_counter() - begin
    differ = list(differences(rows, drawn))
    found = {
        "rows": num_rows,
        "refined": sum(refined for _, _, refined in drawn),
        "bottega": {
            "seconds": round(dispatcher.seconds, 2),
            "loading_seconds": round(dispatcher.loading_seconds, 2),
        },
        "pool_seconds": round(work, 1),
        "pool_seconds_over_cores": round(work / cores, 2),
        "authors": {
            "seconds": round(seconds, 2),
            "loading_seconds": round(theirs.loading_seconds, 2),
            "threads": threads,
        },
        "times_faster": round(seconds / dispatcher.seconds, 3),
        "times_faster_with_loading": round(
            (seconds + theirs.loading_seconds) / (dispatcher.seconds + dispatcher.loading_seconds),
            3,
        ),
        "differing_rows": len(differ),
    }
    print(
        f"{num_rows} prompts, {found['refined']} refined; seconds (and for loading)\n"
        f"Bottega       {dispatcher.seconds:7.1f} ({dispatcher.loading_seconds:.1f})\n"
        f"authors' way  {seconds:7.1f} ({theirs.loading_seconds:.1f}), {threads} threads\n"
        f"bound         {work / cores:7.1f}: the actors' own seconds over {cores} cores\n"
        f"{found['times_faster']:.2f} times as fast; rows that differ: {len(differ)}"
    )
    for line in differ:
        print(f"  {line}")
    write_result("authors_way", found)


if __name__ == "__main__":
    main()
