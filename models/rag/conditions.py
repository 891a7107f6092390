"""From captions to conditions: text features and retrieval are computed once a caption and reused.

Letters: B batch, C captions, K retrieved motions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.rag.captions import unit
from models.rag.database import RAGDatabase
from models.rag.variations import Variations
from models.transformer.condition import Condition, Retrieved
from utils.processes import Draws

if TYPE_CHECKING:
    from models.text_encoder import TextFeatures, TextFeatureStore


def make_condition(texts: TextFeatures, retrieved: Retrieved | None) -> Condition:
    """Text features (B, ...) and what was retrieved for them -> a condition that keeps both."""
    keep = torch.ones(len(texts.pooled), dtype=torch.bool, device=texts.pooled.device)
    return Condition(texts.pooled, texts.states, texts.mask, retrieved, keep, keep)


def empty_retrieval(database: RAGDatabase, batch: int, n_retrieved: int) -> Retrieved:
    """Retrieved motions of the right shapes that a condition without retrieval carries and no one looks at."""
    return database.gather(torch.zeros(batch, min(n_retrieved, len(database)), dtype=torch.long))


class ConditionSource:
    """Conditions of numbered captions.

    Args:
        texts: features of all captions.
        database: the library, or None for a model without retrieval.
        pool: (C, P) motions of the library a caption may retrieve, best first; P may be 0.
        n_retrieved: K.
        sentences: (C, S) bytes, the captions in the frozen space, for models that are told how far to trust a motion.
        variations: of the captions' own clips, for training.
        own_prob, random_prob: of retrieving one of these, and any motion, in the place of the nearest, in training.
    """

    def __init__(
        self,
        texts: TextFeatureStore,
        database: RAGDatabase | None,
        pool: Tensor | None,
        n_retrieved: int,
        sentences: Tensor | None = None,
        variations: Variations | None = None,
        own_prob: float = 0.0,
        random_prob: float = 0.0,
    ):
        self.texts, self.database, self.n_retrieved = texts, database, n_retrieved
        self.variations = variations
        self.own_prob, self.random_prob = own_prob, random_prob
        # Beside the library, so that no step asks the device which rows of it are meant.
        self.pool, self.sentences = (
            each if each is None or database is None else each.to(database.device) for each in (pool, sentences)
        )

    def batch(self, caption_index: Tensor, draws: Draws | None = None, texts: TextFeatures | None = None) -> Condition:
        """The condition of captions (B,): the best K motions, or with `draws` K at random from the pool, in order.

        Args:
            caption_index: on the library's device.
            draws: for training.
            texts: their features, if they were fetched already.
        """
        if texts is None:
            texts = self.texts.rows(caption_index.cpu())
        if self.database is None or self.pool is None:
            return make_condition(texts, None)
        pool = self.pool[caption_index]
        if not pool.shape[1]:
            nothing = empty_retrieval(self.database, len(caption_index), self.n_retrieved)
            return make_condition(texts.to(self.database.device), nothing).withheld(retrieval=True)
        chosen = pool[:, : self.n_retrieved]
        if draws is not None and pool.shape[1] > self.n_retrieved:
            picked = draws.uniform(pool.shape[1]).argsort(dim=1)[:, : self.n_retrieved].sort(dim=1).values
            chosen = pool.gather(1, picked)
        retrieved = self._retrieved(chosen, caption_index, draws)
        return make_condition(texts.to(self.database.device), retrieved)

    def _retrieved(self, chosen: Tensor, caption_index: Tensor, draws: Draws | None) -> Retrieved:
        """What is seen of motions (B, K); for training some nearest ones are the clip itself, changed, or any."""
        own = hidden = None
        if draws is not None and (self.variations or self.random_prob):
            draw, place = draws.uniform(), (draws.uniform() * len(self.database)).long()
            nearest = torch.where(draw >= 1 - self.random_prob, place, chosen[:, 0])
            if self.variations:
                itself = self.variations.motions[caption_index]
                own = (draw < self.own_prob) & (itself >= 0)
                nearest = torch.where(own, itself, nearest)
                # As often as not another person's words are what tells that the motion fits.
                hidden = own & (draws.uniform() < 0.5)
            chosen = torch.cat([nearest[:, None], chosen[:, 1:]], dim=1)
        retrieved = self.database.gather(chosen)
        if own is not None:
            retrieved = self.variations.replace(retrieved, own, caption_index, draws)
        if self.sentences is None:
            return retrieved
        asked = unit(self.sentences[caption_index])
        return replace(retrieved, agreement=self.database.view.agreement(asked, chosen, hidden))
