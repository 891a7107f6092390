"""The user's way in: prompts -> motions.

Letters: B batch, T frames, N = T / 4 token steps, J joints or part rows, Q quantisers, D feature columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.specs import DatasetSpec, get_spec
from models.configs import SamplingSettings
from models.length_estimator import LengthEstimator
from models.rag.conditions import empty_retrieval, make_condition
from models.rag.database import RAGDatabase
from models.rag.search import SearchResult
from models.text_encoder import TextEncoder, build_text_encoder
from models.transformer.condition import Condition
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.transformer.sampling import Noise, sample_base, sample_residual
from models.vq.rvq import RVQVAE
from models.vq.tokenise import decode_motions
from options.groups import RetrievalOptions
from options.stages import TokenInputs
from Part_TMR.retriever import Retriever
from pipeline.loader import load_library, load_run
from pipeline.runs import Runs
from utils.errors import UserError
from utils.fingerprint import weights_hash
from utils.fits import check_text_encoders, check_tokens
from utils.representation import features_to_joints
from utils.run import Run

RetrievedMotions = tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Motion:
    """A generated motion.

    Attributes:
        text: the prompt.
        fps: frames a second.
        features: (T, D) float32, raw units.
        joints: (T, J, 3) float32, metres, y up.
        retrieved: (motion id, caption, score) of the motions that helped, best first.
        seed: what to pass to `generate` to get this motion again.
    """

    text: str
    fps: float
    features: np.ndarray
    joints: np.ndarray
    retrieved: RetrievedMotions
    seed: int


@dataclass(eq=False)
class TextToMotion:
    """Text encoder, retriever with its database, token transformers, decoder and length estimator of one dataset.

    Attributes:
        runs: what it was loaded from, by stage.
    """

    spec: DatasetSpec
    text_encoder: TextEncoder
    vq: RVQVAE
    masked: MaskedTransformer
    residual: ResidualTransformer | None
    length_estimator: LengthEstimator | None
    retriever: Retriever | None
    database: RAGDatabase | None
    device: torch.device
    runs: dict[str, Run]

    @classmethod
    def load(
        cls,
        checkpoints_dir: Path | str = "pretrained",
        dataset_name: str = "mini",
        mtrans_name: str = "mtrans",
        rtrans_name: str | None = "rtrans",
        device: torch.device | str = "cpu",
        *,
        vq_name: str | None = None,
        retriever_name: str | None = None,
        database: Path | str | None = None,
        length_name: str = "length",
        which_mtrans: str | None = None,
        which_rtrans: str | None = None,
    ) -> TextToMotion:
        """Loads saved runs; RVQ-VAE, retriever and database are those of the masked transformer's config.

        A database beside the runs comes before that of the config: it was shipped with them. Where only the residual
        transformer uses retrieval, retriever and database are those of its config.

        Args:
            checkpoints_dir: folder of the runs, `checkpoints_dir/dataset_name/run`.
            rtrans_name: None generates from base tokens alone.
            database: another library of motions, made with the same retriever: its folder, or one that holds it in a
                subfolder named after the dataset.
            length_name: run of the length estimator; without one every prompt needs a length.
            which_mtrans, which_rtrans: checkpoint of the run; None takes the best there is.

        Raises:
            UserError: a run, checkpoint or database is missing or does not fit the others.
        """
        spec = get_spec(dataset_name)
        runs = Runs(checkpoints_dir, spec)
        used = {"mtrans": runs.open(mtrans_name, "mtrans")}
        if rtrans_name is not None:
            used["rtrans"] = runs.open(rtrans_name, "rtrans")
        transformers = list(used.values())
        used["vq"] = runs.open(vq_name or used["mtrans"].section("inputs", TokenInputs).vq_name, "vq")
        if runs.path(length_name).is_dir():
            used["length"] = runs.open(length_name, "length")
        check_text_encoders(run for run in used.values() if run.text_encoder is not None)
        which = {"mtrans": which_mtrans, "rtrans": which_rtrans}
        models = {stage: load_run(run, which.get(stage), device) for stage, run in used.items()}
        vq_hash = weights_hash(models["vq"].state_dict())
        for run in transformers:
            check_tokens(run, used["vq"], vq_hash)
        text_encoder = build_text_encoder(used["mtrans"].text_encoder, device=device)
        retriever, library = None, None
        if readers := [run for run in transformers if models[run.stage].config.retrieved != "none"]:
            trained_with = readers[0].section("retrieval", RetrievalOptions)
            used["tmr"] = runs.open(retriever_name or trained_with.retriever_name, "tmr")
            reads_tokens = any(models[run.stage].config.retrieved == "tokens" for run in readers)
            folder = runs.database(database, trained_with.database)
            retriever, library = load_library(
                used["tmr"], folder, device, text_encoder, vq_hash if reads_tokens else None, readers
            )
        return cls(
            spec,
            text_encoder,
            models["vq"],
            models["mtrans"],
            models.get("rtrans"),
            models.get("length"),
            retriever,
            library,
            torch.device(device),
            used,
        )

    @property
    def n_retrieved(self) -> int:
        """K, of the transformer that reads most retrieved motions."""
        configs = [model.config for model in (self.masked, self.residual) if model is not None]
        return max((config.n_retrieved for config in configs if config.retrieved != "none"), default=0)

    @torch.no_grad()
    def generate(
        self,
        texts: Sequence[str],
        lengths: Sequence[int | None] | np.ndarray | int | None = None,
        seed: int | Sequence[int] | np.ndarray = 0,
        cond_scale: float = SamplingSettings.cond_scale,
        time_steps: int = SamplingSettings.time_steps,
        *,
        sampling: SamplingSettings | None = None,
        retrieval: bool = True,
        retrieved: Tensor | None = None,
        deterministic_length: bool = False,
        batch_size: int = 32,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Motion]:
        """One motion a prompt, in order. A prompt with a seed gives the same motion alone and in any company.

        Args:
            texts: prompts.
            lengths: frames, one number or one a prompt; None lets the length estimator decide. Rounded down to
                multiples of four.
            seed: one number for all or one a prompt.
            sampling: replaces `cond_scale` and `time_steps` and sets the rest.
            retrieval: False withholds the database.
            retrieved: (B, K) numbers of database motions to use instead of searching.
            progress: called with (prompts done, prompts in all).

        Raises:
            UserError: an empty prompt, a length out of range, or no length and no estimator.
        """
        texts = [self._checked_text(text) for text in texts]
        seeds = [int(each) for each in ([seed] * len(texts) if np.ndim(seed) == 0 else seed)]
        if len(seeds) != len(texts):
            raise UserError(f"{len(seeds)} seeds for {len(texts)} prompts")
        settings = sampling or SamplingSettings(cond_scale=cond_scale, time_steps=time_steps)
        steps = self._steps(texts, lengths, seeds, deterministic_length)
        # Prompts of similar length share a batch.
        order = sorted(range(len(texts)), key=lambda index: int(steps[index]))
        motions: list[Motion | None] = [None] * len(texts)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            condition, found = self.condition(
                [texts[i] for i in chosen], retrieval, None if retrieved is None else retrieved[chosen]
            )
            batch = self._generate_batch(
                [texts[i] for i in chosen], condition, found, steps[chosen], [seeds[i] for i in chosen], settings
            )
            for index, motion in zip(chosen, batch, strict=True):
                motions[index] = motion
            if progress is not None:
                progress(start + len(chosen), len(order))
        return motions  # type: ignore[return-value]

    def condition(
        self, texts: list[str], retrieval: bool = True, retrieved: Tensor | None = None
    ) -> tuple[Condition, list[RetrievedMotions]]:
        """What the transformers are told about prompts, and what was retrieved for each; see `generate`."""
        features = self.text_encoder.features(texts).to(self.device)
        if self.retriever is None or self.database is None:
            return make_condition(features, None), [()] * len(texts)
        if not retrieval:
            nothing = empty_retrieval(self.database, len(texts), self.n_retrieved)
            return make_condition(features, nothing).withheld(retrieval=True), [()] * len(texts)
        if retrieved is None:
            found = self.database.search(self.retriever.encode_text(texts), self.n_retrieved)
        else:
            found = SearchResult(retrieved, torch.full(retrieved.shape, float("nan")))
        entries = self.database.entries
        described = [
            tuple((entries[i].id, entries[i].captions[0], score) for i, score in zip(numbers, scores, strict=True))
            for numbers, scores in zip(found.indices.tolist(), found.scores.tolist(), strict=True)
        ]
        return make_condition(features, self.database.gather(found.indices)), described

    def _generate_batch(
        self,
        texts: list[str],
        condition: Condition,
        retrieved: list[RetrievedMotions],
        steps: Tensor,
        seeds: list[int],
        settings: SamplingSettings,
    ) -> list[Motion]:
        base = sample_base(self.masked, condition, steps, Noise(seeds, steps), settings)
        codes = base[..., None]
        if self.residual is not None:
            codes = sample_residual(self.residual, base, condition, steps, settings)
        features = decode_motions(self.vq, codes, steps)
        return [
            Motion(text, self.spec.format.fps, rows, features_to_joints(rows, self.spec.format), found, seed)
            for text, rows, found, seed in zip(texts, features, retrieved, seeds, strict=True)
        ]

    @staticmethod
    def _checked_text(text: str) -> str:
        if not isinstance(text, str) or not text.strip():
            raise UserError("a prompt is empty: describe a motion, for example 'a person waves'")
        return " ".join(text.split())

    def _steps(
        self,
        texts: list[str],
        lengths: Sequence[int | None] | np.ndarray | int | None,
        seeds: list[int],
        deterministic: bool,
    ) -> Tensor:
        """(B,) token steps."""
        given = [lengths] * len(texts) if np.ndim(lengths) == 0 else list(lengths)
        if len(given) != len(texts):
            raise UserError(f"{len(given)} lengths for {len(texts)} prompts")
        unit, low, high = self.spec.format.unit_length, self.spec.min_frames, self.spec.max_frames
        for length in given:
            if length is not None and not low <= length <= high:
                seconds = f"{low / self.spec.format.fps:g} to {high / self.spec.format.fps:g} s"
                raise UserError(f"motion_length {length} is out of range: {low} to {high} frames ({seconds})")
        steps = torch.tensor([(length or 0) // unit for length in given], dtype=torch.long)
        missing = [index for index, length in enumerate(given) if length is None]
        if missing:
            if self.length_estimator is None:
                raise UserError("no length estimator among the runs: give the motion's length in frames")
            features = self.text_encoder.features([texts[i] for i in missing]).to(self.device)
            logits = self.length_estimator(features.pooled, features.states, features.mask)
            steps[missing] = self.length_estimator.estimate(
                logits, (low // unit, high // unit), [seeds[i] for i in missing], deterministic
            )
        return steps
