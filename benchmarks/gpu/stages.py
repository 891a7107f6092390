"""Every training stage on random data: at the sizes of the README's commands, or tiny.

Letters: B batch, T frames, N token steps, J part rows, Q quantisers, C captions, L caption tokens, K retrieved.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmarks.commands import COMMANDS, readme_flags
from data.clips import Caption, Clip
from data.collate import collate_motions
from data.datasets import MotionTextDataset, WindowDataset
from data.specs import get_spec
from data.tokens import TokenDataset, collate_tokens
from engine.evaluator_task import EvaluatorTask, with_mirrored
from engine.length_task import LengthTask
from engine.retriever_task import CaptionTexts, RetrieverTask
from engine.task import Task
from engine.vq_task import VQTask
from models.evaluator.own import EvaluatorNetwork
from models.length_estimator import LengthEstimator
from models.rag.conditions import ConditionSource
from models.rag.database import Embedded, Entry, RAGDatabase, pad_tokens
from models.rag.variations import Variations
from models.text.encoder import TextEncoder, TextFeatures
from models.text.published import PublishedTower
from models.transformer.condition import ConditionDims
from models.vq.rvq import RVQVAE
from options.command_line import parse
from options.presets import PRESETS
from Part_TMR.model import RetrieverModel
from Part_TMR.retriever import TRAINED_TEXT_ENCODERS
from pipeline.stages import TRANSFORMERS
from utils.batches import length_mask
from utils.formats import get_format
from utils.run import TokenShape
from utils.schema import to_dict

STAGES = tuple(COMMANDS)
_TINY_TRANSFORMER = "--latent_dim 16 --n_heads 2 --n_layers 1 --ff_size 16 --attnj --attnt"
TINY = {
    "vq": "--width 8 --depth 1 --code_dim2d 8 --nb_code2d 16 --num_quantizers 3 --window_size 16 --merge_parts early",
    "tmr": "--part_dim 16 --motion_layers 1 --motion_ff_size 16 --embed_dim 12 --text_layers 1 --text_dim 16"
    " --queue_size 20 --lambda_part 0.1",
    "mtrans": f"{_TINY_TRANSFORMER} --retrieved tokens",
    "rtrans": f"{_TINY_TRANSFORMER} --share_weight",
    "length": "--latent_dim 16 --n_heads 2 --n_layers 1",
    "evaluator": "--latent_dim 16 --n_heads 2 --text_layers 1 --motion_layers 1 --embed_dim 8",
}
TINY_TRAINING = "--batch_size 8 --num_workers 0 --warm_up_iter 0"
TINY_FRAMES = 24
TEXT_WIDTHS = {"distilbert": 768, "clip": 512, "minilm": 384}
TINY_TEXT = {"vocab_size": 64, "max_position_embeddings": 32, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
CAPTION_TOKENS = (8, 24)  # HumanML3D's captions have about so many
SENTENCE_WIDTH = 384
BANK = 64  # different motions; all clips are these
WORDS = 64


@dataclass(frozen=True)
class Stage:
    """A stage with its data, ready for the harness.

    Attributes:
        name: one of `STAGES`.
        options: what the training script would have parsed.
        task: what is trained.
        dataset: the training set.
        collate: items -> batch.
    """

    name: str
    options: Any
    task: Task
    dataset: Dataset
    collate: Callable[[list[Any]], Any]

    def batch(self, size: int | None = None) -> dict[str, Any]:
        """The first batch, with what the task fetches, on the CPU."""
        items = [self.dataset[index] for index in range(size or self.options.train.batch_size)]
        batch, fetch = self.collate(items), self.task.host_fetcher()
        return batch if fetch is None else batch | fetch(batch)


def stage_options(name: str, tiny: bool, flags: Sequence[str] = (), preset: str = "paper") -> Any:
    """The options of a stage: the README's command, tiny ones, or a preset's; then more flags of its script."""
    schema, script = COMMANDS[name]
    published = readme_flags(script) if preset == "paper" else ["--preset", preset, "--dataset_name", "humanml3d"]
    chosen = shlex.split(f"{TINY[name]} {TINY_TRAINING}") if tiny else published
    return parse(schema, [*chosen, *flags], PRESETS[name])


def build_stage(
    name: str, tiny: bool, batches: int = 1, flags: Sequence[str] = (), preset: str = "paper", frames: int | None = None
) -> Stage:
    """A stage whose data set makes an epoch of so many batches. Weights and data depend on torch's seed alone.

    Args:
        frames: of every clip; None: up to the longest of the dataset.
    """
    options = stage_options(name, tiny, flags, preset)
    spec = get_spec(options.run.dataset_name)
    max_frames = frames or (TINY_FRAMES if tiny else spec.max_frames)
    rng = np.random.default_rng(0)
    shortest = frames or max_frames * 3 // 4
    clips = _clips(options.train.batch_size * batches, shortest, max_frames, spec.format.n_features, rng)
    captions = [caption.text for clip in clips for caption in clip.captions]
    if name == "vq":
        task = VQTask(RVQVAE(options.model, get_format("humanml3d")), options.loss)
        windows = WindowDataset(clips, options.data.window_size, stride=max_frames)
        return Stage(name, options, task, windows, collate_motions)
    text_dim = TINY_TEXT["dim"] if tiny else TEXT_WIDTHS[options.model.text_encoder]
    if name in ("mtrans", "rtrans"):
        others = {part: stage_options(part, tiny, preset=preset).model for part in ("vq", "tmr")}
        return _token_stage(name, options, others, clips, len(captions), text_dim, rng)
    dataset = MotionTextDataset(clips, max_frames, random_crop=False)
    store = RandomTexts(len(captions), text_dim)
    if name == "length":
        task = LengthTask(LengthEstimator(options.model, text_dim), store, spec.format.unit_length)
    elif name == "evaluator":
        both = with_mirrored(captions)
        texts = CaptionTexts(both, np.arange(len(both)), RandomTexts(len(both), text_dim))
        task = EvaluatorTask(EvaluatorNetwork(options.model, get_format("humanml3d"), text_dim), texts, texts)
    else:
        trained = options.model.text_encoder in TRAINED_TEXT_ENCODERS
        encoder = random_text_encoder(TINY_TEXT if tiny else {}) if trained else None
        texts = CaptionTexts(captions, np.arange(len(captions)), None if trained else store)
        model = RetrieverModel(options.model, get_format("humanml3d"), text_dim, text_encoder=encoder)
        task = RetrieverTask(model, texts, texts, **to_dict(options.rates))
    return Stage(name, options, task, dataset, collate_motions)


def _clips(count: int, min_frames: int, max_frames: int, n_features: int, rng: np.random.Generator) -> list[Clip]:
    """Clips of one caption each, from the shortest to the longest; the first one is the longest."""
    variety = 1 + (max_frames - min_frames) // 4
    lengths = [max_frames - 4 * (number % variety) for number in range(min(count, BANK))]
    bank = [rng.standard_normal((length, n_features), dtype=np.float32) for length in lengths]
    words = rng.integers(WORDS, size=(count, CAPTION_TOKENS[1]))
    sizes = rng.integers(*CAPTION_TOKENS, size=count)
    sentences = [" ".join(f"w{word}" for word in row[:size]) for row, size in zip(words, sizes, strict=True)]
    return [
        Clip(f"{number:06d}", f"{number:06d}", bank[number % BANK], (Caption(sentence),))
        for number, sentence in enumerate(sentences)
    ]


def _token_stage(
    name: str,
    options: Any,
    others: Mapping[str, Any],
    clips: list[Clip],
    n_captions: int,
    text_dim: int,
    rng: np.random.Generator,
) -> Stage:
    vq = RVQVAE(others["vq"], get_format("humanml3d"))
    shape = TokenShape(vq.config.nb_code2d, vq.n_parts, vq.config.num_quantizers, "", vq.config.code_dim2d)
    steps = [len(clip.features) // vq.frames_per_step for clip in clips]
    size = (max(steps), shape.n_parts, shape.num_quantizers)
    bank = [torch.from_numpy(rng.integers(shape.nb_code, size=size)) for _ in range(BANK)]
    codes = [bank[number % BANK][:count] for number, count in enumerate(steps)]
    dims, database, pool = ConditionDims(text_dim), None, None
    if options.model.retrieved != "none":
        retriever = others["tmr"]
        dims = ConditionDims(text_dim, retriever.embed_dim, retriever.part_dim)
        database = random_library(dims, codes[:BANK])
        # Fewer than are wanted at a tiny size, as in a small library.
        wanted = min(options.training_retrieval.retrieval_pool * options.model.n_retrieved, len(database))
        pool = torch.from_numpy(rng.integers(len(database), size=(n_captions, wanted)))
    sentences = variations = None
    how, owners = options.training_retrieval, [number for number, clip in enumerate(clips) for _ in clip.captions]
    if options.model.trust:
        sentences = torch.from_numpy(rng.integers(-127, 128, size=(n_captions, SENTENCE_WIDTH), dtype=np.int8))
    if how.own_retrieval_prob:
        motions = [number % len(database) for number in owners]
        rows = [[row.short().numpy() for row in bank[:3]] for _ in clips]
        variations = Variations(rows, owners, motions, max(steps), torch.device("cpu"))
    conditions = ConditionSource(
        RandomTexts(n_captions, text_dim),
        database,
        pool,
        options.model.n_retrieved,
        sentences,
        variations,
        how.own_retrieval_prob,
        how.random_retrieval_prob,
    )
    transformer, kind = TRANSFORMERS[name]
    task = kind(transformer(options.model, dims, shape), conditions, None)
    return Stage(name, options, task, TokenDataset(clips, codes, max(steps), random_crop=False), collate_tokens)


class RandomTexts:
    """Features of C captions without a text encoder, kept in half precision as `TextFeatureStore` keeps them."""

    def __init__(self, count: int, width: int) -> None:
        generator = torch.Generator().manual_seed(count)
        self.lengths = torch.randint(*CAPTION_TOKENS, (count,), generator=generator)
        self.states = torch.randn(count, CAPTION_TOKENS[1], width, generator=generator).half()

    def rows(self, indices: Tensor) -> TextFeatures:
        """Features of the captions `indices` (B,)."""
        lengths = self.lengths[indices]
        mask = length_mask(lengths, int(lengths.max()))
        states = self.states[indices][:, : mask.shape[1]].float() * mask[..., None]
        return TextFeatures(states.sum(dim=1) / lengths[:, None], states, mask)


def random_text_encoder(sizes: Mapping[str, int]) -> TextEncoder:
    """A trainable DistilBERT, of the published shape but for `sizes`, with random weights; its words are w0, w1, ..."""
    from transformers import DistilBertConfig, DistilBertModel

    model = DistilBertModel(DistilBertConfig(**sizes))
    return TextEncoder(
        "distilbert", PublishedTower(model), lambda texts: [[int(word[1:]) for word in text.split()] for text in texts]
    )


def random_library(dims: ConditionDims, tokens: Sequence[Tensor]) -> RAGDatabase:
    """A library of motions with these tokens (N, J, q) and random embeddings."""
    count = len(tokens)
    entries = tuple(Entry(f"{number:06d}", f"{number:06d}", (f"caption {number}",)) for number in range(count))
    text, motion = (nn.functional.normalize(torch.randn(count, dims.retriever), dim=-1) for _ in range(2))
    parts = nn.functional.normalize(torch.randn(count, dims.n_retriever_parts, dims.retriever_part), dim=-1)
    sentences = torch.randint(-127, 128, (count, SENTENCE_WIDTH), dtype=torch.int8)
    return RAGDatabase(Embedded(entries, text, motion, parts, *pad_tokens(tokens), sentences), {})
