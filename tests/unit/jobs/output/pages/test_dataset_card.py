"""The card is Markdown that shows on the hub, and its words are the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.output.pages.dataset_card import card
from tests.unit.jobs.local import local_job, run, write_prompts


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("nightly-7", "# nightly-7"),
        ("<img src=x>", r"# \<img src=x\>"),
        ("[all is well](http://x)", r"# \[all is well\](http://x)"),
        ("a_b_c *d* `e`", r"# a\_b\_c \*d\* \`e\`"),
        ("&lt;", r"# \&lt;"),
    ],
)
def test_the_jobs_name_is_text(tmp_path: Path, name: str, heading: str) -> None:
    job = local_job(write_prompts(tmp_path / "p.csv", 4), tmp_path / "out", name=name)
    run(job)
    assert heading in card(job.output).splitlines()
