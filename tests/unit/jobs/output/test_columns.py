"""The output's own columns."""

from __future__ import annotations

import pytest

from actors.errors import OutputError
from jobs.output.columns import check_names


def test_input_columns_called_like_ours_are_refused() -> None:
    with pytest.raises(OutputError, match="'image'"):
        check_names(["prompt", "image"], None)
    with pytest.raises(OutputError, match="'status'"):
        check_names(["prompt", "status"], "status")
    with pytest.raises(OutputError, match="'seed'"):
        check_names(["prompt", "seed"], None)
    with pytest.raises(OutputError, match="'student_image'"):
        check_names(["prompt", "student_image"], None)
    check_names(["prompt", "seed"], "seed")
