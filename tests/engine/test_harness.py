"""The training loop: exact resume, best checkpoints, refusals, signals, several processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from engine.harness import Harness
from engine.run_state import prepare_run
from engine.settings import TrainSettings
from engine.task import Task
from storage.checkpoint import read_checkpoint, save_checkpoint
from utils.errors import UserError

ROOT = Path(__file__).parents[2]
SETTINGS = TrainSettings(
    batch_size=4, max_epoch=3, lr=1e-2, warm_up_iter=3, schedule="cosine", weight_decay=0.1, save_every=1, log_every=1
)


class Points(Dataset):
    """Random points whose noise depends on the epoch, as random crops do."""

    def __init__(self, count: int = 22) -> None:
        self.points = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.points)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        noise = torch.randn(3, generator=torch.Generator().manual_seed(1000 * self.epoch + index))
        return {"x": self.points[index] + 0.1 * noise, "y": self.points[index].sum()}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return self.layers(x).squeeze(-1)


class Fit(Task):
    """Fits the points; keeps a momentum copy beside the model, and the losses of each step."""

    loss_weights = {"error": 1.0, "size": 0.01}
    best = {"mse": "min", "score": "max"}

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = Net()
        self.momentum = nn.Linear(3, 8).requires_grad_(False)
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.in_step = lambda step: None
        self.in_validation = lambda: None

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.in_step(len(self.losses))
        error = (self.model(batch["x"]) - batch["y"] + 0.1 * torch.randn(())).square().mean()
        self.losses.append(float(error.detach()))
        return {
            "error": error,
            "size": self.model.layers[0].weight.square().sum(),
            "metric/odd": torch.tensor(torch.nan),
        }

    def after_step(self) -> None:
        self.momentum.weight.lerp_(self.model.layers[0].weight.detach(), 0.1)

    def validate_batch(self, batch: dict[str, Tensor], number: int) -> dict[str, Any]:
        if number == 0:
            self.in_validation()
        assert not self.model.training and not torch.is_grad_enabled()
        return {"errors": (self.model(batch["x"]) - batch["y"]).square(), "draw": float(torch.rand(()))}

    def summarise(self, records: list[dict[str, Any]]) -> dict[str, float]:
        errors = torch.cat([record["errors"] for record in records])
        draws = sum(record["draw"] * number for number, record in enumerate(records))
        score = self.scores.pop(0) if self.scores else 0.0
        return {"mse": float(errors.mean()), "score": score, "draws": draws, "count": len(errors)}


def train(run_dir: Path, task: Fit | None = None, settings: TrainSettings = SETTINGS, val: bool = True) -> Fit:
    task = task or Fit()
    Harness(run_dir, task, Points(), Points(9) if val else None, settings, device="cpu").fit()
    return task


def same_state(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Crash(Exception):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, Path]:
    run_dir = tmp_path_factory.mktemp("whole")
    return train(run_dir), run_dir


def crashed(run_dir: Path, settings: TrainSettings, at: int) -> Fit:
    """The task of a training that was ended by a crash in step `at`."""
    task = Fit()

    def crash(step: int) -> None:
        if step == at:
            raise Crash

    task.in_step = crash
    with pytest.raises(Crash):
        train(run_dir, task, settings)
    return task


@pytest.mark.parametrize("crash_at", [1, 7, 10, 14])
@pytest.mark.parametrize("save_every", [1, 3])
def test_a_killed_run_goes_on_with_the_same_losses(
    crash_at: int, save_every: int, whole: tuple[Fit, Path], tmp_path: Path
) -> None:
    full, full_dir = whole
    assert len(full.losses) == 15 and len(set(full.losses)) == 15  # 22 samples: 5 batches of 4 an epoch
    settings = replace(SETTINGS, save_every=save_every)
    task = crashed(tmp_path, settings, crash_at)
    saved = (tmp_path / "model" / "latest.tar").is_file()
    step = read_checkpoint(tmp_path / "model" / "latest.tar")["step"] if saved else 0
    assert crash_at - save_every <= step <= crash_at
    resumed = train(tmp_path, None, settings)
    assert task.losses[:step] + resumed.losses == full.losses
    for name in ("latest.tar", "net_best_mse.tar"):
        ours, theirs = (read_checkpoint(folder / "model" / name) for folder in (tmp_path, full_dir))
        assert same_state(ours["model"], theirs["model"]) and ours["step"] == theirs["step"]
    assert same_state(resumed.momentum.state_dict(), full.momentum.state_dict())


def test_epoch_order_and_randomness_depend_on_the_seed(whole: tuple[Fit, Path], tmp_path: Path) -> None:
    assert train(tmp_path / "same").losses == whole[0].losses
    assert train(tmp_path / "other", settings=replace(SETTINGS, seed=1)).losses != whole[0].losses


def test_worker_processes_change_nothing(whole: tuple[Fit, Path], tmp_path: Path) -> None:
    assert train(tmp_path, settings=replace(SETTINGS, num_workers=1)).losses == whole[0].losses


def test_a_finished_run_does_nothing_and_more_epochs_go_on(tmp_path: Path) -> None:
    settings = replace(SETTINGS, schedule="constant", warm_up_iter=1)  # a fifth of the part too
    full = train(tmp_path / "full", settings=settings)
    train(tmp_path / "part", settings=replace(settings, max_epoch=1))
    assert train(tmp_path / "part", settings=replace(settings, max_epoch=1)).losses == []
    assert train(tmp_path / "part", settings=settings).losses == full.losses[5:]


def test_max_steps_inside_an_epoch(tmp_path: Path) -> None:
    settings = replace(SETTINGS, schedule="constant", warm_up_iter=1)  # a fifth of the part too
    full = train(tmp_path / "full", settings=settings)
    assert train(tmp_path / "part", settings=replace(settings, max_steps=7)).losses == full.losses[:7]
    assert (tmp_path / "part" / "model" / "net_best_mse.tar").is_file()
    assert train(tmp_path / "part", settings=settings).losses == full.losses[7:]


def test_best_is_picked_by_validation(tmp_path: Path) -> None:
    task = Fit()
    task.scores = [1.0, 3.0, 2.0]
    prepare_run(tmp_path, {"stage": "test"})
    train(tmp_path, task)
    best = read_checkpoint(tmp_path / "model" / "net_best_score.tar")
    assert best["metrics"]["score"] == 3.0 and best["step"] == 10 and best["config"] == {"stage": "test"}
    assert set(best) == {"model", "config", "step", "epoch", "metrics"}
    latest = read_checkpoint(tmp_path / "model" / "latest.tar")
    assert latest["best"]["score"] == 3.0 and not same_state(latest["model"], best["model"])


def test_summary_lines_and_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert capsys.readouterr().out.splitlines() == lines and len(lines) == 5
    for part in ("epoch 1/3", "step 5", "loss ", "error ", "val mse ", "(best)", "lr ", "peak "):
        assert part in lines[0]
    assert lines[-1].startswith("finished")
    assert list((tmp_path / "events").glob("events.*"))


def test_no_validation_set(tmp_path: Path) -> None:
    train(tmp_path, val=False)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["latest.tar", "previous.tar"]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_non_finite_loss_aborts_and_keeps_the_last_state(value: float, tmp_path: Path) -> None:
    class Bad(Fit):
        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            losses = super().forward(batch)
            return losses if len(self.losses) < 7 else losses | {"error": losses["error"] * value}

    with pytest.raises(UserError, match=r"stopped at step 6: error = (nan|inf)"):
        train(tmp_path, Bad())
    latest = read_checkpoint(tmp_path / "model" / "latest.tar")
    assert latest["step"] == 6 and all(torch.isfinite(tensor).all() for tensor in latest["model"].values())


def test_a_non_finite_gradient_aborts(tmp_path: Path) -> None:
    class Bad(Fit):
        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            losses = super().forward(batch)
            root = (self.model.layers[0].weight * 0).abs().sum().sqrt()  # zero, with an infinite slope
            return losses | {"error": losses["error"] + root}

    with pytest.raises(UserError, match="stopped at step 0: metric/gradient_norm = nan"):
        train(tmp_path, Bad())


def test_programming_mistakes_are_named(tmp_path: Path) -> None:
    unweighted, unmeasured = Fit(), Fit()
    unweighted.loss_weights, unmeasured.best = {"error": 1.0}, {"fid": "min"}
    with pytest.raises(ValueError, match="losses without a weight: size"):
        train(tmp_path / "a", unweighted)
    with pytest.raises(ValueError, match="found no fid in its validation"):
        train(tmp_path / "b", unmeasured)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(tmp_path, settings=replace(SETTINGS, max_epoch=1))
    other = Fit()
    other.model.layers[0] = nn.Linear(3, 9)
    with pytest.raises(UserError, match=r"latest.tar is not a state of this Fit.*model.layers.0.weight \(8, 3\)"):
        train(tmp_path, other)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda state: state.pop("model"), "holds no model"),
        (lambda state: state.update(model=[1, 2]), "holds no model"),
        (lambda state: [state.pop(name) for name in ("optimizer", "step")], "lacks optimizer, step"),
        (lambda state: state.update(best="good"), "lacks best"),
        (lambda state: state.update(best={"mse": "low"}), "lacks best"),
        (lambda state: state.update(step=-1), "lacks step"),
        (lambda state: state.update(progress={"sums": 3}), "lacks progress"),
        (lambda state: state.update(optimizer={"state": {}}), "its optimizer does not fit"),
        (lambda state: state["optimizer"]["param_groups"].pop(), "it is not of 4 parameters"),
        (lambda state: state["optimizer"]["state"].update({9: {}}), "it knows a parameter 9"),
        (lambda state: state["optimizer"]["state"][0].pop("exp_avg"), "parameter 0 lacks exp_avg, exp_avg_sq, step"),
        (lambda state: state["optimizer"]["state"][1].update(exp_avg_sq=torch.zeros(7)), "exp_avg_sq of parameter 1"),
        (lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.ones(8, 3).long()), "exp_avg of parameter"),
        (lambda state: state["optimizer"]["state"][0].update(step=3), "step of parameter 0"),
        (lambda state: state.update(trained={"nowhere": torch.zeros(1)}), "trained weight .* does not fit"),
    ],
)
def test_a_state_that_lacks_something_is_refused_in_one_line(spoil: Any, words: str, tmp_path: Path) -> None:
    train(tmp_path, settings=replace(SETTINGS, max_epoch=1))
    path = tmp_path / "model" / "latest.tar"
    path.with_name("previous.tar").unlink()
    state = read_checkpoint(path)
    spoil(state)
    save_checkpoint(path, state)
    with pytest.raises(UserError, match=f"latest.tar .*{words}.*remove latest.tar and previous.tar") as error:
        train(tmp_path)
    assert "\n" not in str(error.value) and path.is_file()


OLDER = ("trained", "progress")  # what former versions did not save


def test_a_state_of_a_former_version_goes_on(tmp_path: Path) -> None:
    first = train(tmp_path, settings=replace(SETTINGS, max_steps=7, schedule="constant"))
    path = tmp_path / "model" / "latest.tar"
    save_checkpoint(path, {name: value for name, value in read_checkpoint(path).items() if name not in OLDER})
    assert len(first.losses + train(tmp_path, settings=replace(SETTINGS, schedule="constant")).losses) == 15


def test_every_nth_epoch_is_kept(tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_epoch=5, keep_every=2, eval_every_e=3)
    train(tmp_path, settings=settings)
    kept = sorted(path.name for path in (tmp_path / "model").glob("net_epoch_*"))
    assert kept == ["net_epoch_2.tar", "net_epoch_4.tar"]
    second, fourth = (read_checkpoint(tmp_path / "model" / name) for name in kept)
    assert set(second) == {"model", "config", "step", "epoch", "metrics"}
    assert (second["step"], second["epoch"], fourth["step"], fourth["epoch"]) == (10, 2, 20, 4)
    assert not same_state(second["model"], fourth["model"])
    stopped = train(tmp_path / "stopped", settings=replace(settings, max_steps=8))
    assert len(stopped.losses) == 8 and not list((tmp_path / "stopped" / "model").glob("net_epoch_*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_exits_with_130(
    number: int, whole: tuple[Fit, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = Fit()
    task.in_step = lambda step: os.kill(os.getpid(), number) if step == 6 else None
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as exit_info:
        train(tmp_path, task, replace(SETTINGS, save_every=1000))
    assert exit_info.value.code == 130
    assert "run the same command again" in capsys.readouterr().out
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert len(task.losses) == 7  # the running step is finished first
    assert task.losses + train(tmp_path).losses == whole[0].losses


@pytest.mark.parametrize("validation", [1, 3])
def test_a_signal_during_validation_validates_again_on_resume(
    validation: int, whole: tuple[Fit, Path], tmp_path: Path
) -> None:
    task, count = Fit(), []

    def interrupt() -> None:
        count.append(1)
        if len(count) == validation:
            os.kill(os.getpid(), signal.SIGINT)

    task.in_validation = interrupt
    with pytest.raises(SystemExit):
        train(tmp_path, task)
    assert len(task.losses) == 5 * validation and task.model.training
    resumed = train(tmp_path)
    assert task.losses + resumed.losses == whole[0].losses
    ours, theirs = (read_checkpoint(folder / "model" / "net_best_mse.tar") for folder in (tmp_path, whole[1]))
    assert same_state(ours["model"], theirs["model"]) and ours["metrics"]["mse"] == theirs["metrics"]["mse"]


def test_settings_that_this_machine_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--mixed_precision fp16 needs a GPU"):
        Harness(tmp_path, Fit(), Points(), None, replace(SETTINGS, mixed_precision="fp16"), device="cpu")
    with pytest.raises(UserError, match="training set is empty"):
        Harness(tmp_path, Fit(), Points(0), None, SETTINGS, device="cpu")


def test_a_gpu_without_a_number_is_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def accelerator(cpu: bool, **others: object) -> None:
        assert not cpu
        raise Reached

    monkeypatch.setattr("engine.processes.Accelerator", accelerator)
    with pytest.raises(Reached):
        Harness(tmp_path, Fit(), Points(), None, SETTINGS, device="cuda")


def test_bf16_trains_and_a_small_set_is_one_batch(tmp_path: Path) -> None:
    settings = replace(SETTINGS, mixed_precision="bf16", batch_size=64)
    task = train(tmp_path, settings=settings)
    assert len(task.losses) == 3 and all(tensor.dtype == torch.float32 for tensor in task.model.parameters())


def test_default_parameter_groups_spare_vectors() -> None:
    matrices, vectors = Fit().parameter_groups(0.1)
    assert [tuple(parameter.shape) for parameter in vectors["params"]] == [(8,), (1,)]
    assert vectors["weight_decay"] == 0.0 and "weight_decay" not in matrices and matrices["lr"] == 0.1


TWO_PROCESSES = """
import json, os, sys, torch
sys.path[:0] = [{root!r}, {tests!r}]
from test_harness import Fit, Points, SETTINGS, Harness
from dataclasses import replace
from pathlib import Path
rank, folder = int(os.environ["RANK"]), Path({folder!r})
task = Fit()
with torch.no_grad():
    task.model.layers[0].weight += rank  # the first process's parameters must win
class Apart(Points):
    def __getitem__(self, index):
        self.indices = getattr(self, "indices", []) + [index]
        return super().__getitem__(index)
data = Apart()
if len(sys.argv) > 1:
    task.in_step = lambda step: os.kill(os.getpid(), 15) if step == 6 and rank == 1 else None
code = 0
try:
    Harness(folder / "run", task, data, Points(9), replace(SETTINGS, save_every=1000), device="cpu").fit()
except SystemExit as error:
    code = error.code
state = {{name: tensor.double().sum().item() for name, tensor in task.state_dict().items()}}
(folder / f"rank{{rank}}.json").write_text(json.dumps(
    dict(state=state, indices=data.indices, losses=task.losses, code=code)))
"""


def run_two_processes(folder: Path, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    script = folder / "two.py"
    script.write_text(TWO_PROCESSES.format(root=str(ROOT), tests=str(Path(__file__).parent), folder=str(folder)))
    command = [sys.executable, "-m", "utils.launch", "--nproc_per_node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return tuple(json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1))


@pytest.mark.slow
def test_two_processes_agree_share_the_samples_and_resume(tmp_path: Path) -> None:
    first, second = run_two_processes(tmp_path / "whole")
    assert first["state"] == second["state"]
    assert len(first["losses"]) == 15 and first["losses"] != second["losses"]
    for start in range(0, 20, 10):  # an epoch is 5 steps of 2 + 2 samples, no sample twice
        epoch = first["indices"][start : start + 10] + second["indices"][start : start + 10]
        assert len(set(epoch)) == 20
    stopped = run_two_processes(tmp_path / "stopped", "stop")
    assert [rank["code"] for rank in stopped] == [130, 130] and len(stopped[0]["losses"]) == 7
    shutil.copytree(tmp_path / "stopped" / "run", tmp_path / "alone")
    resumed = run_two_processes(tmp_path / "stopped")
    assert resumed[0]["state"] == resumed[1]["state"] == first["state"]
    for whole_rank, former, later in zip((first, second), stopped, resumed, strict=True):
        assert former["losses"] + later["losses"] == whole_rank["losses"]
    # One process goes on with the steps that the two would have taken; only dropout differs.
    alone = train(tmp_path / "alone", settings=replace(SETTINGS, save_every=1000))
    assert len(alone.losses) == len(resumed[0]["losses"])
    assert read_checkpoint(tmp_path / "alone" / "model" / "latest.tar")["step"] == 15
