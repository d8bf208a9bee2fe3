"""Words of others in Markdown, where nothing of them is markup."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """As text of one line, in which nothing is markup, a link or HTML."""
    return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """As code of one line, which no backtick in it ends."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, edge = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{edge}{' '.join(text.split())}{edge}{fence}"
