"""Stage 5: the oracle, which scores how well a picture shows a caption.

BLIP with its image-text-matching head (Li et al. 2022), the architecture under ImageReward, small
and trained from nothing. It learns from rendered pictures and from the models' own pictures of
training captions, each with its caption and with near misses of it. The verifier's verdicts stand
in for people's labels here, in training; the oracle itself never calls the verifier.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import BlipConfig, BlipForImageTextRetrieval, BlipImageProcessor, BlipProcessor

from actors.models.shapes import world
from actors.models.shapes.training import common, text
from actors.models.shapes.training.common import Workshop
from actors.models.shapes.training.judged import (
    NUM_MISSES,
    PARTS_PER_THING,
    PATCH,
    UNKNOWN,
    Pool,
    drawn_pool,
    rendered_pool,
)
from actors.models.shapes.training.pipelines import Parts

SEED = 44
NUM_STEPS_RENDERED = 900
NUM_STEPS_MIXED = 900
WIDTH = 128
BATCH = 64
PEAK_RATE = 1e-3
NUM_RENDERED = 8_000
NUM_STUDENT = 6_000
NUM_TEACHER = 1_000
NUM_JUDGED = 500
EVALUATE_EVERY = 300


def build() -> tuple[BlipForImageTextRetrieval, BlipProcessor]:
    """1.4 M parameters; 64 patches of 8x8 pixels."""
    tokenizer = text.blip_tokenizer()
    width = {"hidden_size": WIDTH, "intermediate_size": 3 * WIDTH, "projection_dim": WIDTH}
    config = BlipConfig(
        text_config={
            **width,
            "vocab_size": len(tokenizer),
            "encoder_hidden_size": WIDTH,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": text.MAX_TOKENS,
            "bos_token_id": tokenizer.cls_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            **width,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": world.SIDE,
            "patch_size": PATCH,
        },
        projection_dim=WIDTH,
        image_text_hidden_size=64,
    )
    images = BlipImageProcessor(
        size={"height": world.SIDE, "width": world.SIDE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return BlipForImageTextRetrieval(config), BlipProcessor(
        image_processor=images, tokenizer=tokenizer
    )


def match(
    model: BlipForImageTextRetrieval, pixels: Tensor, ids: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (batch, captions, 2): no match, match; and the states that they come from.

    ids, mask: (batch, captions, tokens). As the model's own `forward`, with each picture encoded
    once for all its captions. States: (batch, 65, width) seen, (batch * captions, tokens, width)
    read.
    """
    num_captions = ids.shape[1]
    seen: Tensor = model.vision_model(pixel_values=pixels)[0]
    repeated = seen.repeat_interleave(num_captions, dim=0)
    read: Tensor = model.text_encoder(
        input_ids=ids.flatten(0, 1),
        attention_mask=mask.flatten(0, 1),
        encoder_hidden_states=repeated,
        encoder_attention_mask=torch.ones(repeated.shape[:2], dtype=torch.long),
    )[0]
    logits: Tensor = model.itm_head(read[:, 0])
    return logits.unflatten(0, (-1, num_captions)), seen, read


class Hints(nn.Module):
    """Questions whose answers say why a picture is wrong; thrown away after training.

    One bit for a whole caption teaches slowly. A judge who also marks the part that is wrong, and
    names which object lies where, teaches much faster.
    """

    def __init__(self, noun_ids: list[int]) -> None:
        super().__init__()
        self.sizes = [len(world.COLORS) + 1, len(world.SHAPES) + 1, len(world.SIZES) + 1]
        self.patch = nn.Linear(WIDTH, sum(self.sizes))
        self.noun = nn.Linear(WIDTH, PARTS_PER_THING * 2)
        self.overall = nn.Linear(WIDTH, 2 * 2)
        self.noun_ids = torch.tensor(noun_ids)

    def forward(
        self,
        seen: Tensor,
        read: Tensor,
        ids: Tensor,
        patches: Tensor,
        parts: Tensor,
        overall: Tensor,
    ) -> Tensor:
        """The mean loss. Shapes as in `match` and `Pool`, each with a leading batch."""
        answers = self.patch(seen[:, 1:]).flatten(0, 1).split(self.sizes, dim=1)
        losses = [
            functional.cross_entropy(answer, patches[..., i].flatten(), ignore_index=UNKNOWN)
            for i, answer in enumerate(answers)
        ]
        is_noun = torch.isin(ids.flatten(0, 1), self.noun_ids)
        rows, columns = torch.nonzero(is_noun, as_tuple=True)
        things = (is_noun.cumsum(dim=1) - 1)[rows, columns]
        losses.append(
            functional.cross_entropy(
                self.noun(read[rows, columns]).unflatten(1, (-1, 2)).flatten(0, 1),
                parts.flatten(0, 1)[rows, things].flatten(),
                ignore_index=UNKNOWN,
            )
        )
        whole = self.overall(read[:, 0]).unflatten(1, (-1, 2)).flatten(0, 1)
        losses.append(functional.cross_entropy(whole, overall.flatten()))
        return torch.stack(losses).sum()


def _augment(pictures: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """A third blurred, a third noisy, a third as they are. (batch, 3, 64, 64) in [-1, 1]."""
    tensor = common.to_tensor(pictures)
    kinds = torch.from_numpy(rng.integers(3, size=len(pictures)))
    blurred = functional.avg_pool2d(functional.pad(tensor, (1, 1, 1, 1), mode="replicate"), 3, 1)
    noise = torch.from_numpy(rng.normal(0, 0.06, tensor.shape).astype(np.float32))
    tensor = torch.where((kinds == 1)[:, None, None, None], blurred, tensor)
    return torch.where((kinds == 2)[:, None, None, None], tensor + noise, tensor)


def _tokens(processor: BlipProcessor, rows: list[list[str]]) -> tuple[Tensor, Tensor]:
    encoded = processor.tokenizer(
        [caption for row in rows for caption in row],
        padding="max_length",
        truncation=True,
        max_length=text.MAX_TOKENS,
        return_tensors="pt",
    )
    longest = int(encoded.attention_mask.sum(dim=1).max())
    shape = (len(rows), len(rows[0]), longest)
    return (
        encoded.input_ids[:, :longest].reshape(shape),
        encoded.attention_mask[:, :longest].reshape(shape),
    )


def area_under_roc(scores: NDArray[Any], labels: NDArray[np.bool_]) -> float:
    """The chance that a right picture scores above a wrong one, by ranks; ties count half."""
    order = np.sort(scores[~labels])
    above = np.searchsorted(order, scores[labels], side="left")
    not_below = np.searchsorted(order, scores[labels], side="right")
    return float(((above + not_below) / 2).mean() / max(1, len(order)))


def train(
    shop: Workshop, pupil: Parts, master: Parts
) -> tuple[BlipForImageTextRetrieval, BlipProcessor]:
    """Train, or load what a finished run left."""
    torch.manual_seed(SEED)
    model, processor = build()
    noun_ids = [processor.tokenizer(shape).input_ids[1] for shape in world.SHAPES]
    both = nn.ModuleDict({"model": model, "hints": Hints(noun_ids)})
    replicas = common.Replicas(both)
    optimizer = torch.optim.AdamW(both.parameters(), lr=PEAK_RATE, weight_decay=1e-2)
    average = common.Average(both, decay=0.998)
    progress = common.Progress(
        file=shop.folder / "oracle.pt",
        parts={"both": both, "optimizer": optimizer, "average": average},
    )
    progress.resume()
    num_steps = NUM_STEPS_RENDERED + NUM_STEPS_MIXED
    if progress.step < num_steps:
        pools = [rendered_pool(SEED, NUM_RENDERED, master)]
        judged: Pool | None = None
        running = 0.7
        for step in progress.steps(num_steps):
            if step >= NUM_STEPS_RENDERED and len(pools) == 1:
                pools.append(drawn_pool(SEED, NUM_STUDENT, NUM_TEACHER, "train", pupil, master))
                judged = drawn_pool(SEED + 1, NUM_JUDGED, 0, "validation", pupil, master)
                shop.log(
                    "oracle",
                    step=step,
                    drawn_right=float(pools[1].labels[:NUM_STUDENT, 0].mean()),
                )
            rng, _ = common.step_generators(SEED, step)
            common.set_learning_rate(
                optimizer, common.learning_rate(step, num_steps, PEAK_RATE, warmup=200)
            )
            loss = replicas.backward(_loss_of(processor, pools, rng), BATCH)
            common.clip_and_step(both, optimizer, 1.0)
            average.update(both)
            running += (loss - running) * 0.02
            if step % 100 == 0:
                shop.log("oracle", step=step, loss=running)
            if judged is not None and step % EVALUATE_EVERY == EVALUATE_EVERY - 1:
                _evaluate(shop, model, processor, judged, step)
    both.load_state_dict(average.weights)
    return model.eval(), processor


def _loss_of(
    processor: BlipProcessor, pools: list[Pool], rng: np.random.Generator
) -> Callable[[nn.ModuleDict, slice], Tensor]:
    """The loss on a batch of pictures, each with its own caption and one near miss."""
    shares = (1.0,) if len(pools) == 1 else (0.25, 0.75)
    picks = [
        (pool, int(i), int(rng.integers(1, NUM_MISSES + 1)))
        for share, pool in zip(shares, pools, strict=True)
        for i in rng.integers(len(pool.pictures), size=round(share * BATCH))
    ]
    # Pools follow each other: mix them, so that every thread gets the same.
    picks = [picks[i] for i in rng.permutation(BATCH)]
    pixels = _augment(np.stack([pool.pictures[i] for pool, i, _ in picks]), rng)
    captions = [[pool.captions[i][0], pool.captions[i][j]] for pool, i, j in picks]
    ids, mask = _tokens(processor, captions)
    right, parts, overall = (
        torch.from_numpy(np.stack([getattr(pool, name)[i, [0, j]] for pool, i, j in picks])).long()
        for name in ("labels", "parts", "overall")
    )
    patches = torch.from_numpy(np.stack([pool.patches[i] for pool, i, _ in picks]))

    def loss_of(both: nn.ModuleDict, share: slice) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits, seen, read = match(both["model"], pixels[share], ids[share], mask[share])
        loss = functional.cross_entropy(logits.float().flatten(0, 1), right[share].flatten())
        hints: Tensor = both["hints"](
            seen.float(), read.float(), ids[share], patches[share], parts[share], overall[share]
        )
        return loss + hints

    return loss_of


@torch.inference_mode()
def _evaluate(
    shop: Workshop, model: nn.Module, processor: BlipProcessor, pool: Pool, step: int
) -> None:
    model.eval()
    own = [[row[0]] for row in pool.captions]
    ids, mask = _tokens(processor, own)
    with torch.autocast("cpu", torch.bfloat16):
        logits = match(model, common.to_tensor(pool.pictures), ids, mask)[0][:, 0].float()
    scores = (logits[:, 1] - logits[:, 0]).numpy()
    area = area_under_roc(scores, pool.labels[:, 0])
    shop.log("oracle", step=step, auroc_of_student=area)
    model.train()
