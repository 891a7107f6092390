"""Whether a stage lives at the paper's settings: trains it for some hundred steps and prints what decides that.

    python -m benchmarks.health --stage vq
    python -m benchmarks.health --stage mtrans --dataset_name mini --steps 300 --folder logs/health --json health.json
    python -m benchmarks.health --stage rtrans --true_widths

Batch size, windows, codes, levels, queue, token steps, retrieved motions and drop rates are those of the published
command; widths are narrowed by `--width_share`, since ratios such as vectors a code or negatives a clip, not widths,
decide. What else had to be changed is printed. The transformers' tokeniser and retriever are trained first, the same
way; with `--folder` they are kept. The text encoder is minilm, which needs no download. Exit code 1: something is sick.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.commands import COMMANDS, readme_flags
from data.specs import get_spec
from options.command_line import parse
from options.groups import dataset_option, device_option
from options.library import BuildOptions
from storage.files import write_json
from utils.errors import run_script
from utils.schema import option

BEFORE = {"vq": (), "tmr": (), "mtrans": ("vq", "tmr"), "rtrans": ("vq", "tmr")}
# Heads and the widths that they share.
HEADS = {"n_heads": "latent_dim", "motion_heads": "part_dim", "text_heads": "text_dim"}
WIDTHS = ("width", "code_dim2d", "ff_size", "motion_ff_size", "embed_dim")
PAPER_FRAMES = 196
CPU_SAMPLES = 4  # with the true widths: what two cores can do in three steps
TRUE_STEPS = 3
FOREVER = 1_000_000


@dataclass(frozen=True)
class HealthOptions:
    """python -m benchmarks.health"""

    stage: Literal["vq", "tmr", "mtrans", "rtrans"] = option(help="what is trained")
    dataset_name: str = dataset_option("mini")
    steps: int = option(300, "steps of each training", minimum=1)
    width_share: float = option(0.125, "share of the published widths and heads", minimum=0.001, maximum=1)
    true_widths: bool = option(False, f"{TRUE_STEPS} steps at the published widths: shapes, finite numbers, memory")
    batch_size: int = option(0, "samples a step; 0: the published number", minimum=0)
    every: int = option(25, "steps a line of the table", minimum=1)
    flags: str = option("", "more flags of the measured stage, in quotes, e.g. '--mu 0.999'")
    folder: str | None = option(None, "where the runs are kept; none: a temporary folder")
    json: str | None = option(None, "file for the numbers; none: no file")
    gpu_id: str = device_option()


@dataclass
class Changes:
    """What differs from the published training, in words."""

    lines: list[str] = field(default_factory=list)

    def set(self, config: Any, reason: str, **values: Any) -> Any:
        """The config with other values, which are noted."""
        changed = {name: value for name, value in values.items() if value != getattr(config, name)}
        self.lines += [f"{name} {getattr(config, name)} -> {value} ({reason})" for name, value in changed.items()]
        return replace(config, **changed)


def narrowed(model: Any, share: float, changes: Changes) -> Any:
    """The model's config with its widths and heads times `share`."""

    def scaled(name: str, unit: int) -> int:
        return max(1, round(share * getattr(model, name) / unit)) * unit

    values = {name: scaled(name, 2) for name in WIDTHS if hasattr(model, name)}
    for heads, width in HEADS.items():
        if hasattr(model, heads):
            values[heads] = scaled(heads, 1)
            values[width] = scaled(width, 2 * values[heads])
    model = changes.set(model, "width_share", **values)
    if hasattr(model, "sample_codebook_temp"):
        temperature = share * model.sample_codebook_temp
        model = changes.set(model, "squared distances shrink with code_dim2d", sample_codebook_temp=temperature)
    return model


def stage_options(stage: str, dataset: str, folder: Path, options: HealthOptions) -> tuple[Any, Changes]:
    """The options of a stage's training: the published ones, and what was changed of them."""
    flags = {
        "name": f"health_{stage}",
        "dataset_name": dataset,
        "checkpoints_dir": folder / "logs",
        "gpu_id": options.gpu_id,
        "max_epoch": FOREVER,
        "eval_every_e": FOREVER,
        "save_every": FOREVER,
        "num_workers": 0,
    }
    if BEFORE[stage]:
        flags |= {"vq_name": "health_vq", "retriever_name": "health_tmr", "database": folder / "database"}
    given = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    measured = stage == options.stage
    more = options.flags if measured else ""
    schema, script = COMMANDS[stage]
    chosen = parse(schema, [*readme_flags(script), *given, *shlex.split(more)])
    changes = Changes([more] if more else [])
    train, model, batch = chosen.train, chosen.model, options.batch_size
    steps = TRUE_STEPS if options.true_widths else options.steps
    if options.true_widths and _on_cpu(options.gpu_id):
        batch = batch or CPU_SAMPLES
    if hasattr(model, "text_encoder"):
        model = changes.set(model, "needs no download", text_encoder="minilm")
    if not (measured and options.true_widths):
        model = narrowed(model, options.width_share, changes)
        train = changes.set(train, "narrow layers learn as fast at a higher rate", lr=train.lr / options.width_share)
        train = changes.set(train, "a tenth of the steps", warm_up_iter=min(train.warm_up_iter, steps // 10))
    if batch:
        reason = "as asked" if options.batch_size else "what two cores can do"
        train = changes.set(train, reason, batch_size=batch)
    return replace(chosen, model=model, train=replace(train, max_steps=steps)), changes


def _on_cpu(gpu_id: str) -> bool:
    from utils.device import choose_device

    return choose_device(gpu_id).type == "cpu"


def prepare(dataset: str, folder: Path, options: HealthOptions) -> None:
    """Trains the stages that the measured one needs and builds the database, as far as the folder lacks them."""
    from pipeline.library import build_library
    from pipeline.stages import harness

    for stage in BEFORE[options.stage]:
        chosen, _ = stage_options(stage, dataset, folder, options)
        print(f"first {stage}, {chosen.train.max_steps} steps", flush=True)
        harness(chosen).fit()
    if BEFORE[options.stage] and not (folder / "database").is_dir():
        build_library(BuildOptions(run=chosen.run, output=str(folder / "database"), vq_name="health_vq"))


def main() -> int:
    """Options -> the stages before, trained once -> the measured stage -> tables."""
    options = parse(HealthOptions, description=__doc__.splitlines()[0])

    from torch.utils.data import Subset

    from benchmarks.health_probes import Recorder
    from benchmarks.health_report import report
    from benchmarks.long_clips import write_long_clips
    from pipeline.runs import runs_of
    from pipeline.stages import harness

    spec = get_spec(options.dataset_name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        dataset = options.dataset_name
        notes = []
        if BEFORE[options.stage] and spec.max_frames < PAPER_FRAMES:
            dataset = str(folder / f"{spec.name}_{PAPER_FRAMES}")
            notes.append(f"clips of {spec.name} slowed down to {PAPER_FRAMES} frames, for the published token steps")
            write_long_clips(spec, Path(dataset), PAPER_FRAMES)
        prepare(dataset, folder, options)
        chosen, changes = stage_options(options.stage, dataset, folder, options)
        run_dir = runs_of(chosen.run).path(chosen.run.name)
        shutil.rmtree(run_dir, ignore_errors=True)  # the measured stage is trained anew
        training = harness(chosen)
        if options.true_widths:  # a whole validation would take longer than the steps
            training.val_dataset = Subset(training.val_dataset, range(CPU_SAMPLES))
        training.health = recorder = Recorder(training, 1 if options.true_widths else options.every)
        try:
            with recorder.saved:
                training.fit()
        finally:  # also of a training that was interrupted or failed
            result = report(options.stage, training, recorder, [*notes, *changes.lines])
    if options.json:
        write_json(options.json, {"options": asdict(options), **result})
    return int(any(result["verdict"].values()))


if __name__ == "__main__":
    run_script(main)
