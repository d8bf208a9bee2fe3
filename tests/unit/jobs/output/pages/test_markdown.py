"""Words of others stay words in Markdown."""

from __future__ import annotations

import pytest

from jobs.output.pages.markdown import code, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nightly-7", "nightly-7"),
        ("a\n# b\r\n\tc", "a # b c"),
        ("<b>|[x](y)", r"\<b\>\|\[x\](y)"),
        ("back\\slash *_~`&lt;", r"back\\slash \*\_\~\`\&lt;"),
    ],
)
def test_text_has_no_markup(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("p.csv", "`p.csv`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("a\n\nb", "`a b`")],
)
def test_code_ends_where_it_should(text: str, shown: str) -> None:
    assert code(text) == shown
