"""Finds the syntax of other tools in prompts, where it is text like any other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

SYNTAX: dict[str, re.Pattern[str]] = {
    "weights, as (word:1.3)": re.compile(
        r"\([^()]*:\s*[+-]?(\d(\.\d*)?|\.\d+)\s*\)|\(\([^()]+\)\)"
    ),
    "networks, as <lora:name:1>": re.compile(r"<(lora|lyco|hypernet|embedding):[^<>]*>", re.I),
    "options, as --negative_prompt or --ar": re.compile(r"(?<!\S)--[a-z][\w-]*(?=[\s=]|$)", re.I),
    "BREAK": re.compile(r"\bBREAK\b"),
    "schedules, as [from:to:0.5]": re.compile(r"\[[^\[\]]*:[^\[\]]*:?\s*(\d+\.?\d*|\.\d+)\s*\]"),
    "choices, as {one|other}": re.compile(r"\{[^{}]*\|[^{}]*\}"),
    "wildcards, as __name__": re.compile(r"(?<!\w)__[\w/-]+__(?!\w)"),
}
"""What it is -> how it looks. Of AUTOMATIC1111, ComfyUI, Midjourney, Dynamic Prompts."""


def other_syntax(prompts: Iterable[str]) -> tuple[int, Counter[str]]:
    """Prompts that have some, and how many have each kind."""
    rows, kinds = 0, Counter[str]()
    for prompt in prompts:
        found = [name for name, look in SYNTAX.items() if look.search(prompt)]
        rows += bool(found)
        kinds.update(found)
    return rows, kinds
