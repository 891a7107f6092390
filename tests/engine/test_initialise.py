"""A new run from another run's weights: what fits, what is refused and how it is told."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from engine.initialise import TOKENS_FROM, initialise, kept_codes, start_record
from engine.run_state import prepare_run
from engine.settings import TrainSettings
from pipeline.loader import load_run
from storage.checkpoint import read_model
from storage.files import file_hash, read_json, write_json
from tests.engine.test_harness import SETTINGS, Fit, same_state, train
from tests.engine.test_retriever_task import make_task
from utils.errors import UserError
from utils.fingerprint import weights_hash
from utils.run import Run
from utils.schema import to_dict

PRETRAINED = Path(__file__).parents[2] / "pretrained" / "open"
MODEL = {"width": 8, "dropout": 0.3}


def config(settings: TrainSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    return {"stage": "fit", "model": MODEL, "train": to_dict(settings)} | changes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    prepare_run(tmp_path / "source", config())
    train(tmp_path / "source")
    (tmp_path / "source" / "model" / "net_best_score.tar").unlink()
    return tmp_path / "source"


def start(run_dir: Path, settings: TrainSettings, task: Fit | None = None, **changes: Any) -> Fit:
    prepare_run(run_dir, config(settings, **changes))
    return train(run_dir, task, settings)


def test_a_run_starts_from_the_best_weights_and_goes_on_without_them(source: Path, tmp_path: Path) -> None:
    best, run = source / "model" / "net_best_mse.tar", tmp_path / "new"
    settings = replace(SETTINGS, init_from=str(source), lr=0.0, max_steps=2)
    assert len(start(run, settings).losses) == 2
    former, latest = read_model(best), read_model(run / "model" / "latest.tar")
    assert all(torch.equal(latest[name], former[name]) for name in former if name != "seen")
    assert f"starts from {best}" in (run / "train.log").read_text()
    facts = {"init_from": str(source), "partial": False, "weights": str(best)}
    facts |= {"hash": file_hash(best), "weights_hash": weights_hash(former)}
    shutil.rmtree(source)
    for steps, given in ((4, str(source)), (6, None), (8, str(source))):
        assert len(start(run, replace(settings, max_steps=steps, init_from=given)).losses) == 2
        assert read_json(run / "config.json")["initialised_from"] == facts
    with pytest.raises(UserError, match="exists with another config .*init_from was .*source' and is 'elsewhere'"):
        start(run, replace(settings, init_from="elsewhere"))


def test_a_checkpoint_in_a_run_is_named_by_its_file(source: Path, tmp_path: Path) -> None:
    path = source / "model" / "latest.tar"
    start(tmp_path / "new", replace(SETTINGS, init_from=str(path), lr=0.0, max_steps=1))
    assert torch.equal(
        read_model(tmp_path / "new" / "model" / "latest.tar")["layers.0.weight"], read_model(path)["layers.0.weight"]
    )


def test_what_does_not_fit_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, init_from=str(source))
    (tmp_path / "alone.tar").write_bytes((source / "model" / "latest.tar").read_bytes())
    wrong: list[tuple[TrainSettings, dict[str, Any], str]] = [
        (settings, {"stage": "vq"}, "is of stage 'fit', not of 'vq'"),
        (settings, {"model": MODEL | {"width": 9}}, "another model: model.width was 8 and is 9; --init_partial takes"),
        (settings, {"tokens": {"vq_hash": "a"}}, "another model: tokens was"),
        (replace(settings, init_from=str(tmp_path / "none")), {}, "neither the folder of a run nor a checkpoint"),
        (replace(settings, init_from=str(tmp_path / "alone.tar")), {}, "alone.tar is in no run: there is no"),
    ]
    for chosen, changes, words in wrong:
        with pytest.raises(UserError, match=f"--init_from .*{words}") as error:
            start(tmp_path / "new", chosen, **changes)
        assert "\n" not in str(error.value)
    (source / "model" / "net_best_mse.tar").write_bytes(b"damaged")
    with pytest.raises(UserError, match="net_best_mse.tar is"):
        start(tmp_path / "new", settings)
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="--init_partial needs --init_from"):
        TrainSettings(init_partial=True)


def test_settings_of_the_training_may_differ(source: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, init_from=str(source), max_steps=1)
    assert len(start(tmp_path / "new", settings, model=MODEL | {"dropout": 0.0}).losses) == 1


def test_weights_that_do_not_fit_are_named_or_left_out(source: Path, tmp_path: Path) -> None:
    def wider() -> Fit:
        task = Fit()
        task.model.layers[3] = nn.Linear(8, 2)
        task.model.register_buffer("more", torch.zeros(2))
        return task

    settings = replace(SETTINGS, init_from=str(source), lr=0.0, max_steps=1, eval_every_e=9)
    with pytest.raises(UserError, match=r"lacks more.* layers.3.weight \(1, 8\) instead of \(2, 8\).*--init_partial"):
        start(tmp_path / "new", settings, wider())
    task = wider()
    told = initialise(task.model, source, partial=True)
    assert "2 of 6 tensors fit; new: seen, more, layers.3.weight and 1 more; not taken: seen, layers.3.weight" in told
    former = read_model(source / "model" / "net_best_mse.tar")
    assert torch.equal(task.model.layers[0].weight, former["layers.0.weight"]) and int(task.model.seen) == 0
    with pytest.raises(UserError, match="nothing that fits this Linear"):
        initialise(nn.Linear(7, 7), source, partial=True)


def test_the_retrievers_momentum_copy_starts_from_the_weights_too() -> None:
    task, other = make_task()[0], make_task()[0]
    with torch.no_grad():
        for weight in other.model.parameters():
            weight.add_(1)
    task.model.load_state_dict(other.model.state_dict())
    task.weights_changed()
    assert same_state(task.momentum.model.state_dict(), other.model.state_dict())


@pytest.mark.parametrize("stage", ["vq", "mtrans", "rtrans", "length", "tmr", "evaluator"])
def test_exported_runs_of_every_stage_are_a_start(stage: str) -> None:
    loaded = load_run(Run(PRETRAINED / stage))
    owner = {"tmr": "model", "evaluator": "network"}.get(stage)
    model = loaded if owner is None else getattr(loaded, owner)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not name.endswith("codebooks"):
                tensor.zero_()
    assert "starts from" in initialise(model, PRETRAINED / stage, partial=False)
    assert same_state(model.state_dict(), expected), "statistics of the data included"
    shipped = Run(PRETRAINED / stage).config
    train_settings = {"init_from": str(PRETRAINED / stage), "init_partial": False}
    record = start_record(shipped | {"train": train_settings})["initialised_from"]
    assert record["hash"] == file_hash(record["weights"])


@pytest.mark.parametrize("partial", [False, True])
def test_the_codebooks_that_a_transformer_reads_stay_those_of_its_tokeniser(partial: bool) -> None:
    model = load_run(Run(PRETRAINED / "mtrans"))
    before = model.output.weight.clone()
    with torch.no_grad():
        model.output.weight.zero_()
        model.condition.codebooks.fill_(0.25)
    told = initialise(model, PRETRAINED / "mtrans", partial)
    assert torch.equal(model.output.weight, before)
    assert (model.condition.codebooks == 0.25).all()
    assert ("new: condition.codebooks" in told) == partial


def test_tokens_of_a_tokeniser_that_kept_its_codes_are_those_of_its_source(tmp_path: Path) -> None:
    """A transformer may start where its RVQ-VAE did, if that kept all codes; not from one of any other."""
    shipped, vq = Run(PRETRAINED / "mtrans").config, Run(PRETRAINED / "vq")
    train_settings = {"init_from": str(PRETRAINED / "vq"), "init_partial": False}
    start = start_record(vq.config | {"train": train_settings})
    for changes, kept in (({}, True), ({"codebook": {"keep_codes": False}}, False)):
        write_json(tmp_path / "config.json", vq.config | {"codebook": {"keep_codes": True}} | start | changes)
        assert kept_codes(Run(tmp_path)) == ({TOKENS_FROM: vq.hash} if kept else {})
    start["initialised_from"]["partial"] = True
    write_json(tmp_path / "config.json", vq.config | {"codebook": {"keep_codes": True}} | start)
    assert not kept_codes(Run(tmp_path)) and not kept_codes(vq)
    new = shipped | {"tokens": shipped["tokens"] | {"vq_hash": "new"}}
    new["train"] = train_settings | {"init_from": str(PRETRAINED / "mtrans")}
    assert start_record(new | {TOKENS_FROM: vq.hash})["initialised_from"]["partial"] is False
    for other in ({}, {TOKENS_FROM: "another"}):
        with pytest.raises(UserError, match="another model: tokens.vq_hash was .* and is 'new'"):
            start_record(new | other)
    with pytest.raises(UserError, match="another model: tokens.nb_code was"):
        start_record(new | {TOKENS_FROM: vq.hash, "tokens": new["tokens"] | {"nb_code": 7}})
