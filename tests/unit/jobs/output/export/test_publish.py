"""Publishing: the card, what is sent, what is not sent twice. The hub is a stand-in on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from huggingface_hub import DatasetCard

from actors.errors import OutputError, SpecError, StorageError
from actors.models.presets import CATALOGUE
from jobs.output.dataset import Output, open_output
from jobs.output.export.hub_repository import HubRepository
from jobs.output.export.licences import UNKNOWN, ModelLicence, licences_of, public_name, strictest
from jobs.output.export.publish import prepare
from jobs.output.folder import OutputFolder
from jobs.storage.local import LocalStorage
from jobs.storage.object_store import ObjectStorage
from tests.stand_in_hub import StandInHub, stand_in_hub
from tests.unit.jobs.local import local_job, run, write_prompts

NAME = "me/pictures"
PLACE = f"hf://datasets/{NAME}"


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """Ten rows in parts of 4, 4 and 2."""
    run(local_job(write_prompts(tmp_path / "p.csv", 10), tmp_path / "out"))
    return open_output(tmp_path / "out")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        yield hub


def hashes(output: Output) -> dict[str, str]:
    records = output.records().values()
    names = [Path(name).relative_to(output.url).as_posix() for name in output.parts().values()]
    return {name: record["sha256"] for name, record in zip(names, records, strict=True)}


def test_a_dataset_on_the_hub_has_its_parts_and_its_card(output: Output, hub: StandInHub) -> None:
    assert output.publication().send_to(PLACE) == 3
    files = hub.repositories[NAME]
    assert hub.private[NAME]
    parts = {name: sha256(files[name]).hexdigest() for name in files if name.startswith("data/")}
    assert parts == hashes(output)
    assert set(files) == {*parts, "README.md", "sheet.png"}
    assert hub.commits[-1] == "The card"
    assert output.publication().send_to(PLACE) == 0
    assert hub.num_uploads == 3


def test_a_dataset_in_an_object_store_is_published_from_there(
    output: Output, hub: StandInHub, tmp_path: Path
) -> None:
    store = ObjectStorage("memory://to-be-published")
    for entry in LocalStorage(output.url).entries():
        store.put(entry.path, Path(output.url, entry.path).read_bytes())
    publication = prepare(OutputFolder(store))
    assert publication.card.text == output.publication().card.text
    assert publication.send_to(PLACE) == 3
    assert set(hashes(output)) < set(hub.repositories[NAME])
    assert publication.send_to(str(tmp_path / "public")) == 3


def test_a_publication_that_was_cut_short_goes_on(
    output: Output, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.output.export.publish.BATCH_PARTS", 1)
    hub.fail_after = 2
    with pytest.raises(StorageError, match="Run the same command again"):
        output.publication().send_to(PLACE)
    assert len(hub.repositories[NAME]) == 2
    assert "README.md" not in hub.repositories[NAME], "the card says that all is there"
    hub.fail_after = float("inf")
    assert output.publication().send_to(PLACE) == 1
    assert set(hashes(output)) < set(hub.repositories[NAME])


@pytest.mark.parametrize("below", ["", "/public"])
def test_an_output_is_not_published_into_itself(output: Output, below: str) -> None:
    before = Path(output.url, "README.md").read_bytes()
    with pytest.raises(OutputError, match=r"is the output itself, or in it\. Choose another"):
        output.publication().send_to(output.url + below)
    assert Path(output.url, "README.md").read_bytes() == before


def test_no_rights_and_no_answer_are_sentences(output: Output, hub: StandInHub) -> None:
    hub.denies = True
    with pytest.raises(StorageError, match=r"may not be written to .*\(403\)\. Set HF_TOKEN"):
        output.publication().send_to(PLACE)
    with pytest.raises(SpecError, match="names no dataset of the hub"):
        HubRepository("hf://datasets/alone")


@pytest.mark.parametrize("place", [PLACE, "folder"])
def test_a_place_with_parts_of_another_dataset_is_refused(
    place: str, output: Output, hub: StandInHub, tmp_path: Path
) -> None:
    hub.repositories[NAME] = {"data/train-0.parquet": b"theirs"}
    (tmp_path / "folder/data").mkdir(parents=True)
    (tmp_path / "folder/data/train-0.parquet").write_bytes(b"theirs")
    there = place if place == PLACE else str(tmp_path / place)
    with pytest.raises(OutputError, match=r"holds 'data/train-0.parquet', which is not of this"):
        output.publication().send_to(there)


@pytest.mark.parametrize("place", [PLACE, "folder"])
def test_a_part_that_is_not_as_its_record_says_is_not_sent(
    place: str, output: Output, hub: StandInHub, tmp_path: Path
) -> None:
    part = Path(output.parts()[1])
    damaged = bytearray(part.read_bytes())
    damaged[100] ^= 1
    part.write_bytes(damaged)
    there = place if place == PLACE else str(tmp_path / place)
    with pytest.raises(OutputError, match=r"part-00000001\.parquet has not the bytes"):
        output.publication().send_to(there)
    assert "README.md" not in hub.repositories.get(NAME, {})
    assert not (tmp_path / "folder/data/00000/part-00000001.parquet").exists()


def test_a_folder_gets_the_same_files_once(output: Output, tmp_path: Path) -> None:
    place = tmp_path / "public"
    assert output.publication().send_to(str(place)) == 3
    for name, digest in hashes(output).items():
        assert sha256((place / name).read_bytes()).hexdigest() == digest
    assert json.loads((place / "checksums.json").read_text()) == hashes(output)
    part = place / next(iter(hashes(output)))
    written = part.stat().st_mtime_ns
    assert output.publication().send_to(str(place)) == 0
    assert part.stat().st_mtime_ns == written
    assert (place / "README.md").is_file()


def test_the_card_says_what_the_hub_asks_and_no_path(output: Output, tmp_path: Path) -> None:
    publication = output.publication()
    text = publication.card.text
    assert str(tmp_path) not in text
    assert "From `p.csv`, seed 7." in text
    head = yaml.safe_load(text.split("---")[1])
    assert DatasetCard(text).data.to_dict()["license"] == head["license"]
    assert head["license"] == "apache-2.0"
    assert head["task_categories"] == ["text-to-image"]
    assert head["size_categories"] == ["n<1K"]
    assert head["source_datasets"] == ["original"]
    assert head["configs"][0]["data_files"] == "data/**/*.parquet"
    info = head["dataset_info"]
    assert info["splits"] == [
        {"name": "train", "num_bytes": publication.num_bytes, "num_examples": 10}
    ]
    kinds = {one["name"]: one["dtype"] for one in info["features"]}
    assert (kinds["prompt"], kinds["image"], kinds["nfe"]) == ("string", "image", "int32")
    for words in ("student's score, mean", "gain by the teacher", "sheet.png", "Versions: "):
        assert words in text


def test_a_folder_that_was_published_is_read_by_datasets(output: Output, tmp_path: Path) -> None:
    output.publication().send_to(str(tmp_path / "public"))
    data = load_dataset(str(tmp_path / "public"), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.num_rows == 10
    assert data[0]["image"].size == (8, 8)


def test_paths_in_the_inputs_columns_are_warned_of(tmp_path: Path) -> None:
    source = tmp_path / "p.csv"
    source.write_text("id,prompt,file\na,one,/home/ann/1.png\nb,two,x.png\n")
    run(local_job(source, tmp_path / "out"))
    warnings = open_output(tmp_path / "out").publication().warnings
    assert warnings == ["the column 'file' holds paths of a machine, and would be public"]


@pytest.mark.parametrize(
    ("preset", "licence", "hub_name"),
    [
        ("shapes", "Apache-2.0", "apache-2.0"),
        ("lcm-sdxl", "OpenRAIL", "openrail++"),
        ("z-image-turbo", "Apache-2.0", "apache-2.0"),
        ("sdxl-turbo", "Stability AI Community", "other"),
    ],
)
def test_the_strictest_licence_of_the_models_is_proposed(
    preset: str, licence: str, hub_name: str
) -> None:
    fields: dict[str, Any] = CATALOGUE[preset].models.model_dump(mode="json")
    found = strictest(licences_of(fields))
    assert licence in found.licence
    assert found.hub_name == hub_name


def test_every_licence_of_the_presets_has_a_rank_or_nobody_knows_it() -> None:
    """A new one must not pass for a free one."""
    unknown = {
        source.licence
        for preset in CATALOGUE.values()
        for source in preset.sources
        if ModelLicence("m", source.licence).rank == UNKNOWN
    }
    assert all("see its card" in licence or "Google's terms" in licence for licence in unknown)
    stricter = [ModelLicence("m", text) for text in ("MIT", "FLUX.1 dev non-commercial (gated)")]
    assert strictest(stricter).hub_name == "other"
    assert strictest([*stricter, ModelLicence("m", "not known to Bottega")]).rank == UNKNOWN


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("stabilityai/sdxl-turbo", "stabilityai/sdxl-turbo"),
        ("/home/ann/models/secret/my-lcm", "my-lcm"),
        ("/root/.cache/huggingface/hub/models--org--name/snapshots/abc", "org/name"),
        ("C:\\models\\mine", "mine"),
    ],
)
def test_a_model_is_named_without_anybodys_folders(place: str, shown: str) -> None:
    assert public_name(place) == shown
