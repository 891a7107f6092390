"""The user's way in: prompts -> motions.

Letters: B batch, T frames, N = T / 4 token steps, J joints or part rows, Q quantisers, D feature columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from data.specs import DatasetSpec, get_spec
from models.configs import Precision, SamplingSettings
from models.length_estimator import LengthEstimator
from models.rag.conditions import empty_retrieval, make_condition
from models.rag.database import RAGDatabase
from models.rag.queries import Queries
from models.rag.search import SearchResult
from models.text_encoder import TextEncoder
from models.transformer.condition import Condition
from models.transformer.copying import copy_share
from models.transformer.masked import MaskedTransformer
from models.transformer.residual import ResidualTransformer
from models.transformer.sampling import Noise, sample_base, sample_residual
from models.vocabulary.known import Remark
from models.vq.rvq import RVQVAE
from models.vq.tokenise import decode_motions
from Part_TMR.found import describe
from Part_TMR.retriever import Retriever
from pipeline.lengths import Lengths, checked_lengths, estimated_steps
from pipeline.loader import load_generator
from pipeline.motion import Motion, retrieved_of
from pipeline.remarks import Remarks
from pipeline.runs import Runs
from storage.row_store import digest, identity
from utils.errors import UserError
from utils.fingerprint import as_array
from utils.representation import features_to_joints
from utils.run import Run

if TYPE_CHECKING:
    from pipeline.constraints import Constraints
    from pipeline.stories import Scene

ESTIMATED_AT_ONCE = 256  # prompts whose lengths are estimated together


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
        dataset_name: str = "open",
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
        precision: Precision = "float32",
    ) -> TextToMotion:
        """Loads saved runs; RVQ-VAE, retriever and database are those of the masked transformer's config.

        A database beside the runs comes before that of the config: it was shipped with them. Where only the residual
        transformer uses retrieval, retriever and database are those of its config.

        Args:
            checkpoints_dir: folder of the runs, `checkpoints_dir/dataset_name/run`; `pretrained` has the shipped ones,
                wherever one stands.
            rtrans_name: None generates from base tokens alone.
            database: another library of motions, made with the same retriever: its folder, or one that holds it in a
                subfolder named after the dataset.
            length_name: run of the length estimator; without one every prompt needs a length.
            which_mtrans, which_rtrans: checkpoint of the run; None takes the best there is.
            precision: of the products in the transformers.

        Raises:
            UserError: a run, checkpoint or database is missing or does not fit the others, or the device has no such
                precision.
        """
        named = {"vq_name": vq_name, "retriever_name": retriever_name, "database": database, "length_name": length_name}
        which = {"mtrans": which_mtrans, "rtrans": which_rtrans}
        spec, names = get_spec(dataset_name), (mtrans_name, rtrans_name)
        return cls(spec, **load_generator(Runs(checkpoints_dir, spec), *names, device, which, precision, **named))

    @property
    def n_retrieved(self) -> int:
        """K, of the transformer that reads most retrieved motions."""
        configs = [model.config for model in (self.masked, self.residual) if model is not None]
        return max((config.n_retrieved for config in configs if config.retrieved != "none"), default=0)

    @property
    def levels(self) -> int:
        """Of the tokens that are made: those of all quantisers, or of the first without a residual transformer."""
        return 1 if self.residual is None else self.residual.num_quantizers

    @cached_property
    def remarks(self) -> Remarks | None:
        """Says of prompts what they hold that the library does not; None without a library."""
        if self.retriever is None or self.database is None:
            return None
        return Remarks(self.database, self.retriever, self.text_encoder)

    def remark(self, texts: list[str]) -> Remark | None:
        """What lies outside of the library in the first of these prompts in which something does."""
        remarks = self.remarks.of(texts) if self.remarks else []
        return next((remark for remark in remarks if remark is not None), None)

    @property
    def fingerprint(self) -> str:
        """Tells the motions of these weights, architectures and library from those of others."""
        encoders = {self.text_encoder} | ({self.retriever.text_encoder} if self.retriever is not None else set())
        models = [self.vq, self.masked, self.residual, self.length_estimator, self.retriever and self.retriever.model]
        return digest(
            json.dumps([self.runs[stage].config for stage in sorted(self.runs)], sort_keys=True),
            *(identity(as_array(each)) for model in models if model for each in model.state_dict().values()),
            *sorted(encoder.fingerprint for encoder in encoders),
            "" if self.database is None else self.database.fingerprint,
        ).hex()

    def generate(
        self,
        texts: Sequence[str],
        lengths: Lengths = None,
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
            texts, lengths, seed, retrieval, retrieved, deterministic_length, batch_size: see `generate_each`.
            sampling: replaces `cond_scale` and `time_steps` and sets the rest.
            progress: called with (prompts done, prompts in all).

        Raises:
            UserError: as `generate_each`.
        """
        sampling = sampling or SamplingSettings(cond_scale=cond_scale, time_steps=time_steps)
        how = {"retrieval": retrieval, "retrieved": retrieved, "deterministic_length": deterministic_length}
        made: dict[int, Motion] = {}
        for number, motion in self.generate_each(texts, lengths, seed, sampling, batch_size=batch_size, **how):
            made[number] = motion
            if progress is not None:
                progress(len(made), len(texts))
        return [made[number] for number in range(len(texts))]

    def generate_each(
        self,
        texts: Sequence[str],
        lengths: Lengths = None,
        seed: int | Sequence[int] | np.ndarray = 0,
        sampling: SamplingSettings | None = None,
        *,
        retrieval: bool = True,
        retrieved: Tensor | None = None,
        deterministic_length: bool = False,
        batch_size: int = 32,
        sorted_at_once: int | None = None,
        skip: Collection[int] = (),
    ) -> Iterator[tuple[int, Motion]]:
        """Numbers of prompts and their motions, batch after batch as they are made; all prompts are checked first.

        What a batch gives does not depend on those before it: work that was stopped goes on to the same bits.

        Args:
            texts: prompts.
            lengths: frames, one number or one a prompt; None: those of the retrieved motion that is mostly copied, else
                what the length estimator thinks. Rounded down to multiples of four.
            seed: one number for all or one a prompt.
            retrieval: False withholds the database.
            retrieved: (B, K) numbers of database motions to use instead of searching.
            batch_size: prompts of similar length that share a batch.
            sorted_at_once: the first batch are the first prompts; of the others so many at once are sorted by length.
                None: all.
            skip: numbers of prompts that are not wanted. They keep their places; a batch of nothing else is not made.

        Raises:
            UserError: an empty prompt, a length out of range, or no length and no estimator.
        """
        texts = [self.checked_text(text) for text in texts]
        given = checked_lengths(lengths, len(texts), self.spec, self.length_estimator is not None)
        sampling = sampling or SamplingSettings()
        seeds = [int(each) for each in ([seed] * len(texts) if np.ndim(seed) == 0 else seed)]
        if len(seeds) != len(texts):
            raise UserError(f"{len(seeds)} seeds for {len(texts)} prompts")

        def motions() -> Iterator[tuple[int, Motion]]:
            starts = [0] if sorted_at_once is None else [0, *range(batch_size, len(texts), sorted_at_once)]
            for start, end in zip(starts, [*starts[1:], len(texts)], strict=True):
                if all(number in skip for number in range(start, end)):
                    continue
                rows = slice(start, end)
                seen = None if retrieved is None else retrieved[rows]
                steps = self.steps(
                    texts[rows], given[rows], seeds[rows], deterministic_length, sampling, retrieval, seen
                )
                order = sorted(range(start, end), key=lambda number: int(steps[number - start]))  # noqa: B023
                for first in range(0, len(order), batch_size):
                    batch = order[first : first + batch_size]
                    if all(number in skip for number in batch):
                        continue
                    made = self._generate_batch(
                        [texts[i] for i in batch],
                        steps[[i - start for i in batch]],
                        [seeds[i] for i in batch],
                        sampling,
                        retrieval,
                        None if retrieved is None else retrieved[batch],
                    )
                    yield from ((i, motion) for i, motion in zip(batch, made, strict=True) if i not in skip)

        return motions()

    def edit(
        self,
        source: np.ndarray,
        text: str,
        seed: int = 0,
        *,
        sections: Sequence[tuple[float, float]] = (),
        parts: str = "",
        strength: float = 1.0,
        constraints: Constraints | None = None,
        sampling: SamplingSettings | None = None,
        retrieval: bool = True,
    ) -> Motion:
        """The motion `source`, joints (T, J, 3), with what the prompt says in sections (seconds) and body parts.

        Args:
            sections, parts, strength: see `pipeline.editing.Edit`.
            constraints: see `pipeline.constraints.Constraints`.

        Raises:
            UserError: see `pipeline.editing.EditPlan`.
        """
        from pipeline.editing import Edit, EditPlan

        plan = EditPlan(self, source, Edit(text, tuple(sections), parts, strength), constraints)
        return plan.make(seed, sampling, retrieval)

    def story(
        self,
        scenes: str | Sequence[Scene],
        seed: int = 0,
        *,
        constraints: Constraints | None = None,
        sampling: SamplingSettings | None = None,
        retrieval: bool = True,
    ) -> Motion:
        """One motion of any length of scenes (start, end, prompt[, parts]), seconds, or of the lines of a story's file.

        Raises:
            UserError: see `pipeline.stories.make_story`.
        """
        from pipeline.stories import tell, told_story

        return tell(self, told_story(scenes, self.spec.format), seed, sampling, retrieval, constraints)

    def stream(
        self,
        scenes: str | Sequence[Scene],
        seed: int = 0,
        *,
        sampling: SamplingSettings | None = None,
        retrieval: bool = True,
    ) -> Iterator[Motion]:
        """The same piece by piece, each as soon as it is made; see `story`."""
        from pipeline.stories import stream, told_story

        return stream(self, told_story(scenes, self.spec.format), seed, sampling, retrieval)

    def condition(self, texts: list[str], retrieval: bool = True, retrieved: Tensor | None = None) -> Condition:
        """What the transformers are told about prompts; see `generate_each`."""
        return self.looked_up(texts, retrieval, retrieved)[0]

    def looked_up(
        self, texts: list[str], retrieval: bool = True, retrieved: Tensor | None = None
    ) -> tuple[Condition, tuple[Queries, SearchResult] | None]:
        """The condition, and what was asked and found for it, see `describe`; None where nothing was looked for."""
        self._forget_texts()
        features = self.text_encoder.features(texts).to(self.device)
        if self.retriever is None or self.database is None:
            return make_condition(features, None), None
        if not retrieval:
            nothing = empty_retrieval(self.database, len(texts), self.n_retrieved)
            return make_condition(features, nothing).withheld(retrieval=True), None
        asked = self.retriever.queries(texts)
        if retrieved is None:
            found = self.database.search(asked, self.n_retrieved)
        else:
            found = SearchResult(retrieved, torch.full(retrieved.shape, float("nan")))
        seen = self.database.gather(found.indices)
        if self.database.embedded.sentences is not None:
            seen = replace(seen, agreement=self.database.view.agreement(asked.sentences, found.indices))
        return make_condition(features, seen), (asked, found)

    def _forget_texts(self) -> None:
        """Texts are encoded in the company that a batch has, never in that of an earlier one."""
        self.text_encoder.forget()
        if self.retriever is not None:
            self.retriever.text_encoder.forget()

    @torch.no_grad()
    def _generate_batch(
        self,
        texts: list[str],
        steps: Tensor,
        seeds: list[int],
        settings: SamplingSettings,
        retrieval: bool,
        retrieved: Tensor | None,
    ) -> list[Motion]:
        condition, looked = self.looked_up(texts, retrieval, retrieved)
        described = describe(self.retriever, self.database, *looked) if looked else [()] * len(texts)
        base = sample_base(self.masked, condition, steps, Noise(seeds, steps), settings)
        codes = base[..., None]
        if self.residual is not None:
            codes = sample_residual(self.residual, base, condition, steps, settings)
        features = decode_motions(self.vq, codes, steps)
        form, fps = self.spec.format, self.spec.format.fps
        remarks = self.remarks.of(texts) if self.remarks else [None] * len(texts)
        return [
            Motion(
                text,
                fps,
                rows,
                features_to_joints(rows, form),
                retrieved_of(found),
                seed,
                remark,
                found,
                form,
            )
            for text, rows, found, seed, remark in zip(texts, features, described, seeds, remarks, strict=True)
        ]

    @staticmethod
    def checked_text(text: str) -> str:
        """A prompt without spaces that say nothing.

        Raises:
            UserError: nothing is left.
        """
        if not isinstance(text, str) or not text.strip():
            raise UserError("a prompt is empty: describe a motion, for example 'a person waves'")
        return " ".join(text.split())

    @torch.no_grad()
    def steps(
        self,
        texts: list[str],
        lengths: list[int | None],
        seeds: list[int],
        deterministic: bool,
        settings: SamplingSettings,
        retrieval: bool,
        retrieved: Tensor | None,
    ) -> Tensor:
        """(B,) token steps."""
        steps = torch.tensor([(length or 0) // self.spec.format.unit_length for length in lengths], dtype=torch.long)
        missing = [index for index, length in enumerate(lengths) if length is None]
        for start in range(0, len(missing), ESTIMATED_AT_ONCE):
            chosen = missing[start : start + ESTIMATED_AT_ONCE]
            seen = None if retrieved is None else retrieved[chosen]
            condition = self.condition([texts[i] for i in chosen], retrieval, seen)
            share = copy_share(condition, self.masked.config, settings)
            steps[chosen] = estimated_steps(
                self.length_estimator, condition, share, self.spec, [seeds[i] for i in chosen], deterministic
            )
        return steps
