"""Text for a person's terminal or log, whoever wrote the text.

A prompt, a file's name or a field of somebody else's dataset may hold an escape that moves the
cursor, a newline that forges a line of ours ("all is well"), or a mark that turns the direction of
reading. What a terminal would obey is shown as Python writes it: `\\x1b`, `\\n`, `\\u202e`.
"""

from __future__ import annotations

import logging
import re
from unicodedata import category

_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls, formats (direction, invisible), surrogates (no terminal can write them), separators of
lines and paragraphs."""
_JOINERS = "\u200c\u200d"
"""Formats that words and emoji need, and that move nothing."""


def one_line(text: str) -> str:
    """The text in a single line. What is printable, tabs among it, stays as it is."""
    return re.sub(r"[^ -~\t]", lambda found: _shown(found[0]), text)


def _shown(character: str) -> str:
    if category(character) not in _OBEYED or character in _JOINERS:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class OneLineFilter(logging.Filter):
    """Makes each message of the log one line. Tracebacks, which Python adds later, keep theirs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record in place, and let it pass."""
        record.msg, record.args = one_line(record.getMessage()), None
        return True
