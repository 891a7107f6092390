"""What the training of both transformers has in common: tokens, text features and retrieval, all computed once."""

from __future__ import annotations

from functools import partial

from data.clips import Clip, load_split
from data.specs import get_spec
from data.tokens import TokenDataset, collate_tokens
from engine.harness import Harness
from engine.schedule import seed_everything
from engine.token_tasks import MaskedTask, ResidualTask
from models.rag.conditions import ConditionSource
from models.rag.pool import training_pool
from models.text_encoder import TextFeatureStore, build_text_encoder
from models.transformer.condition import ConditionDims
from models.vq.tokenise import cached_tokens, decode_motions
from options.stages import MaskedOptions, ResidualOptions
from pipeline.judging import find_judge
from pipeline.loader import build_masked, build_residual, load_library, load_run, token_config
from pipeline.runs import Runs
from pipeline.training import harness_of
from utils.device import choose_device
from utils.fingerprint import weights_hash
from utils.run import TokenShape

KINDS = {"mtrans": (build_masked, MaskedTask), "rtrans": (build_residual, ResidualTask)}


def token_harness(options: MaskedOptions | ResidualOptions) -> Harness:
    """A training of a transformer, ready for `fit`. Its run folder is made.

    Raises:
        UserError: dataset, RVQ-VAE, retriever or database is missing or they do not fit each other.
    """
    spec = get_spec(options.run.dataset_name)
    device = choose_device(options.run.gpu_id)
    train, val = load_split(spec, "train", keep_long=True), load_split(spec, "val")
    runs = Runs(options.run.checkpoints_dir, spec)
    vq = load_run(runs.open(options.inputs.vq_name, "vq"), options.inputs.vq_checkpoint, device)
    tokens = TokenShape(vq.config.nb_code2d, vq.n_parts, vq.config.num_quantizers, weights_hash(vq.state_dict()))

    encoder = build_text_encoder(options.model.text_encoder, device=device)
    captions = [caption.text for clip in train + val for caption in clip.captions]
    texts = TextFeatureStore(encoder, captions, spec.cache_dir)
    dims, database, retrieved = ConditionDims(encoder.dim), None, None
    if options.model.retrieved != "none":
        library_dir = runs.database(options.retrieval.database)
        read_tokens_of = tokens.vq_hash if options.model.retrieved == "tokens" else None
        retriever_run = runs.open(options.retrieval.retriever_name, "tmr")
        retriever, database = load_library(retriever_run, library_dir, device, encoder, read_tokens_of)
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
    build, task_kind = KINDS[options.stage]
    model = build(options.model, dims, tokens)
    model.start_from([level.codes.cpu() for level in vq.quantizer.levels])
    judge = find_judge(spec, options.run.checkpoints_dir, device, val)
    task = task_kind(model, conditions, partial(decode_motions, vq), judge)
    facts = token_config(dims, tokens, database)
    return harness_of(options, task, train_tokens, val_tokens, device, collate_tokens, facts)
