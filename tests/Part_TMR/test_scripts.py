"""The retriever's command lines on a tiny dataset: train, evaluate, build the database, add to it, search."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from options.command_line import parse
from options.library import BuildOptions
from Part_TMR.model import RetrieverModel
from Part_TMR.retriever import Retriever
from pipeline.library import build_library
from storage import row_store
from utils.batches import Batches
from utils.errors import run_script

SMALL = (
    "--preset mini --part_dim 16 --motion_layers 1 --motion_ff_size 16 --text_dim 16 --embed_dim 12 --batch_size 6"
    " --queue_size 8 --max_epoch 2 --eval_every_e 1 --lr 1e-3 --gpu_id -1"
)


class Outcome(NamedTuple):
    """What a command line did."""

    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(
    tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs a module's command line beside the dataset, in this process."""
    monkeypatch.chdir(tiny_dataset.parent)

    def call(module: str, *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(SystemExit) as ended:
            run_script(importlib.import_module(module).main)
        return Outcome(ended.value.code, *capfd.readouterr())

    return call


def succeeded(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.stderr
    return outcome.stdout


def test_the_whole_way(tiny_dataset: Path, run: Callable[..., Outcome]) -> None:
    folder = tiny_dataset.parent
    dataset = ["--dataset_name", "tiny"]
    # A clip longer than the models can see is cropped in training, and two windows in the library.
    np.save(tiny_dataset / "new_joint_vecs" / "000000.npy", np.random.default_rng(1).normal(size=(300, 263)))
    succeeded(run("Part_TMR.scripts.train", *SMALL.split(), *dataset))
    run_dir = folder / "logs" / "tiny" / "tmr"
    assert json.loads((run_dir / "config.json").read_text())["model"]["part_dim"] == 16

    table = succeeded(run("Part_TMR.scripts.test", *dataset, "--gpu_id", "-1"))
    results = json.loads((run_dir / "eval" / "eval_test.json").read_text())
    assert "as TMR defines them" in table and results["notes"] in table
    assert "small_batches" in table and set(results["all"]["text_to_motion"]) == {"R1", "R2", "R3", "R5", "R10", "MedR"}

    search = ["Part_TMR.scripts.search", *dataset, "--checkpoints_dir", "logs"]
    missing = run(*search, "--text", "a person waves")
    assert missing.code == 2 and "build_rag_database.py" in missing.stderr
    assert "13 motions, 26 captions" in succeeded(run("build_rag_database", *dataset))

    def found(*query: str) -> list[dict]:
        assert f"{1:>3}" in succeeded(run(*search, *query, "--k", "3", "--json", "found.json"))
        return json.loads((folder / "found.json").read_text())["found"]

    rows = found("--text", "a person waves", "--database", "database/tiny", "--video", "found.mp4")
    assert len(rows) == 3 and rows[0]["score"] >= rows[1]["score"] and b"ftyp" in (folder / "found.mp4").read_bytes()
    nowhere = run(*search, "--text", "a", "--database", "nowhere")
    assert nowhere.code == 2 and "nowhere is no RAG database" in nowhere.stderr
    everything = succeeded(run(*search, "--text", "a person waves", "--k", "99"))
    assert "has only 13 motions" in everything and len(everything.splitlines()) == 15

    np.save(folder / "mine.npy", np.load(tiny_dataset / "new_joint_vecs" / "000003.npy") * 2)
    add = ["build_rag_database", *dataset, "--add", "mine.npy"]
    unnamed = run(*add)
    assert unnamed.code == 2 and "has no caption" in unnamed.stderr
    assert "14 motions, 27 captions" in succeeded(run(*add, "--caption", "somebody does my trick"))
    rows = found("--motion", "mine.npy")
    assert rows[0]["id"] == "mine" and rows[0]["score"] == pytest.approx(1.0, abs=1e-3)
    first, second = found("--text", "Somebody does MY trick.")[:2]
    assert first["id"] == "mine" and first["exact"] and first["text"] == pytest.approx(1.0, abs=1e-3)
    assert not second["exact"] and second["caption"] in second["captions"] and 0 <= second["text"] < 1
    np.save(folder / "long.npy", np.random.default_rng(0).normal(size=(300, 263)))
    long = succeeded(run("build_rag_database", *dataset, "--add", "long.npy", "--caption", "a long trick"))
    assert "16 motions, 29 captions" in long, "two windows"
    assert found("--motion", "mine.npy")[0]["id"] == "mine"
    np.save(folder / "broken.npy", np.full((50, 263), np.nan))
    refused = run(*search, "--motion", "broken.npy")
    assert refused.code == 2 and "not finite" in refused.stderr

    # One of before, without sentence vectors, gets them with its next clip.
    manifest = folder / "database" / "tiny" / "manifest.json"
    weighed = succeeded(run("Part_TMR.scripts.test", *dataset, "--gpu_id", "-1", "--split", "val", "--score"))
    assert f"the library's: {json.loads(manifest.read_text())['score']['captions']:g}" in weighed
    succeeded(run("build_rag_database", *dataset, "--output", "former", "--captions_share", "0"))
    unable = run("Part_TMR.scripts.test", *dataset, "--gpu_id", "-1", "--score", "--database", "former")
    assert unable.code == 2 and "no sentence vectors" in unable.stderr
    former = folder / "former" / "tiny" / "manifest.json"
    assert not {"sentences", "score"} & json.loads(former.read_text()).keys()
    rows = found("--text", "a PERSON waves", "--database", "former")
    assert rows[0]["exact"] and rows[0]["text"] == pytest.approx(1.0, abs=1e-3)
    succeeded(run(*add, "--caption", "somebody does my trick", "--output", "former", "--captions_share", "0.3"))
    assert json.loads(former.read_text())["score"]["captions"] == 0.3
    assert found("--text", "somebody does my trick", "--database", "former")[0]["id"] == "mine"
    mixed = run(*add, "--caption", "x", "--output", "former", "--captions_share", "0")
    assert mixed.code == 2 and "--captions_share 0" in mixed.stderr

    shipped = run_dir.parent / "database"
    (folder / "database" / "tiny").rename(shipped)
    before = (shipped / "entries.json").read_bytes()
    np.save(folder / "other.npy", np.load(tiny_dataset / "new_joint_vecs" / "000003.npy") * 3)
    told = succeeded(run("build_rag_database", *dataset, "--add", "other.npy", "--caption", "another trick"))
    assert "17 motions, 30 captions" in told and "--database database" in told
    assert (shipped / "entries.json").read_bytes() == before
    assert found("--motion", "other.npy", "--database", "database")[0]["id"] == "other"
    assert found("--motion", "other.npy")[0]["id"] != "other"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shards_make_the_same_database(tiny_dataset: Path, run: Callable[..., Outcome], monkeypatch) -> None:
    folder, dataset = tiny_dataset.parent, ["--dataset_name", "tiny"]
    succeeded(run("Part_TMR.scripts.train", *SMALL.split(), *dataset))
    other = [*dataset, "--output", "other"]
    none = run("build_rag_database", *other, "--merge")
    assert none.code == 2 and "no shard" in none.stderr
    encode, calls = Retriever.encode_motion, []

    def killed_once(self, motions):
        calls.append(len(motions))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, motions)

    monkeypatch.setattr(Retriever, "encode_motion", killed_once)
    assert "4 motions" in succeeded(run("build_rag_database", *other, "--shard", "1/3"))
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "3")):  # as torchrun says it
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyboardInterrupt):
        build_library(parse(BuildOptions, other))
    gap = run("build_rag_database", *other, "--merge")
    assert gap.code == 2 and "lacks the shards 2/3, 3/3" in gap.stderr
    told = succeeded(run("build_rag_database", *other))
    assert "shard 2/3 (RANK): motions 5 to 8" in told and "4 motions" in told
    monkeypatch.delenv("RANK")
    for name, value in (("ID", "7"), ("MIN", "5"), ("COUNT", "3")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert "shard 3/3 (SLURM_ARRAY_TASK_ID)" in succeeded(run("build_rag_database", *other))
    assert "12 motions, 24 captions" in succeeded(run("build_rag_database", *other, "--merge"))
    built, whole = folder / "other" / "tiny", folder / "database" / "tiny"
    succeeded(run("build_rag_database", *dataset, "--shard", "1/1"))
    assert contents(built) == contents(whole), "of what was computed once"
    assert (built / "embeddings.safetensors").stat().st_mode & 0o044, "only the owner can read it"

    shutil.rmtree(tiny_dataset / "cache")
    succeeded(run("build_rag_database", *dataset, "--shard", "1/1"))
    ours, expected = (load_file(place / "embeddings.safetensors") for place in (built, whole))
    for name in ("text", "motion", "parts"):
        # Sums of other batches may round otherwise: by a step of half precision at most.
        torch.testing.assert_close(ours[name], expected[name], rtol=2**-10, atol=2**-14)

    second, third = (folder / "other" / f"tiny.shard-{number}-of-3" for number in (2, 3))
    shutil.move(third, folder / "kept")
    shutil.copytree(second, third)
    doubled = run("build_rag_database", *other, "--merge")
    assert doubled.code == 2 and "holds the shard 2/3, not 3/3" in doubled.stderr
    shutil.rmtree(third)
    shutil.move(folder / "kept", third)
    (tiny_dataset / "texts" / "000005.txt").write_text("a person does something else#a/DET#0.0#0.0\n")
    succeeded(run("build_rag_database", *other, "--shard", "2/3"))
    changed = run("build_rag_database", *other, "--merge")
    assert changed.code == 2 and "shard-2-of-3 has another source than" in changed.stderr
    succeeded(run("build_rag_database", *other, "--shard", "1/2"))
    mixed = run("build_rag_database", *other, "--merge")
    assert mixed.code == 2 and "shards of 2 and of 3" in mixed.stderr
    assert len(json.loads(contents(built)["entries.json"])) == 12, "the former one stays"


def test_an_interrupted_build_goes_on_and_another_computes_nothing(
    tiny_dataset: Path, run: Callable[..., Outcome], monkeypatch
) -> None:
    folder, dataset = tiny_dataset.parent, ["--dataset_name", "tiny"]
    succeeded(run("Part_TMR.scripts.train", *SMALL.split(), *dataset))
    monkeypatch.setattr(Retriever, "batches", lambda self, frames: Batches(frames, self.device, most=4))
    monkeypatch.setattr(row_store, "CHUNK_BYTES", 1)
    encode, encode_text, motions, captions = Retriever.encode_motion, RetrieverModel.encode_text, [], []

    def counted(self, chosen):
        motions.append(len(chosen))
        if len(motions) == 3:
            raise KeyboardInterrupt
        return encode(self, chosen)

    monkeypatch.setattr(Retriever, "encode_motion", counted)
    monkeypatch.setattr(
        RetrieverModel, "encode_text", lambda self, texts: captions.append(len(texts.mask)) or encode_text(self, texts)
    )
    with pytest.raises(KeyboardInterrupt):
        build_library(parse(BuildOptions, dataset))
    assert not (folder / "database" / "tiny").exists()
    succeeded(run("build_rag_database", *dataset))
    assert motions == [4, 4, 4, 4, 4, 2], "what was done was done again; the last two are validation's"
    assert sum(captions) == 24, "24 captions, 6 of them of two motions, and 6 new ones of validation"
    succeeded(run("build_rag_database", *dataset, "--output", "other"))
    assert len(motions) == 6 and sum(captions) == 24
    one, another = (folder / place / "tiny" / "embeddings.safetensors" for place in ("database", "other"))
    assert one.read_bytes() == another.read_bytes()

    path = tiny_dataset / "new_joint_vecs" / "000003.npy"
    np.save(path, np.load(path)[:40] * 2)
    (tiny_dataset / "texts" / "000005.txt").write_text("a person does something else#a/DET#0.0#0.0\n")
    assert "12 motions, 23 captions" in succeeded(run("build_rag_database", *dataset))
    assert motions[6:] == [1] and sum(captions) == 25
    assert one.read_bytes() != another.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Part_TMR.scripts.search", "--text", " "], "--text is empty"),
        (["Part_TMR.scripts.search"], "either --text or --motion"),
        (
            ["Part_TMR.scripts.search", "--text", "a", "--checkpoints_dir", "logs"],
            "run tmr does not exist, it belongs at logs/open/tmr",
        ),
        (["build_rag_database", "--caption", "x"], "--add"),
        (["build_rag_database", "--shard", "9/8"], "must look like 1/8"),
        (["build_rag_database", "--shard", "1/8", "--merge"], "three different jobs"),
        (["Part_TMR.scripts.test", "--dataset_name", "tiny"], "run tmr does not exist"),
    ],
)
def test_mistakes_are_one_line(run: Callable[..., Outcome], arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.code == 2 and message in result.stderr and result.stderr.count("\n") == 1
