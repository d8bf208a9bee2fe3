"""The two tokenizers, and the teacher's text encoder.

Both tokenizers read any text: CLIP's by its bytes, BLIP's by characters and `[UNK]`. Every word of
the world is one token in both.
"""

import itertools
import json
import string
import tempfile
from collections import Counter
from pathlib import Path

from transformers import BertTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from actors.models.shapes import world

MAX_TOKENS = 32
"""Longest text, start and end included; the longest caption of the world has 23."""

TEXT_WIDTH = 128

END = "</w>"


def words() -> list[str]:
    """Every word that a caption can hold, in a fixed order."""
    texts = ["a", *world.SIZES, *world.COLORS, *world.SHAPES, "on", "and", "background"]
    texts += [*world.BACKGROUNDS, *(word for name in world.RELATIONS for word in name.split())]
    return list(dict.fromkeys(texts))


def _byte_letters() -> list[str]:
    """The printable stand-ins for the 256 bytes, as GPT-2's byte-level BPE defines them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(rest))]


def _merges() -> list[tuple[str, str]]:
    """Byte-pair merges that turn each of the world's words into one token.

    Sennrich et al. 2016, run on the word list until every word is whole. Replaying the merges in
    the order in which they were learned ends in the same tokens.
    """
    spelled = [[*word[:-1], word[-1] + END] for word in words()]
    merges: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in spelled):
        pairs = Counter(pair for parts in spelled for pair in itertools.pairwise(parts))
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        spelled = [_merge(parts, best) for parts in spelled]
    return merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's byte-level tokenizer with a vocabulary of its own."""
    letters = _byte_letters()
    merges = _merges()
    tokens = [*letters, *(letter + END for letter in letters)]
    tokens += ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vocabulary = {token: i for i, token in enumerate(tokens)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n")
        return CLIPTokenizer.from_pretrained(
            folder, model_max_length=MAX_TOKENS, pad_token="<|endoftext|>"
        )


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text encoder, three layers, trained from nothing together with the teacher."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def blip_tokenizer() -> BertTokenizer:
    """WordPiece over the world's words, with single characters for everything else."""
    characters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words()]
    tokens += [letter for letter in characters if letter not in tokens]
    tokens += [f"##{letter}" for letter in string.ascii_lowercase + string.digits]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "vocab.txt"
        file.write_text("\n".join(tokens) + "\n")
        return BertTokenizer.from_pretrained(name, model_max_length=MAX_TOKENS)
