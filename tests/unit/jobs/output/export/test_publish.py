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
from jobs.output.export.destination import marker_of
from jobs.output.export.hub_repository import HubRepository
from jobs.output.export.licences import UNKNOWN, ModelLicence, licences_of, public_name, strictest
from jobs.output.export.public_folder import PublicFolder
from jobs.output.export.publish import prepare
from jobs.output.folder import OutputFolder
from jobs.output.job_file import dataset_id
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
    assert set(files) == {*parts, "README.md", "sheet.png", "publication.json"}
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
    assert len([name for name in hub.repositories[NAME] if name.startswith("data/")]) == 2
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


@pytest.fixture
def other(tmp_path: Path) -> Output:
    """A dataset of the same job file on another input: its parts have the same names."""
    source = tmp_path / "others" / "p.csv"
    source.parent.mkdir()
    source.write_text(write_prompts(source, 10).read_text().replace("picture", "another"))
    run(local_job(source, tmp_path / "other"))
    return open_output(tmp_path / "other")


PLACES = (PLACE, "folder")


@pytest.fixture
def place(request: pytest.FixtureRequest, hub: StandInHub, tmp_path: Path) -> str:
    """A repository of the hub, or a folder; neither is there yet."""
    return PLACE if request.param == PLACE else str(tmp_path / request.param)


def files_at(place: str, hub: StandInHub) -> dict[str, bytes]:
    if place == PLACE:
        return dict(hub.repositories.get(NAME, {}))
    storage = LocalStorage(place)
    return {entry.path: storage.get(entry.path) for entry in storage.entries()}


def put(place: str, hub: StandInHub, name: str, content: bytes) -> None:
    if place == PLACE:
        hub.repositories.setdefault(NAME, {})[name] = content
    else:
        file = Path(place, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_the_place_of_another_dataset_is_refused_and_keeps_every_byte(
    place: str, output: Output, other: Output, hub: StandInHub
) -> None:
    assert hashes(output).keys() == hashes(other).keys()
    other.publication().send_to(place)
    before = files_at(place, hub)
    with pytest.raises(OutputError, match=r"holds the publication of another dataset\. Choose"):
        output.publication().send_to(place)
    assert files_at(place, hub) == before


@pytest.mark.parametrize("place", PLACES, indirect=True)
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("job.json", r"has a job\.json, so it is the output of a job"),
        ("notes/README.md", r"is not empty and has no publication\.json"),
        ("data/00000/part-00000000.parquet", r"is not empty and has no publication\.json"),
        ("checksums.json", r"is not empty and has no publication\.json"),
    ],
)
def test_a_place_that_holds_something_else_is_refused(
    name: str, sentence: str, place: str, output: Output, hub: StandInHub
) -> None:
    put(place, hub, name, b"theirs")
    with pytest.raises(OutputError, match=sentence):
        output.publication().send_to(place)
    assert files_at(place, hub) == {name: b"theirs"}


def test_a_bucket_is_claimed_as_a_folder_is(other: Output, output: Output) -> None:
    bucket = ObjectStorage("memory://claimed")
    ours, theirs = (marker_of(dataset_id(one._folder.require_job())) for one in (output, other))
    for _ in range(2):
        PublicFolder(bucket).claim(ours)
    with pytest.raises(OutputError, match="holds the publication of another dataset"):
        PublicFolder(bucket).claim(theirs)
    assert bucket.get("publication.json") == ours


def test_somebodys_readme_in_a_folder_is_not_replaced(output: Output, tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public/README.md").write_text("mine")
    with pytest.raises(OutputError, match=r"is not empty and has no publication\.json"):
        output.publication().send_to(str(tmp_path / "public"))
    assert (tmp_path / "public/README.md").read_text() == "mine"


def test_an_output_with_a_marker_is_an_output_still(output: Output, other: Output) -> None:
    marker = marker_of(dataset_id(output._folder.require_job()))
    Path(other.url, "publication.json").write_bytes(marker)
    with pytest.raises(OutputError, match=r"has a job\.json"):
        output.publication().send_to(other.url)


def test_a_repository_as_the_hub_makes_it_is_new(output: Output, hub: StandInHub) -> None:
    hub.repositories[NAME] = {".gitattributes": b"*.parquet filter=lfs", "README.md": b"---\n---\n"}
    assert output.publication().send_to(PLACE) == 3
    assert b"pretty_name" in hub.repositories[NAME]["README.md"]


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_file_among_our_parts_that_is_none_is_refused(
    place: str, output: Output, hub: StandInHub
) -> None:
    output.publication().send_to(place)
    put(place, hub, "data/train-0.parquet", b"theirs")
    with pytest.raises(OutputError, match=r"holds 'data/train-0.parquet', which is not of this"):
        output.publication().send_to(place)


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_dataset_that_grew_is_published_to_the_same_place(
    place: str, output: Output, hub: StandInHub, tmp_path: Path
) -> None:
    output.publication().send_to(place)
    run(local_job(write_prompts(tmp_path / "p.csv", 17), tmp_path / "out"), extend=True)
    # The part of 2 rows has 4 now, and two parts follow it.
    assert open_output(tmp_path / "out").publication().send_to(place) == 3


@pytest.mark.parametrize("broken", [b"{", b"[]", b"\xff", b"null"])
def test_broken_checksums_are_a_sentence(broken: bytes, output: Output, tmp_path: Path) -> None:
    place = tmp_path / "public"
    output.publication().send_to(str(place))
    (place / "checksums.json").write_bytes(broken)
    with pytest.raises(OutputError, match=r"checksums\.json is damaged\. Remove it, and publish"):
        output.publication().send_to(str(place))
    (place / "checksums.json").unlink()
    assert output.publication().send_to(str(place)) == 3


def test_the_cards_words_are_no_markup(tmp_path: Path) -> None:
    source = write_prompts(tmp_path / "a`b.csv", 4)
    run(local_job(source, tmp_path / "out", name="<b>[x](http://x)"))
    text = open_output(tmp_path / "out").publication("a`<b>").card.text
    assert r"# \<b\>\[x\](http://x)" in text.splitlines()
    assert "From `` a`b.csv ``, seed 7." in text
    assert "\n`` a`<b> ``, as chosen" in text


@pytest.mark.parametrize("named", [PLACE, "folder"])
def test_a_part_that_is_not_as_its_record_says_is_not_sent(
    named: str, output: Output, hub: StandInHub, tmp_path: Path
) -> None:
    part = Path(output.parts()[1])
    damaged = bytearray(part.read_bytes())
    damaged[100] ^= 1
    part.write_bytes(damaged)
    there = named if named == PLACE else str(tmp_path / named)
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
