"""Stage 2: the text encoder learns to read before it is asked to guide a painter.

Stable Diffusion starts from a text encoder that was trained before. Here the stand-in for that is
a minute of reading. Each noun's state must hold its object's size, colour, shape, place in the
caption and relation; but a noun cannot know what comes after it, so the last nine tokens, which
are always padding, become registers (Darcet et al. 2023): each holds what may lie in one cell of
the board, and on which background. Without this, text encoder and cross-attention wait for each
other, and a teacher that paints every object well still puts them anywhere.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from actors.models.shapes import world
from actors.models.shapes.training import common, pipelines, text
from actors.models.shapes.training.common import Workshop
from actors.models.shapes.world import Caption

SEED = 20
NUM_STEPS = 300
BATCH = 128
PEAK_RATE = 2e-3
NUM_CAPTIONS = 20_000

NO_ANSWER = -100
"""The label that `cross_entropy` leaves out."""

RELATION_NAMES = ("", *world.RELATIONS)
_NOUN_QUESTIONS = (len(world.SIZES), len(world.COLORS), len(world.SHAPES), 3, len(RELATION_NAMES))
NUM_REGISTERS = len(world.CELLS) ** 2
_FACTS = (*world.SIZES, *world.COLORS, *world.SHAPES, *(f"on {b}" for b in world.BACKGROUNDS))


def answers(caption: Caption) -> list[list[int]]:
    """For each object: size, colour, shape, place in the caption, relation of the first to it."""
    rows = []
    for i, thing in enumerate(caption.things):
        relation = caption.relations[i - 1] if i else ""
        rows.append(
            [
                world.SIZES.index(thing.size),
                tuple(world.COLORS).index(thing.color),
                world.SHAPES.index(thing.shape),
                i,
                RELATION_NAMES.index(relation),
            ]
        )
    return rows


def board(caption: Caption, rng: np.random.Generator) -> NDArray[np.float32]:
    """The facts of each cell, row by row, for one way to place the objects: (9, 16), 0 or 1."""
    cells = np.zeros((len(world.CELLS), len(world.CELLS), len(_FACTS)), np.float32)
    for placed in world.place(caption, rng).placed:
        row, column = world.CELLS.index(placed.y), world.CELLS.index(placed.x)
        thing = placed.thing
        cells[row, column, [_FACTS.index(f) for f in (thing.size, thing.color, thing.shape)]] = 1
    cells[..., _FACTS.index(f"on {caption.background}")] = 1
    return cells.reshape(NUM_REGISTERS, len(_FACTS))


class Examiner(nn.Module):
    """Linear questions to the text encoder's states; thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.noun = nn.Linear(text.TEXT_WIDTH, sum(_NOUN_QUESTIONS))
        self.register = nn.Linear(text.TEXT_WIDTH, len(_FACTS))

    def forward(self, states: Tensor, nouns: Tensor, about: Tensor, registers: Tensor) -> Tensor:
        """The mean loss.

        states: (batch, tokens, width). nouns: (batch, tokens) which object's noun a token is, or
        NO_ANSWER. about: (batch, 3, 5) the answers per object. registers: (batch, 9, 16) 0 or 1.
        """
        rows, columns = torch.nonzero(nouns >= 0, as_tuple=True)
        wanted = about[rows, nouns[rows, columns]]
        loss = _examine(self.noun(states[rows, columns]), wanted, _NOUN_QUESTIONS)
        facts = self.register(states[:, -NUM_REGISTERS:])
        return loss + functional.binary_cross_entropy_with_logits(facts, registers)


def _examine(logits: Tensor, wanted: Tensor, sizes: tuple[int, ...]) -> Tensor:
    losses = [
        functional.cross_entropy(part, wanted[:, i], ignore_index=NO_ANSWER)
        for i, part in enumerate(logits.split(sizes, dim=1))
    ]
    return torch.stack(losses).mean()


def train(shop: Workshop) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Train, or load what a finished run left."""
    torch.manual_seed(SEED)
    tokenizer = text.clip_tokenizer()
    encoder = text.text_encoder(tokenizer)
    encoder.set_attn_implementation("eager")
    examiner = Examiner()
    both = nn.ModuleDict({"encoder": encoder, "examiner": examiner})
    replicas = common.Replicas(both)
    optimizer = torch.optim.AdamW(both.parameters(), lr=PEAK_RATE, weight_decay=1e-2)
    progress = common.Progress(
        file=shop.folder / "language.pt", parts={"both": both, "optimizer": optimizer}
    )
    progress.resume()
    if progress.step < NUM_STEPS:
        rng = np.random.default_rng(SEED)
        sampled = world.sample_captions(rng, NUM_CAPTIONS, "train", distinct=False)
        captions = [str(caption) for caption in sampled]
        ids = pipelines.tokenize(tokenizer, captions)
        nouns, about, registers = _exam(tokenizer, captions, ids)
        for step in progress.steps(NUM_STEPS):
            rng, _ = common.step_generators(SEED, step)
            common.set_learning_rate(optimizer, common.learning_rate(step, NUM_STEPS, PEAK_RATE))
            rows = torch.from_numpy(rng.integers(len(ids), size=BATCH))

            def loss_of(replica: nn.ModuleDict, share: slice, rows: Tensor = rows) -> Tensor:
                mine = rows[share]
                with torch.autocast("cpu", torch.bfloat16):
                    states = replica["encoder"](ids[mine])[0].float()
                loss: Tensor = replica["examiner"](
                    states, nouns[mine], about[mine], registers[mine]
                )
                return loss

            loss = replicas.backward(loss_of, BATCH)
            common.clip_and_step(both, optimizer, 1.0)
            if step % 100 == 0 or step == NUM_STEPS - 1:
                shop.log("language", step=step, loss=loss)
    return tokenizer, encoder


def _exam(
    tokenizer: CLIPTokenizer, captions: list[str], ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The tokens of each object's noun, and the right answers for each object and caption."""
    noun_ids = torch.tensor([tokenizer(shape).input_ids[1] for shape in world.SHAPES])
    is_noun = torch.isin(ids, noun_ids)
    nouns = torch.where(is_noun, is_noun.cumsum(dim=1) - 1, NO_ANSWER)
    about = torch.full((len(captions), 3, len(_NOUN_QUESTIONS)), NO_ANSWER)
    parsed = [world.parse(caption) for caption in captions]
    for row, caption in enumerate(parsed):
        facts = torch.tensor(answers(caption))
        about[row, : len(facts)] = facts
    rng = np.random.default_rng(SEED + 1)
    return nouns, about, torch.from_numpy(np.stack([board(caption, rng) for caption in parsed]))
