"""The training of the retriever, put together from its options."""

from __future__ import annotations

from engine.harness import Harness
from engine.retriever_task import RetrieverTask
from options.stages import RetrieverOptions
from Part_TMR.model import RetrieverModel
from Part_TMR.retriever import TRAINED_TEXT_ENCODERS
from pipeline.training import TextTraining
from utils.schema import to_dict


def retriever_harness(options: RetrieverOptions) -> Harness:
    """A training of the retriever, ready for `fit`. Its run folder is made.

    Raises:
        UserError: the dataset or the text encoder is missing, or the run folder holds another training.
    """
    trained = options.model.text_encoder in TRAINED_TEXT_ENCODERS
    training = TextTraining(options, trainable=trained)
    encoder, form = training.encoder, training.spec.format
    model = RetrieverModel(options.model, form, encoder.dim, training.normalizer(), encoder if trained else None)
    texts = [training.texts(split, split.captions, stored=not trained) for split in (training.train, training.val)]
    return training.harness("tmr", RetrieverTask(model, *texts, **to_dict(options.rates)))
