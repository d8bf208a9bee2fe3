"""Profiles, the address of the cluster, and a variable for every option."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.core import TyperGroup

from actors.errors import SpecError
from cluster import profiles
from cluster.cli.app import command
from cluster.profiles import Profile, below_base, cluster_address, load_profile


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(profiles, "profiles_file", lambda: tmp_path / "profiles.toml")
    return tmp_path / "profiles.toml"


def test_a_profile_is_chosen_by_its_name_or_by_the_environment(file: Path) -> None:
    file.write_text(
        '[profile.gpus]\naddress = "http://head:8265"\noutput = "/data"\nprices = "p.csv"\n'
    )
    found = load_profile("gpus", {})
    assert found.address == "http://head:8265"
    assert found.prices == str(file.parent / "p.csv")
    assert load_profile(None, {"BOTTEGA_PROFILE": "gpus"}) == found
    assert load_profile(None, {}) == Profile()


@pytest.mark.parametrize(
    ("content", "name", "error"),
    [
        ("", "gpus", r"no \[profile.gpus\]. It has: none"),
        ("[profile.gpus]\n", "gpu", "Did you mean 'gpus'"),
        ("[profile.gpus]\nadress = 'x'\n", "gpus", "adress"),
        ("[profile.gpus\n", "gpus", "cannot be read"),
        ("profile = 3\n", "gpus", "no"),
    ],
)
def test_a_mistake_in_the_file_is_a_sentence(
    content: str, name: str, error: str, file: Path
) -> None:
    file.write_text(content)
    with pytest.raises(SpecError, match=error):
        load_profile(name, {})


def test_the_order_of_addresses() -> None:
    profile = Profile(address="profile")
    environment = {"RAY_ADDRESS": "ray", "RAY_API_SERVER_ADDRESS": "api", "BOTTEGA_ADDRESS": "ours"}
    found = [cluster_address("option", profile, environment)]
    for name in ("BOTTEGA_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        found.append(cluster_address(None, profile, environment))
        del environment[name]
    found.append(cluster_address(None, profile, environment))
    assert found == ["option", "ours", "api", "ray", "profile"]
    assert cluster_address(None, Profile(), {}) is None


def test_only_a_relative_output_is_below_the_base() -> None:
    profile = Profile(output="s3://bucket/base/")
    assert below_base("faces", profile) == "s3://bucket/base/faces"
    for output in ("/data/faces", "gs://other/faces"):
        assert below_base(output, profile) == output
    assert below_base("faces", Profile()) == "faces"


def test_every_option_has_a_variable_and_none_has_that_of_another() -> None:
    names: list[str] = []

    def walk(group: TyperGroup) -> None:
        for below in group.commands.values():
            if isinstance(below, TyperGroup):
                walk(below)
                continue
            names.extend(
                str(option.envvar)
                for option in below.params
                if option.param_type_name == "option" and option.name != "help"
            )

    walk(command())
    assert {"BOTTEGA_SUBMIT_ADDRESS", "BOTTEGA_RUN_FOR", "BOTTEGA_PLAN_JSON"} <= set(names)
    assert len(names) == len(set(names))
    assert all(name.startswith("BOTTEGA_") for name in names)
