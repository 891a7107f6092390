"""What a run or a database is, what it was trained on and with, and what beside it fits.

`python -m pipeline.inspect pretrained/mini/mtrans`: the weights that are taken where none are named have a star. No
model is built, and exported runs are read without torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from models.rag.manifest import MANIFEST, check_files, library_format, read_manifest
from options.command_line import parse
from options.inspect import InspectOptions
from storage.checkpoint_names import EXPORT_SUFFIX, list_checkpoints
from storage.shipped import locate
from storage.tensor_files import CHECKED_BYTES, count_numbers, read_header, verify
from utils import fits
from utils.errors import UserError, run_script
from utils.run import Run

WORDS = {
    "vq": "2D RVQ-VAE",
    "tmr": "retriever",
    "mtrans": "masked transformer",
    "rtrans": "residual transformer",
    "length": "length estimator",
    "evaluator": "evaluator",
    "database": "RAG database",
}
HASHED = ("vq", "tmr", "evaluator")  # what others are trained with, or scored by
LARGEST = 1e300  # of what is shown
Facts = dict[str, Any]


class Database:
    """A RAG database's folder, as far as its manifest tells; `stage` is as of a run."""

    stage = "database"

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, read_manifest(folder)
        self.name, self.format = folder.name, library_format(folder, self.manifest)


def open_folder(folder: Path) -> Run | Database:
    """The run or the database in a folder.

    Raises:
        UserError: it holds neither.
    """
    if (folder / MANIFEST).is_file():
        return Database(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is neither a run (config.json) nor a database ({MANIFEST})")
    run = Run(folder)
    if run.stage not in WORDS:
        raise UserError(f"{run.path}: there is no stage {run.stage!r}")
    return run


def _reads(run: Run, other: Run | Database) -> str | None:
    """Whether a transformer works with a retriever or a database; returns what cannot be told of that."""
    if run.value("model", "retrieved") == "none":
        return "it reads no retrieval"
    if isinstance(other, Run):
        fits.check_retriever(run, other, other.hash)
    else:
        shape = other.manifest.get("tokens")
        held = shape[2] if isinstance(shape, list) and len(shape) > 2 else 1  # libraries of before hold one
        fits.check_library_reads(other.folder, other.manifest, held, run.tokens, run.value("model"))
        fits.check_library_retriever(other.folder, other.manifest, run.library and run.library.retriever_hash)
    return None if run.library else f"{run.path} is from before retrievers were recorded"


# What has to hold between runs of two stages, besides that their motions are of one format.
CHECKS: dict[tuple[str, str], Callable[[Any, Any], str | None]] = {
    ("tmr", "database"): lambda run, library: fits.check_library_retriever(library.folder, library.manifest, run.hash),
    ("vq", "database"): lambda run, library: fits.check_library_tokens(library.folder, library.manifest, run.hash),
    ("mtrans", "rtrans"): lambda run, other: fits.check_text_encoders([run, other]) or fits.check_one_vq(run, other),
}
for _stage in ("mtrans", "rtrans"):
    CHECKS |= {
        (_stage, "vq"): lambda run, vq: fits.check_tokens(run, vq, vq.hash),
        (_stage, "length"): lambda run, length: fits.check_text_encoders([run, length]),
        (_stage, "tmr"): _reads,
        (_stage, "database"): _reads,
    }


def beside(found: Run | Database, folder: Path) -> Facts | None:
    """How what lies in another folder gets on with what was found; None where there is neither run nor database."""
    if not (folder / MANIFEST).is_file() and not (folder / "config.json").is_file():
        return None
    facts: Facts = {"name": folder.name, "what": None, "fits": False, "reason": None}
    try:
        other = open_folder(folder)
        facts["what"] = WORDS[other.stage]
        if other.stage == found.stage:
            return facts | {"fits": None, "reason": "of the same stage"}
        run, beside_it = (found, other) if isinstance(found, Run) else (other, found)
        if beside_it.format is not None:
            fits.check_formats(run, beside_it.format, beside_it.name)
        for first, second in ((found, other), (other, found)):
            if check := CHECKS.get((first.stage, second.stage)):
                facts["reason"] = check(first, second)
    except UserError as error:
        return facts | {"reason": " ".join(str(error).split())}
    return facts | {"fits": True}


def _weights(path: Path) -> Facts:
    """What a checkpoint says of itself, from its header where it has one."""
    found: Facts = {"file": path.name, "megabytes": round(path.stat().st_size / 1e6, 1)}
    try:
        if path.suffix == EXPORT_SUFFIX:
            header = read_header(path)
            if path.stat().st_size <= CHECKED_BYTES:
                verify(path, header)
            return found | {"numbers": count_numbers(header)}
        from storage.checkpoint import model_of, read_checkpoint

        content = read_checkpoint(path, values=path.stat().st_size <= CHECKED_BYTES)
        numbers = sum(value.numel() for value in model_of(content, path).values())
        return found | {"numbers": numbers} | _validated(content.get("step"), content.get("metrics"))
    except Exception as error:  # damaged bytes raise whatever the reader stumbles over
        return found | {"damaged": " ".join(str(error).split())[:80] or type(error).__name__}


def _validated(step: Any, metrics: Any) -> Facts:
    """What a checkpoint or a config tells of its weights' step and validation, where that is of their kinds."""
    values = metrics if isinstance(metrics, Mapping) else {}
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    facts = {"metrics": {str(name): value for name, value in numbers.items() if not abs(value) > LARGEST}}
    return facts | ({"step": step} if type(step) is int else {})


def _run_facts(run: Run) -> Facts:
    """What a run is, what it was trained on and with, and what it needs."""
    checkpoints = [_weights(run.folder / "model" / name) for name in list_checkpoints(run.folder)]
    for found in checkpoints:
        if found["file"] == Path(str(run.value("exported", "checkpoint"))).stem + EXPORT_SUFFIX:
            found |= _validated(run.value("exported", "step"), run.value("exported", "metrics"))
    try:
        weights = run.checkpoint().name
    except UserError:
        weights = None
    form, tokens, library = run.format, run.tokens, run.library
    retriever = run.value("retrieval", "retriever_name") if run.value("model", "retrieved") != "none" else None
    return {
        "weights": weights,
        "hash": run.hash if weights and run.stage in HASHED else None,
        "checkpoints": checkpoints,
        "trained": {
            "dataset": run.value("run", "dataset_name"),
            "format": f"{form.name}: {form.n_joints} joints, {form.fps:g} frames a second, {form.n_features} columns",
            "command": run.value("command"),
            "steps": next((found.get("step") for found in checkpoints if found["file"] == weights), None),
            "seed": run.value("train", "seed"),
            "device": f"--gpu_id {run.value('run', 'gpu_id')}",
            "precision": run.value("train", "mixed_precision"),
            "init_from": run.value("initialised_from", "weights"),
        },
        "needs": {
            "text encoder": run.text_encoder,
            "vq": tokens and f"{run.value('inputs', 'vq_name')} {tokens.vq_hash}",
            "retriever": f"{retriever} {library.retriever_hash}" if library else retriever,
            "library": library and f"{library.motions} motions, {library.captions} captions",
        },
    }


def _database_facts(database: Database) -> Facts:
    """What a database holds, and what made it."""
    told = database.manifest

    def maker(key: str) -> str | None:
        made = told.get(key)
        return f"{made.get('name')} {made.get('hash')}" if isinstance(made, dict) else None

    size = sum(path.stat().st_size for path in database.folder.iterdir() if path.is_file())
    try:
        check_files(database.folder, told, largest=None)
        damaged = None
    except UserError as error:
        damaged = str(error)
    return {
        "damaged": damaged,
        "holds": f"{told.get('motions')} motions, {told.get('captions')} captions, {size / 1e6:.1f} MB",
        "index": told.get("index", "exact"),
        "trained": {"dataset": told.get("dataset"), "command": told.get("command")},
        "needs": {"retriever": maker("retriever"), "vq": maker("tokenizer")},
    }


def inspect(folder: Path) -> Facts:
    """All that can be told of the run or the database in a folder.

    Raises:
        UserError: there is none, or its config is broken.
    """
    found = open_folder(folder)
    facts: Facts = {"folder": str(folder), "stage": found.stage, "what": WORDS[found.stage]}
    facts |= _run_facts(found) if isinstance(found, Run) else _database_facts(found)
    others = [path for path in sorted(folder.resolve().parent.iterdir()) if path.name != folder.resolve().name]
    return facts | {"beside": [told for path in others if path.is_dir() and (told := beside(found, path))]}


def lines(facts: Facts) -> Iterator[str]:
    """The facts for a reader."""
    yield f"{facts['folder']}: {facts['what']}"
    for checkpoint in facts.get("checkpoints", ()):
        told = [f"{checkpoint['megabytes']} MB"]
        if "damaged" in checkpoint:
            told.append(f"damaged: {checkpoint['damaged']}")
        else:
            told.append(f"{checkpoint['numbers']:,} numbers")
        told += [f"step {checkpoint['step']}"] if checkpoint.get("step") is not None else []
        told += [f"{name} {value:.4g}" for name, value in (checkpoint.get("metrics") or {}).items()]
        mark = "*" if checkpoint["file"] == facts["weights"] else " "
        yield f" {mark} {checkpoint['file']}: {', '.join(told)}"
    sections = {"": {key: facts.get(key) for key in ("hash", "damaged", "holds", "index")}, "trained": facts["trained"]}
    for title, values in (sections | {"needs": facts["needs"]}).items():
        told = {key: value for key, value in values.items() if value is not None}
        if told and title:
            yield title
        yield from (f"   {key:<14}{value}" for key, value in told.items())
    if facts["beside"]:
        yield "beside it"
    for other in facts["beside"]:
        answer = {True: "fits", False: "no", None: "-"}[other["fits"]]
        told = ": ".join(each for each in (other["what"], other["reason"]) if each)
        yield f"   {answer:<6}{other['name']:<16}{told}"


def main() -> None:
    """Options -> facts -> text or JSON."""
    options = parse(InspectOptions, description=__doc__)
    facts = inspect(locate(options.folder))
    print(json.dumps(facts, indent=2, ensure_ascii=False) if options.json else "\n".join(lines(facts)))


if __name__ == "__main__":
    run_script(main)
