"""A trained run as a small folder: config.json and half-precision weights, without the optimiser's state."""

from __future__ import annotations

from pathlib import Path

from storage.checkpoint import model_of, read_checkpoint, save_safetensors
from storage.checkpoint_names import EXPORT_SUFFIX
from storage.files import write_json
from storage.shipped import locate
from utils.errors import UserError
from utils.run import Run

EXPORTED = "exported"


def export_run(run_dir: Path | str, out_dir: Path | str, which: str | None = None) -> Path:
    """Writes out_dir/config.json and out_dir/model/CHECKPOINT.safetensors; integers and vectors keep their precision.

    The config (which records the training's command, data and seed) gets an entry "exported": the checkpoint's name,
    step and validation metrics.

    Args:
        run_dir: the trained run.
        out_dir: the new run folder.
        which: see `resolve_checkpoint`.

    Returns:
        the weights file.

    Raises:
        UserError: no such run or checkpoint, a file that is no checkpoint of a run, or out_dir is run_dir.
    """
    run, out_dir = Run(locate(run_dir)), Path(out_dir)
    if run.folder.resolve() == out_dir.resolve():
        raise UserError(f"--out {out_dir} is the run itself: choose another folder")
    path = run.checkpoint(which)
    checkpoint = read_checkpoint(path)
    state = model_of(checkpoint, path)
    record = {"checkpoint": path.name, "step": checkpoint.get("step"), "metrics": checkpoint.get("metrics", {})}
    # A run that was itself exported keeps its first record.
    record = run.config[EXPORTED] if isinstance(run.config.get(EXPORTED), dict) else record
    exported = run.config | {EXPORTED: record}
    weights = out_dir / "model" / f"{path.stem}{EXPORT_SUFFIX}"
    save_safetensors(weights, state, metadata={"step": str(record.get("step"))})
    write_json(out_dir / "config.json", exported)
    return weights
