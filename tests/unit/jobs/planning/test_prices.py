"""Counts of GPUs, deadlines and prices, as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import SpecError
from jobs.planning.prices import EXAMPLES, read_duration, read_gpus, read_prices


def test_gpus_are_a_number_or_a_number_of_each_type() -> None:
    assert read_gpus("8", usual="A100-80G") == {"A100-80G": 8}
    assert read_gpus(" H100 = 4, L4=16", usual="any") == {"H100": 4, "L4": 16}


@pytest.mark.parametrize("text", ["", "0", "-1", "8.5", "H100=", "=4", "H100=0", "L4=1,L4=2", "²"])
def test_other_numbers_of_gpus_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"--gpus .* as 8, or one for each type"):
        read_gpus(text, usual="any")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90m", 5400), ("1.5 h", 5400), ("2d", 172800)]
)
def test_a_deadline_has_a_unit(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5h", "soon", "5 weeks", "1e400", "9" * 5000])
def test_another_deadline_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"--deadline .* is no time: give it as 90m"):
        read_duration(text)


def test_only_the_prices_that_come_with_bottega_are_examples() -> None:
    assert read_prices().are_examples
    assert not read_prices(EXAMPLES).are_examples


def test_a_cost_is_hours_times_price_and_unknown_where_a_price_is(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("gpu,per_hour,note\n# mine\nH100,2.5,reserved\nL4,0.5,spot\n")
    prices = read_prices(file)
    assert prices.cost({"H100": 4.0, "L4": 2.0}) == 11.0
    assert prices.cost({"H100": 4.0, "T4": 2.0}) is None
    assert prices.cost({"H100": 4.0, "T4": 0.0}) == 10.0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("gpu,price\nH100,1\n", "the column 'per_hour' is missing"),
        ("gpu,per_hour\nH100,two\n", "line 2: per_hour 'two' is no price"),
        ("gpu,per_hour\nH100,-2\n", "line 2: per_hour '-2' is no price"),
        ("gpu,per_hour\nH100,nan\n", "line 2: per_hour 'nan' is no price"),
        ("gpu,per_hour\n\nH100,1\nH100,2\n", "line 4: 'H100' has two prices"),
    ],
)
def test_a_table_of_prices_that_breaks_a_rule_is_refused(
    lines: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(lines)
    with pytest.raises(SpecError, match=said):
        read_prices(file)
