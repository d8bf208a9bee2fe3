"""Run the stages that are not finished yet, in order."""

import argparse
from pathlib import Path

import torch

from actors.models.shapes import WEIGHTS
from actors.models.shapes.training import autoencoder, control, oracle, pipelines, student, teacher
from actors.models.shapes.training.common import Workshop


def main() -> None:
    """Train everything, or continue."""
    parser = argparse.ArgumentParser(prog="python -m actors.models.shapes.training")
    parser.add_argument("--folder", type=Path, default=Path("out/shapes-training"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--control", action="store_true", help="Only that, for the weights there.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    shop = Workshop(
        folder=arguments.folder,
        weights=arguments.weights,
        log_file=Path(__file__).with_name("log.jsonl"),
    )
    shop.log("started", threads=arguments.threads)
    if arguments.control:
        master = pipelines.load(shop.weights / "teacher")
        control.save(shop, control.train(shop, master))
        return
    vae = autoencoder.train(shop)
    autoencoder.polish(shop, vae)
    autoencoder.judge(shop, vae)
    master = teacher.train(shop, vae)
    master.save(shop.weights / "teacher", student=False)
    pupil = student.train(shop, master)
    pupil.save(shop.weights / "student", student=True)
    judge, processor = oracle.train(shop, pupil, master)
    judge.save_pretrained(shop.weights / "oracle")
    processor.save_pretrained(shop.weights / "oracle")
    control.save(shop, control.train(shop, master))


if __name__ == "__main__":
    main()
