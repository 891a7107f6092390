"""What the training of both transformers has in common: tokens, text features and retrieval, all computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from data.clips import Clip, load_split
from data.specs import get_spec
from data.tokens import TokenDataset, collate_tokens
from engine.harness import Harness
from engine.run_state import prepare_run
from engine.schedule import seed_everything
from engine.token_tasks import TokenTask
from models.rag.conditions import ConditionSource
from models.rag.database import RAGDatabase
from models.rag.pool import training_pool
from models.text_encoder import TextFeatureStore, build_text_encoder
from models.transformer.condition import ConditionDims
from models.vq.tokenise import cached_tokens, decode_motions, state_hash
from options.stages import TransformerOptions, run_config
from Part_TMR.retriever import Retriever
from pipeline.judging import find_judge
from pipeline.loader import TokenShape, check_database_tokens, load_vq, token_config
from pipeline.runs import find_database, run_folder, run_path
from utils.device import choose_device


def token_harness(
    options: TransformerOptions,
    stage: str,
    build: Callable[[Any, ConditionDims, TokenShape], nn.Module],
    task: type[TokenTask],
) -> Harness:
    """A training of a transformer of `stage` ("mtrans" or "rtrans"), ready for `fit`. Its run folder is made.

    Raises:
        UserError: dataset, RVQ-VAE, retriever or database is missing or they do not fit each other.
    """
    spec = get_spec(options.run.dataset_name)
    device = choose_device(options.run.gpu_id)
    train, val = load_split(spec, "train", keep_long=True), load_split(spec, "val")
    vq_dir = run_folder(options.run.checkpoints_dir, spec.name, options.inputs.vq_name)
    vq = load_vq(vq_dir, options.inputs.vq_checkpoint, device)
    tokens = TokenShape(vq.config.nb_code2d, vq.n_parts, vq.config.num_quantizers, state_hash(vq))

    encoder = build_text_encoder(options.model.text_encoder, device=device)
    captions = [caption.text for clip in train + val for caption in clip.captions]
    texts = TextFeatureStore(encoder, captions, spec.cache_dir)
    dims, database, retrieved = ConditionDims(encoder.dim), None, None
    if options.model.retrieved != "none":
        retriever_dir = run_folder(options.run.checkpoints_dir, spec.name, options.retrieval.retriever_name)
        retriever = Retriever.load(retriever_dir, device=device, text_encoder=encoder)
        library_dir = find_database(options.run.checkpoints_dir, spec, options.retrieval.database)
        database = RAGDatabase.load(library_dir, retriever_hash=retriever.hash, device=device)
        if options.model.retrieved == "tokens":
            check_database_tokens(database, library_dir, tokens.vq_hash)
        n_parts, part_dim = database.embedded.parts.shape[1:]
        dims = ConditionDims(encoder.dim, database.dimension, part_dim, n_parts)
        takes = [clip.take for clip in train + val for _ in clip.captions]
        count = options.training_retrieval.retrieval_pool * options.model.n_retrieved
        embed = retriever.caption_encoder(captions, spec.cache_dir)
        retrieved = training_pool(database, embed, captions, takes, count, spec.cache_dir)
        if not retrieved.shape[1]:
            print(f"note: {library_dir} holds nothing but a caption's own take: training goes on without retrieval")
    conditions = ConditionSource(texts, database, retrieved, options.model.n_retrieved)

    def dataset(clips: list[Clip], first_caption: int, split: str) -> TokenDataset:
        codes = cached_tokens(vq, [clip.features for clip in clips], spec.cache_dir)
        steps = spec.max_frames // spec.format.unit_length
        return TokenDataset(clips, codes, steps, options.train.seed, first_caption, random_crop=split == "train")

    n_train_captions = sum(len(clip.captions) for clip in train)
    train_tokens, val_tokens = dataset(train, 0, "train"), dataset(val, n_train_captions, "val")
    seed_everything(options.train.seed)
    model = build(options.model, dims, tokens)
    model.start_from([level.codes.cpu() for level in vq.quantizer.levels])
    run_dir = run_path(options.run.checkpoints_dir, spec.name, options.run.name)
    judge = find_judge(spec, options.run.checkpoints_dir, device, val)
    stage_task = task(model, conditions, partial(decode_motions, vq), judge)
    harness = Harness(run_dir, stage_task, train_tokens, val_tokens, options.train, collate_tokens, device)
    prepare_run(run_dir, run_config(options, stage) | token_config(dims, tokens, database))
    return harness
