"""Oracles in CLIP's format, ensembles and conversions.

Small models of the real classes with random weights, saved in the real format and loaded by the
real code.
"""

from __future__ import annotations

import json
from math import exp
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, layer_norm, linear, multi_head_attention_forward, normalize
from torchvision import transforms
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from actors.errors import ModelError
from actors.images import squares
from actors.models.model_files import open_model_files
from actors.models.oracles import open_oracle
from actors.models.oracles.clip import HEAD_LAYERS, Clip
from actors.models.oracles.convert import convert, from_open_clip
from actors.models.oracles.oracle_files import open_oracle_files
from actors.models.presets import PRESETS
from actors.models.prompt_cuts import of_oracle
from actors.oracle import Oracle
from actors.settings import ExtraScoreSettings, MemberSettings, OracleSettings
from tests.models.test_unsafe import set_trap

CPU = torch.device("cpu")
WIDTH, HEADS, LAYERS, PATCH, SIDE, TOKENS, PROJECTED = 32, 4, 2, 8, 32, 77, 16
LETTERS = [*"abcdefghijklmnopqrstuvwxyz"]
VOCABULARY = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
END = len(VOCABULARY) + 1
PROMPTS = ["a red ring", "a large blue square", "green", ""]
BEFORE_END = "a " * (TOKENS - 2)
"""As many tokens as there is room for between the two marks."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIP as a folder of the hub."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(4)
    shape = {"hidden_size": WIDTH, "intermediate_size": 64, "hidden_act": "gelu",
             "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
             "projection_dim": PROJECTED}  # fmt: skip
    text = CLIPTextConfig(**shape, vocab_size=END + 1, eos_token_id=END, bos_token_id=END - 1,
                          max_position_embeddings=TOKENS)  # fmt: skip
    vision = CLIPVisionConfig(**shape, image_size=SIDE, patch_size=PATCH)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=PROJECTED
    )
    model = CLIPModel(config)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
        elif name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    vocabulary = [*VOCABULARY, "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: n for n, w in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aesthetic head as it is published."""
    widths = [PROJECTED, 12, 10, 8, 6, 1]
    generator = torch.Generator().manual_seed(6)
    weights = {}
    for place, n in enumerate(HEAD_LAYERS):
        size = (widths[place + 1], widths[place])
        weights[f"layers.{n}.weight"] = torch.randn(size, generator=generator)
        weights[f"layers.{n}.bias"] = torch.randn(size[0], generator=generator)
    file = tmp_path_factory.mktemp("head") / "linearMSE.pth"
    torch.save(weights, file)
    return file


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier of pictures as a folder of the hub."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(5)
    config = ViTConfig(
        hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, image_size=SIDE, patch_size=PATCH,
        id2label={0: "normal", 1: "nsfw", 2: "drawing"},
    )  # fmt: skip
    model = ViTForImageClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=1.0)
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def test_a_classifiers_score_is_the_probability_of_its_label(classifier: Path) -> None:
    shown = pictures(4)
    model = ViTForImageClassification.from_pretrained(classifier).eval()
    processor = ViTImageProcessor.from_pretrained(classifier)
    for number, label in enumerate(["normal", "nsfw", "drawing"]):
        oracle = open_oracle(settings("classifier", classifier, label=label), CPU)
        expected = []
        for one in shown:
            with torch.inference_mode():
                pixels = processor(one, return_tensors="pt").pixel_values
                expected.append(float(model(pixels).logits.softmax(-1)[0, number]))
        assert oracle.score(PROMPTS, shown) == pytest.approx(expected, abs=1e-5)
        assert len(set(expected)) == 4


def test_a_label_that_a_classifier_does_not_have_is_refused(classifier: Path, clip: Path) -> None:
    """Before an actor starts: its files say so."""
    with pytest.raises(ModelError, match=r"no label 'NSFW'\. It has: drawing, normal, nsfw\."):
        open_oracle_files(settings("classifier", classifier, label="NSFW"))
    with pytest.raises(ModelError, match="no classifier of pictures"):
        open_oracle_files(settings("classifier", clip, label="nsfw"))


def test_extra_scores_are_those_of_each_oracle_alone(clip: Path, classifier: Path) -> None:
    """In the order of the settings, for each picture, whatever the batches and the slots."""
    extra = {"kind": "clip-score", "path": str(clip), "column": "clip", "fit": "pad"}
    flagged = {"kind": "classifier", "path": str(classifier), "label": "nsfw"}
    whole = settings("hps-v2", clip, extra_scores=[extra],
                     filters=[{**flagged, "column": "nsfw", "above": 0.5}])  # fmt: skip
    oracle, shown = Oracle(whole, threads=1), pictures(5)
    prompts, picks = [*PROMPTS, "a"], [(0, n) for n in range(5)]
    scores, facts = oracle.score(prompts, picks, shown)
    alone = [
        Oracle(settings("clip-score", clip, fit="pad"), threads=1).score(prompts, picks, shown)[0],
        Oracle(settings("classifier", classifier, label="nsfw"), threads=1).score(
            prompts, picks, shown
        )[0],
    ]
    assert facts.extra_scores == tuple(zip(*alone, strict=True))
    assert scores == Oracle(settings("hps-v2", clip), threads=1).score(prompts, picks, shown)[0]
    # A piece of the batch, in its own slots, and in smaller batches.
    piece, facts_of_piece = oracle.score(prompts[1:3], picks[1:3], shown, slots=[1, 2])
    assert piece == scores[1:3]
    assert facts_of_piece.extra_scores == facts.extra_scores[1:3]
    _, smaller = oracle.score(prompts, picks, shown, micro_batch_size=2)
    assert np.asarray(smaller.extra_scores) == pytest.approx(
        np.asarray(facts.extra_scores), abs=1e-4
    )


def pictures(rows: int, height: int = 48, width: int = 64) -> np.ndarray:
    rng = np.random.default_rng(8)
    coarse = rng.integers(0, 256, (rows, 4, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((width, height))) for one in coarse])


def settings(kind: str, folder: Path, **fields: Any) -> OracleSettings:
    return OracleSettings(kind=kind, path=str(folder), **{"batch_size": 4, **fields})


def cosines(folder: Path, pixels: torch.Tensor) -> list[float]:
    """By transformers alone, one by one; padded no further than needed."""
    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    found = []
    for prompt, one in zip(PROMPTS, pixels, strict=True):
        text = tokenizer([prompt], return_tensors="pt")
        with torch.inference_mode():
            logits = model(**text, pixel_values=one[None]).logits_per_image
        found.append(logits.item() / exp(model.logit_scale.item()))
    return found


def as_processed(folder: Path, shown: np.ndarray) -> torch.Tensor:
    processor = CLIPImageProcessor.from_pretrained(folder)
    return torch.cat(
        [processor(Image.fromarray(p), return_tensors="pt").pixel_values for p in shown]
    )


def as_hps_processes(shown: np.ndarray) -> torch.Tensor:
    """hpsv2's transform for evaluation, picture by picture."""
    scale = SIDE / max(shown.shape[1:3])
    height, width = (round(edge * scale) for edge in shown.shape[1:3])
    high, wide = SIDE - height, SIDE - width
    transform = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Resize((height, width), transforms.InterpolationMode.BICUBIC),
            transforms.Pad([wide // 2, high // 2, wide - wide // 2, high - high // 2]),
            transforms.Normalize(
                (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
            ),
        ]
    )
    return torch.stack([transform(Image.fromarray(one)) for one in shown])


@pytest.mark.parametrize(("kind", "scale"), [("clip-score", 100.0), ("pick-score", None)])
def test_scores_are_those_of_plain_transformers(clip: Path, kind: str, scale: float | None) -> None:
    shown = pictures(4)
    oracle = open_oracle(settings(kind, clip), CPU)
    assert isinstance(oracle, Clip)
    scale = scale or exp(oracle.model.logit_scale.item())
    expected = [scale * one for one in cosines(clip, as_processed(clip, shown))]
    assert np.ptp(expected) > 1
    assert oracle.score(PROMPTS, shown) == pytest.approx(expected, abs=1e-4 * scale)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 40), (32, 32)])
def test_hps_fits_the_longest_edge_and_has_no_scale(clip: Path, height: int, width: int) -> None:
    shown = pictures(4, height, width)
    expected = cosines(clip, as_hps_processes(shown))
    assert open_oracle(settings("hps-v2", clip), CPU).score(PROMPTS, shown) == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize("rows", [4, 5])
@pytest.mark.parametrize("kind", ["clip-score", "hps-v2", "aesthetic", "classifier"])
def test_a_row_scores_the_same_to_the_bit_whatever_its_neighbours(
    kind: str, rows: int, clip: Path, head: Path, classifier: Path, tmp_path: Path
) -> None:
    """At 5 rows narrow layers would give other bits at another place."""
    folder = classifier if kind == "classifier" else clip
    label = "nsfw" if kind == "classifier" else None
    if kind == "aesthetic":
        folder = tmp_path / "aesthetic"
        convert(kind, head, str(clip), folder)
    oracle = Oracle(settings(kind, folder, batch_size=rows, label=label), threads=1)
    shown = pictures(rows)
    prompts = [*PROMPTS, "a"][:rows]
    picks = [(0, n) for n in range(rows)]
    scores, _ = oracle.score(prompts, picks, shown)
    assert len(set(scores)) == rows
    assert oracle.score(prompts[::-1], picks[::-1], shown)[0] == scores[::-1]
    assert oracle.score(prompts[1:2], picks[1:2], shown)[0] == scores[1:2]


def test_a_prompt_counts_up_to_77_tokens(clip: Path) -> None:
    oracle = open_oracle(settings("clip-score", clip), CPU)
    shown = np.stack([pictures(1)[0]] * 2)
    one, other = oracle.score([BEFORE_END + "b", BEFORE_END + "c d e"], shown)
    assert one == other
    one, other = oracle.score([BEFORE_END[:-2] + "b", BEFORE_END[:-2] + "c"], shown)
    assert one != other
    assert oracle.truncated(["b", BEFORE_END + "b", BEFORE_END[:-2] + "b"]) == (1,)
    both = OracleSettings(
        kind="ensemble",
        members=(MemberSettings(kind="clip-score", path=str(clip)),),
        batch_size=4,
        fit="pad",
    )
    assert open_oracle(both, CPU).truncated(["b", BEFORE_END + "b"]) == (1,)
    cut = of_oracle(open_oracle_files(settings("clip-score", clip)))
    assert cut.cut(["b", BEFORE_END + "b", BEFORE_END[:-2] + "b"]) == (1,)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near(clip: Path, dtype: str) -> None:
    """Within 2 points of 100 for this small model."""
    shown = pictures(4)
    exact = open_oracle(settings("clip-score", clip), CPU).score(PROMPTS, shown)
    half = open_oracle(settings("clip-score", clip, dtype=dtype), CPU)
    assert half.score(PROMPTS, shown) == pytest.approx(exact, abs=2)


def test_the_aesthetic_head_is_linear_on_the_normalised_embedding(
    clip: Path, head: Path, tmp_path: Path
) -> None:
    shown = pictures(4)
    convert("aesthetic", head, str(clip), tmp_path / "aesthetic")
    oracle = open_oracle(settings("aesthetic", tmp_path / "aesthetic"), CPU)
    model = CLIPModel.from_pretrained(clip).eval()
    text = CLIPTokenizer.from_pretrained(clip)(["a"], return_tensors="pt")
    with torch.inference_mode():
        values = model(**text, pixel_values=as_processed(clip, shown)).image_embeds.double()
    published = torch.load(head, weights_only=True)
    for n in HEAD_LAYERS:
        weight, bias = published[f"layers.{n}.weight"], published[f"layers.{n}.bias"]
        values = values @ weight.T.double() + bias
    assert oracle.score(PROMPTS, shown) == pytest.approx(values[:, 0].tolist(), rel=1e-4, abs=1e-3)
    assert oracle.score(PROMPTS[::-1], shown) == oracle.score(PROMPTS, shown)


def test_another_kind_of_head_is_refused(clip: Path, head: Path, tmp_path: Path) -> None:
    """One with activations between its layers has other numbers in its names."""
    relu = {
        name.replace("layers.7", "layers.11"): tensor
        for name, tensor in torch.load(head, weights_only=True).items()
    }
    torch.save(relu, tmp_path / "reluMSE.pth")
    with pytest.raises(ModelError, match="not the layers"):
        convert("aesthetic", tmp_path / "reluMSE.pth", str(clip), tmp_path / "out")


def test_weights_that_are_not_there_are_not_made_up(clip: Path, tmp_path: Path) -> None:
    for file in clip.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the weights .* 'text_projection\.weight'"):
        open_oracle(settings("clip-score", tmp_path), CPU)


def test_an_ensemble_adds_up_weighted_scores(clip: Path) -> None:
    shown = pictures(4)
    members = (
        MemberSettings(kind="clip-score", path=str(clip), weight=0.01),
        MemberSettings(kind="hps-v2", path=str(clip), weight=-2.0),
    )
    both = OracleSettings(kind="ensemble", members=members, batch_size=4)
    one, other = (open_oracle(member, CPU).score(PROMPTS, shown) for member in members)
    expected = [0.01 * a - 2.0 * b for a, b in zip(one, other, strict=True)]
    assert open_oracle(both, CPU).score(PROMPTS, shown) == pytest.approx(expected)


def open_clip_weights() -> dict[str, torch.Tensor]:
    """A small CLIP with open_clip's names and shapes."""
    generator = torch.Generator().manual_seed(9)

    def random(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    weights = {
        "logit_scale": torch.tensor(2.0),
        "visual.class_embedding": random(WIDTH),
        "visual.positional_embedding": random((SIDE // PATCH) ** 2 + 1, WIDTH),
        "visual.conv1.weight": random(WIDTH, 3, PATCH, PATCH),
        "visual.proj": random(WIDTH, PROJECTED),
        "token_embedding.weight": random(END + 1, WIDTH),
        "positional_embedding": random(TOKENS, WIDTH),
        "text_projection": random(WIDTH, PROJECTED),
    }
    norms = ["visual.ln_pre", "visual.ln_post", "ln_final"]
    for tower in ("visual.transformer", "transformer"):
        for block in (f"{tower}.resblocks.{n}" for n in range(LAYERS)):
            norms += [f"{block}.ln_1", f"{block}.ln_2"]
            shapes = {"attn.in_proj": (3 * WIDTH, WIDTH), "attn.out_proj": (WIDTH, WIDTH),
                      "mlp.c_fc": (64, WIDTH), "mlp.c_proj": (WIDTH, 64)}  # fmt: skip
            for name, shape in shapes.items():
                mark = "_" if name == "attn.in_proj" else "."
                weights[f"{block}.{name}{mark}weight"] = random(*shape)
                weights[f"{block}.{name}{mark}bias"] = random(shape[0])
    for norm in norms:
        weights |= {f"{norm}.weight": 1 + random(WIDTH), f"{norm}.bias": random(WIDTH)}
    return weights


def open_clip_tower(
    w: dict[str, torch.Tensor], tower: str, x: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """open_clip's residual blocks, written down anew. x: (rows, tokens, width)."""

    def norm(name: str) -> torch.Tensor:
        return layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"])

    for b in (f"{tower}.resblocks.{n}" for n in range(LAYERS)):
        y = norm(f"{b}.ln_1").transpose(0, 1)
        attended, _ = multi_head_attention_forward(
            y, y, y, WIDTH, HEADS, w[f"{b}.attn.in_proj_weight"], w[f"{b}.attn.in_proj_bias"],
            None, None, False, 0.0, w[f"{b}.attn.out_proj.weight"], w[f"{b}.attn.out_proj.bias"],
            training=False, need_weights=False, attn_mask=mask,
        )  # fmt: skip
        x = x + attended.transpose(0, 1)
        inner = gelu(linear(norm(f"{b}.ln_2"), w[f"{b}.mlp.c_fc.weight"], w[f"{b}.mlp.c_fc.bias"]))
        x = x + linear(inner, w[f"{b}.mlp.c_proj.weight"], w[f"{b}.mlp.c_proj.bias"])
    return x


def test_open_clips_weights_mean_the_same_after_conversion(clip: Path, tmp_path: Path) -> None:
    """HPSv2's file, against open_clip's computation written down anew."""
    w = open_clip_weights()
    torch.save({"epoch": 1, "state_dict": w}, tmp_path / "HPS_v2.pt")
    convert("hps-v2", tmp_path / "HPS_v2.pt", str(clip), tmp_path / "hps")
    shown = pictures(4)
    patches = torch.nn.functional.conv2d(
        as_hps_processes(shown), w["visual.conv1.weight"], stride=PATCH
    )
    x = patches.flatten(2).transpose(1, 2)
    x = torch.cat([w["visual.class_embedding"].expand(4, 1, WIDTH), x], dim=1)
    x = x + w["visual.positional_embedding"]
    x = layer_norm(x, (WIDTH,), w["visual.ln_pre.weight"], w["visual.ln_pre.bias"])
    x = open_clip_tower(w, "visual.transformer", x, None)[:, 0]
    x = layer_norm(x, (WIDTH,), w["visual.ln_post.weight"], w["visual.ln_post.bias"])
    images = normalize(x @ w["visual.proj"], dim=-1)
    tokenizer = CLIPTokenizer.from_pretrained(clip)
    ids = tokenizer(PROMPTS, padding="max_length", max_length=TOKENS, return_tensors="pt").input_ids
    x = w["token_embedding.weight"][ids] + w["positional_embedding"]
    x = open_clip_tower(w, "transformer", x, torch.full((TOKENS, TOKENS), -torch.inf).triu(1))
    x = layer_norm(x, (WIDTH,), w["ln_final.weight"], w["ln_final.bias"])
    texts = normalize(x[range(4), ids.argmax(-1)] @ w["text_projection"], dim=-1)
    expected = (images * texts).sum(-1)
    assert np.ptp(expected.numpy()) > 0.01
    scores = open_oracle(settings("hps-v2", tmp_path / "hps"), CPU).score(PROMPTS, shown)
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)
    assert "text_model.encoder.layers.1.self_attn.k_proj.bias" in from_open_clip(w)


def test_code_in_a_published_file_does_not_run(clip: Path, tmp_path: Path) -> None:
    set_trap(tmp_path / "HPS_v2.pt", tmp_path / "trace")
    with pytest.raises(ModelError, match="cannot read tensors"):
        convert("hps-v2", tmp_path / "HPS_v2.pt", str(clip), tmp_path / "out")
    assert not (tmp_path / "trace").exists()


# ---- pictures that are not square


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20)])
def test_a_square_is_made_in_three_ways(height: int, width: int) -> None:
    rows = np.full((2, height, width, 3), 200, np.uint8)
    middle = rows[:, height // 2 - 10 : height // 2 + 10, width // 2 - 10 : width // 2 + 10]
    middle[:] = 90
    assert (squares(rows, "crop") == 90).all()
    padded = squares(rows, "pad")
    assert padded.shape == (2, 40, 40, 3)
    assert (padded[:, 0, 0] == 0).all()
    inner = padded[:, 10:30] if width > height else padded[:, :, 10:30]
    assert np.array_equal(inner, rows)
    resized = squares(rows, "resize")
    assert resized.shape == (2, 20, 20, 3)
    assert resized[0, 10, 10, 0] < 100 < 190 < resized[0, 0, 0, 0], "all of it is there"
    assert squares(middle, "pad") is middle


@pytest.mark.parametrize(
    ("fit", "sees_edges"), [(None, False), ("crop", False), ("pad", True), ("resize", True)]
)
def test_fit_says_whether_the_edges_of_a_wide_picture_count(
    fit: str | None, sees_edges: bool, clip: Path
) -> None:
    wide = pictures(4, SIDE, 2 * SIDE)
    other = wide.copy()
    other[:, :, :4] = 255 - other[:, :, :4]
    oracle = open_oracle(settings("clip-score", clip, fit=fit), CPU)
    one, two = oracle.score(PROMPTS, wide), oracle.score(PROMPTS, other)
    assert (one != two) == sees_edges
    if fit:
        plain = open_oracle(settings("clip-score", clip), CPU)
        assert plain.score(PROMPTS, squares(wide, fit)) == one  # type: ignore[arg-type]


def test_each_member_of_an_ensemble_has_its_own_fit(clip: Path) -> None:
    wide = pictures(4, SIDE, 2 * SIDE)
    one, other = (
        MemberSettings(kind="clip-score", path=str(clip), fit=fit) for fit in ("pad", "crop")
    )
    both = OracleSettings(kind="ensemble", members=(one, other), batch_size=4)
    each = [open_oracle(member, CPU).score(PROMPTS, wide) for member in (one, other)]
    found = open_oracle(both, CPU).score(PROMPTS, wide)
    assert found == pytest.approx([sum(row) for row in zip(*each, strict=True)])


def test_an_oracle_that_cannot_see_is_refused_before_the_start(clip: Path, tmp_path: Path) -> None:
    """Also one that decides nothing."""
    copy = Path(copytree(clip, tmp_path / "clip"))
    (copy / "preprocessor_config.json").write_text('{"image_processor_type": "Nope"}')
    shapes = PRESETS["shapes"]
    extra = ExtraScoreSettings(column="clip", kind="clip-score", path=str(copy))
    for oracle in (
        settings("clip-score", copy),
        shapes.oracle.model_copy(update={"extra_scores": (extra,)}),
    ):
        with pytest.raises(ModelError, match=f"cannot load the oracle {str(copy)!r}"):
            open_model_files(shapes.model_copy(update={"oracle": oracle}), ["refine"], "generate")


def test_an_oracle_without_its_vocabulary_is_refused_before_the_start(
    clip: Path, tmp_path: Path
) -> None:
    """transformers makes one that knows no word, and scores every prompt alike."""
    copy = Path(copytree(clip, tmp_path / "clip"))
    shapes = PRESETS["shapes"].model_copy(update={"oracle": settings("clip-score", copy)})
    open_model_files(shapes, ["refine"], "generate")
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (copy / name).unlink()
    with pytest.raises(ModelError, match=r"'tokenizer.json' or merges.txt and vocab.json. Copy"):
        open_model_files(shapes, ["refine"], "generate")
