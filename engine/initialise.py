"""`--init_from`: a new run that starts from the weights of another one, and how its config tells.

Everything in the model's state comes along, statistics of the data included: a component keeps those that it was
trained with. Only what a model reads of its inputs is theirs: codebooks are those of the tokeniser that made the
tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from engine.differences import MISSING, differences, format_difference
from storage.checkpoint import fitting, load_state, read_model
from storage.checkpoint_names import resolve_checkpoint
from storage.files import file_hash
from storage.shipped import locate
from utils.errors import UserError, listed
from utils.fingerprint import weights_hash
from utils.run import Run

RECORD = "initialised_from"  # in the config
TOKENS_FROM = "tokens_from"  # there too: the RVQ-VAE that the tokeniser started from, whose codes it kept
ARCHITECTURE = ("stage", "model", "dims", "tokens", "text_dim")
# What only training and sampling read: it may differ from the run that the weights come from.
TRAINING_KEYS = {
    "dropout",
    "mu",
    "quantize_dropout_prob",
    "sample_codebook_temp",
    "n_retrieved",
    "cond_drop_prob",
    "text_drop_prob",
    "retrieval_drop_prob",
    "part_mask_prob",
    "random_token_prob",
    "mask_token_prob",
    "queue_size",
    "momentum",
    "temperature",
    "remove_false_negatives",
}


def find_weights(source: Path | str) -> Path:
    """The weights that `--init_from` means: a run's folder stands for the best checkpoint that it has.

    Raises:
        UserError: neither a run nor a checkpoint in one.
    """
    source = locate(source)
    if source.is_file():
        return source
    if not (source / "config.json").is_file():
        raise UserError(f"--init_from {source} is neither the folder of a run nor a checkpoint in one")
    return resolve_checkpoint(source)


def start_record(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the config of a new run tells of its start, under `RECORD`; nothing without `--init_from`.

    Raises:
        UserError: the other run is missing or broken, of another stage, or of another architecture (unless
            `--init_partial`); the keys that differ are named.
    """
    settings = config.get("train", {})
    source = settings.get("init_from")
    if source is None:
        return {}
    weights = find_weights(source)
    folder = weights.parent.parent
    if not (folder / "config.json").is_file():
        raise UserError(f"--init_from {weights} is in no run: there is no {folder / 'config.json'}")
    other = Run(folder)
    if other.stage != config["stage"]:
        raise UserError(f"--init_from {weights} is of stage {other.stage!r}, not of {config['stage']!r}")
    old, new = ({key: each.get(key, MISSING) for key in ARCHITECTURE} for each in (other.config, config))
    if isinstance(known := old["tokens"], Mapping) and isinstance(new["tokens"], Mapping):
        if TOKENS_FROM in config and known.get("vq_hash") == config[TOKENS_FROM]:  # its codes mean what they meant
            new["tokens"] = {**new["tokens"], "vq_hash": known["vq_hash"]}
        if not known.get("code_dim"):  # former runs do not tell, and read no codes that would have one
            old["tokens"], new["tokens"] = ({**each, "code_dim": 0} for each in (known, new["tokens"]))
    found = [*format_difference(other, config), *differences(old, new, TRAINING_KEYS)]
    if found and not settings["init_partial"]:
        raise UserError(f"--init_from {weights} is of another model: {listed(found)}; --init_partial takes what fits")
    state = read_model(weights)
    facts = {"init_from": source, "partial": settings["init_partial"], "weights": str(weights)}
    return {RECORD: facts | {"hash": file_hash(weights), "weights_hash": weights_hash(state)}}


def kept_codes(vq: Run) -> dict[str, Any]:
    """What the config of a transformer tells of the RVQ-VAE that its own one started from, under `TOKENS_FROM`; nothing
    where the codes do not mean the same any more."""
    kept = vq.value("codebook", "keep_codes") and vq.value(RECORD, "partial") is False
    return {TOKENS_FROM: vq.value(RECORD, "weights_hash")} if kept else {}


def initialise(model: nn.Module, source: Path | str, partial: bool) -> str:
    """Fills a model with the weights of another run.

    Args:
        model: of the new run.
        source: see `find_weights`.
        partial: take what fits; else everything has to.

    Returns:
        a line that says what was taken and what was not.

    Raises:
        UserError: weights that do not fit (the first ones are named), or none at all that do.
    """
    weights = find_weights(source)
    own = model.state_dict()
    of_inputs = {f"{name}.{key}" for name, part in model.named_modules() for key in getattr(part, "of_inputs", ())}
    given = {name: own[name] for name in of_inputs & own.keys()}
    state = {name: value for name, value in read_model(weights).items() if name not in given}
    if not partial:
        try:
            load_state(model, state | given, f"--init_from {weights}")
        except UserError as error:
            raise UserError(f"{error}; --init_partial takes what fits") from error
        return f"starts from {weights}"
    taken = fitting(model, state)
    if not taken:
        raise UserError(f"--init_from {weights} has nothing that fits this {type(model).__name__}")
    model.load_state_dict({**own, **taken})
    kept = [name for name in own if name not in taken]
    unused = [name for name in state if name not in taken]
    told = [f"starts from {weights}: {len(taken)} of {len(own)} tensors fit"]
    told += [f"new: {listed(kept, ', ')}"] if kept else []
    told += [f"not taken: {listed(unused, ', ')}"] if unused else []
    return "; ".join(told)
