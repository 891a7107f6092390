"""`reproduce_dataset.sh NAME --init_from FOLDER`: every stage goes on from another dataset's run, on a few clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.rag.database import Embedded, RAGDatabase
from pipeline.loader import load_run
from pipeline.reproduce import main
from storage.checkpoint import read_model
from storage.files import read_json, write_json
from tests.data.prepare.bodies import walking_body, write_bvh
from tests.test_own_skeleton import refused, run
from utils.errors import UserError
from utils.fingerprint import UNHASHED
from utils.run import Run

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "pretrained" / "open"
STAGES = ("evaluator", "tmr", "vq", "mtrans", "rtrans", "length")
KNOWN = 5  # motions of the source's library
CLIPS = 7


def reproduce(folder: Path, *words: object) -> list[list[str]]:
    """Goes the whole way in this process; returns what was called."""
    calls: list[list[str]] = []

    def call(words: Sequence[str], spent: object) -> None:
        calls.append(list(words))
        assert run(*(words[1:] if words[0] == "-m" else words)) == 0, words

    places = {"LOGS": folder / "logs", "DATABASE": folder / "database", "OUTPUTS": folder / "outputs"}
    environment = {key: str(value) for key, value in places.items()} | {"GPU": "-1", "LIMIT": "1", "BATCH": "40"}
    main(call, [*map(str, words)], environment)
    return calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and a source: the shipped runs with a small library."""
    folder = tmp_path_factory.mktemp("tuning")
    for number in range(CLIPS):
        write_bvh(folder / "motions" / f"{number}.bvh", walking_body(2.5, seed=number), 20)
    (folder / "captions.csv").write_text("".join(f"{number},someone walks {number}\n" for number in range(CLIPS)))
    prepared = ["--motion_dir", folder / "motions", "--captions", folder / "captions.csv", "--out", folder / "mine"]
    assert run("prepare_dataset.py", *prepared, "--workers", "1", "--split", "1,0,0", "--contact_sheet", "0") == 0
    (folder / "source").mkdir()
    for stage in STAGES:
        (folder / "source" / stage).symlink_to(SHIPPED / stage)
    library = RAGDatabase.load(SHIPPED / "database")
    entries, all_of = [library.entries[number] for number in range(KNOWN)], library.embedded
    rows = sum(len(entry.captions) for entry in entries)
    some = (each[:KNOWN] for each in (all_of.motion, all_of.parts, all_of.tokens, all_of.steps))
    made = Embedded(entries, all_of.text[:rows], *some, sentences=all_of.sentences[:rows])
    RAGDatabase(made, library.facts).save(folder / "source" / "database")
    return folder


@pytest.fixture(scope="module")
def calls(folder: Path) -> list[list[str]]:
    """What the way calls; a batch is larger than the set, and val is empty."""
    return reproduce(folder, folder / "mine", "--init_from", folder / "source")


def test_every_stage_starts_from_its_source(folder: Path, calls: list[list[str]]) -> None:
    for stage in STAGES:
        new, old = Run(folder / "logs" / "mine" / stage), Run(SHIPPED / stage)
        assert new.value("initialised_from", "init_from") == str(folder / "source" / stage)
        assert new.config["model"] == old.config["model"] and new.value("train", "lr") < old.value("train", "lr")
        weights, former = (dict(read_model(each.checkpoint())) for each in (new, old))
        former = {name: value for name, value in former.items() if not name.endswith(UNHASHED)}
        assert {name for name in weights if not name.endswith(UNHASHED)} == former.keys()
        statistics = [name for name in weights if "normalizer" in name]
        assert all(torch.equal(weights[name], former[name].to(weights[name].dtype)) for name in statistics)
        assert bool(statistics) == (stage in ("vq", "tmr", "evaluator"))
        names = [name for name in former if former[name].is_floating_point() and former[name].ndim > 1]
        size = {
            name: max(1.0, float(former[name].abs().mean())) for name in names
        }  # sums of a code's vectors are large
        moved = {name: float((weights[name] - former[name]).abs().mean()) / size[name] for name in names}
        assert max(moved.values()) < 0.05, f"a step away: {stage} {max(moved, key=moved.get)}"
    assert list((folder / "outputs").rglob("motion.mp4"))


def test_known_motions_join_the_library(folder: Path, calls: list[list[str]]) -> None:
    """Their names tell the dataset; base tokens are the new RVQ-VAE's, and nearly those that they had."""
    old = RAGDatabase.load(folder / "source" / "database")
    new = RAGDatabase.load(folder / "database" / "mine", load_run(Run(folder / "logs" / "mine" / "tmr")).hash)
    own = len((folder / "mine" / "train.txt").read_text().split())
    assert len(new) == own + KNOWN and [entry.id for entry in new.entries][own:] == [entry.id for entry in old.entries]
    assert list(new.entries)[own].captions == old.entries[0].captions
    steps = int(old.embedded.steps[0])
    assert int(new.embedded.steps[own]) == steps
    base = (
        each.embedded.tokens[number, :steps].reshape(steps, 6, -1)[..., 0] for each, number in ((new, own), (old, 0))
    )
    assert float(torch.eq(*base).float().mean()) > 0.5
    places = ["--dataset_name", folder / "mine", "--checkpoints_dir", folder / "logs", "--gpu_id", "-1"]
    found = ["--database", folder / "database", "--text", old.entries[0].captions[0], "--k", "1"]
    assert run("Part_TMR.scripts.search", *places, *found, "--json", folder / "found.json") == 0
    assert read_json(folder / "found.json")["found"][0]["id"] == old.entries[0].id


def test_the_same_command_goes_on(folder: Path, calls: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("mtrans", "length"):
        words = next(words for words in calls if words[words.index("--name") + 1] == stage and "--preset" in words)
        capsys.readouterr()
        assert run(*words, "--max_steps", "2") == 0
        told = capsys.readouterr().out
        assert "at step 1 of 2" in told and "starts from" not in told
    words[words.index("--init_from") + 1] = f"{folder}/./source/length/"
    words[words.index("--dataset_name") + 1] = f"{folder}/source/../mine/"
    assert run(*words, "--max_steps", "2") == 0, "the same folders in other words"


def test_without_validation_the_last_checkpoint_is_kept_and_told(folder: Path, calls: list[list[str]]) -> None:
    for stage in STAGES:
        place = folder / "logs" / "mine" / stage
        assert Run(place).checkpoint().name == "latest.tar" and not list(place.glob("model/net_best*"))
        told = (place / "train.log").read_text()
        assert "warning: val is empty: checkpoints cannot be chosen by it, the last one is kept" in told
        assert f"warning: train has {CLIPS} clips of {CLIPS} performances, fewer than 30" in told


def test_other_sources_are_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "logs" / "vq").mkdir(parents=True)
    write_json(tmp_path / "logs" / "vq" / "config.json", read_json(SHIPPED / "vq" / "config.json"))
    for source, words in (
        (ROOT / "pretrained", "it has none of vq, tmr, mtrans, rtrans, length; name a folder in it: open"),
        (tmp_path / "logs", "it lacks tmr, mtrans, rtrans, length"),
    ):
        with pytest.raises(UserError) as error:
            reproduce(tmp_path / "new", folder / "mine", "--init_from", source)
        assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_what_does_not_fit_the_dataset_or_its_neighbours_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "of another motion format than the dataset kit: 22 joints" in refused(
        capsys, "pipeline.start", SHIPPED, "--dataset_name", "kit"
    )
    for stage in STAGES[1:]:
        (tmp_path / stage).symlink_to(SHIPPED / stage)
    start = ["pipeline.start", tmp_path, "--dataset_name", folder / "mine"]
    capsys.readouterr()
    assert run(*start) == 0
    notes = capsys.readouterr().out.splitlines()
    assert (
        len(notes) == 2 and "the library will hold the motions of" in notes[0] and "evaluator starts from" in notes[1]
    )
    (tmp_path / "vq").unlink()
    (tmp_path / "vq").symlink_to(folder / "logs" / "mine" / "vq")
    assert "mtrans was trained on tokens of the RVQ-VAE" in refused(capsys, *start)
    longer = tmp_path / "longer"
    longer.mkdir()
    write_json(longer / "dataset.json", {"fps": 20, "max_frames": 240})
    told = refused(capsys, "pipeline.start", SHIPPED, "--dataset_name", longer)
    assert "knows lengths under 200 frames" in told and "--max_frames 196" in told


def test_a_library_without_tokens_joins_no_other(folder: Path, tmp_path: Path, calls: list[list[str]], capsys) -> None:
    build = next(words for words in calls if words[0] == "build_rag_database.py")
    library = RAGDatabase.load(folder / "source" / "database")
    facts = {name: value for name, value in library.facts.items() if name != "tokenizer"}
    RAGDatabase(replace(library.embedded, tokens=None, steps=None), facts).save(tmp_path)
    assert "holds no base tokens" in refused(capsys, *build, "--join", tmp_path)
    assert "--join is for a library that is built whole" in refused(capsys, *build, "--shard", "1/2")
