"""Rows as bytes: a search looks through the codes, which tell how near a row can be at most, and at few of the rows.

A row x of width D is rotated to its main axes; the first H of them, in steps of their own, are the code c (H,) of
signed bytes. What the code lost is measured when it is made. For a query q and the code's row y = P (s * c), of which P
is orthonormal and s are the steps, q . x differs from q . y by at most |P' q| |P' (x - y)| + |q - P P' q| |x - P P' x|
(Cauchy-Schwarz, within the axes and beyond them). So what a search finds is exact, whatever the rows are like; what
they are like decides how long it takes.

Legend: B queries, R rows, D embedding, H axes, G groups of GROUP rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np
import torch
from torch import Tensor

from utils.threads import one_core

GROUP = 64  # rows that share the bounds of what their codes lost
ROWS_AT_ONCE = 1 << 16  # that are encoded; a multiple of GROUP
SCORES_AT_ONCE = 1 << 19  # products with codes held by one core: what stays in its cache
BYTES_AT_ONCE = 1 << 22  # of codes, which stay in the cache from one column to the next
FEW = 6  # columns that take less time one after the other: a product of several works as if there were 16
SAMPLE = 1 << 16  # rows that decide the axes
BEYOND = 0.015  # share of the rows' squared length that may lie beyond the axes
AXES_STEP = 32
LARGEST = 127
LOWEST = -(1 << 31)  # what no similarity in whole numbers is
HEADROOM = 1.2  # of the steps over the sample: a row that is longer is cut, and counts as what the code lost
ROUNDING = 4e-6  # of single precision, over what the bound says; rows and queries are about of length one
FINER = 254  # steps of a query's second code in one of its first, at most: both together have to fit 32 bits

Read = Callable[[slice | Tensor], Tensor]


def encode(read: Read, count: int, width: int, always: Tensor | None = None) -> dict[str, np.ndarray]:
    """Codes of rows, see `Codes`.

    Args:
        read: rows (n, D) in single precision.
        count, width: R and D.
        always: (n, D) what the axes hold however few of the rows do: queries point there too.
    """
    sample = read(torch.linspace(0, count - 1, min(count, SAMPLE)).long().unique())
    products, length = sample.T @ sample, sample.square().sum().clamp(min=1e-30)
    if always is not None:
        products += len(sample) * always.T @ always
        sample = torch.cat([sample, always])
    squares, axes = torch.linalg.eigh(products.double())
    axes, squares = axes.flip(1).float(), squares.flip(0).clamp(min=0)
    beyond = (squares.sum() - squares.cumsum(0)) / length
    kept = int((beyond > BEYOND).sum()) + 1
    axes = axes[:, : min(width, -(-kept // AXES_STEP) * AXES_STEP)].contiguous()
    steps = (HEADROOM / LARGEST * (sample @ axes).abs().amax(dim=0)).clamp(min=1e-12)
    codes = np.empty((count, axes.shape[1]), np.int8)
    lost = torch.empty(2, -(-count // GROUP))
    for start in range(0, count, ROWS_AT_ONCE):
        rows = read(slice(start, min(start + ROWS_AT_ONCE, count)))
        along = rows @ axes
        code = (along / steps).round().clamp(-LARGEST, LARGEST)
        codes[start : start + len(rows)] = code.numpy()
        within = (along - code * steps).norm(dim=1)
        outside = (rows - along @ axes.T).norm(dim=1)
        groups = slice(start // GROUP, -(-(start + len(rows)) // GROUP))
        lost[:, groups] = torch.stack([_of_groups(within), _of_groups(outside)])
    return {"codes": codes, "axes": axes.numpy(), "steps": steps.numpy(), "lost": lost.numpy()}


def _of_groups(values: Tensor) -> Tensor:
    """(n, ...) -> the largest of each group (G, ...)."""
    whole = len(values) // GROUP * GROUP
    best = values[:whole].unflatten(0, (-1, GROUP)).amax(dim=1)
    return best if whole == len(values) else torch.cat([best, values[whole:].amax(dim=0, keepdim=True)])


@cache
def _products_are_exact() -> bool:
    """Whether this machine multiplies bytes without saturating on the way."""
    codes = torch.full((256, 64), LARGEST, dtype=torch.int8)
    codes[::2] = -LARGEST
    try:
        products = [torch._int_mm(codes, codes[:columns].T.contiguous()) for columns in (1, 2)]
    except RuntimeError:
        return False
    return all(bool((product.abs() == 64 * LARGEST**2).all()) for product in products)


def _product(codes: Tensor, queries: Tensor) -> Tensor:
    """(R, H) and (H, n) bytes -> (R, n) whole numbers, exact."""
    if _products_are_exact():
        columns = queries.split(1, dim=1) if queries.shape[1] <= FEW else (queries,)
        return torch.cat([torch._int_mm(codes, each.contiguous()) for each in columns], dim=1)
    return (codes.float() @ queries.float()).int()


class Codes:
    """What `encode` made.

    Args:
        tensors: `codes` (R, H) bytes, `axes` P (D, H), `steps` s (H,), `lost` (2, G): the longest that a group's rows
            lost within the axes and beyond them.
        count, width: R and D of the rows.

    Raises:
        ValueError: they are not codes of such rows.
    """

    def __init__(self, tensors: Mapping[str, Tensor], count: int, width: int) -> None:
        self.codes, self.axes, self.steps, self.lost = (tensors[name] for name in ("codes", "axes", "steps", "lost"))
        axes = len(self.steps)
        shapes = {"codes": (count, axes), "axes": (width, axes), "steps": (axes,), "lost": (2, -(-count // GROUP))}
        for name, shape in shapes.items():
            kind = torch.int8 if name == "codes" else torch.float32
            if tuple(tensors[name].shape) != shape or tensors[name].dtype != kind:
                raise ValueError(f"{name} of other rows")

    @property
    def groups(self) -> int:
        """G."""
        return self.lost.shape[1]

    def candidates(self, queries: Tensor, needed: int, excluded: tuple[Tensor, Tensor]) -> Iterator[Tensor]:
        """For each query the rows among which the nearest `needed` are, ascending; groups that cannot hold one are not
        looked into.

        Args:
            queries: (B, D) in single precision.
            needed: rows; at most G.
            excluded: rows that do not count, ascending, and for which query each.
        """
        with one_core():
            yield from self._candidates(queries, needed, excluded)

    def _candidates(self, queries: Tensor, needed: int, excluded: tuple[Tensor, Tensor]) -> Iterator[Tensor]:
        along = queries @ self.axes
        beyond = (queries - along @ self.axes.T).norm(dim=1)
        finer = min(FINER, (1 << 31) // (LARGEST**2 * len(self.steps)) - 1)
        coarse, fine, unit, rest = _codes_of(along * self.steps, finer)
        far = (torch.stack([along.norm(dim=1), beyond], dim=1) @ self.lost).T  # (G, B)
        far += rest * LARGEST * len(self.steps) ** 0.5 + ROUNDING * (1 + queries.norm(dim=1))
        # Each query beside its second code, so that one pass through the rows serves both.
        both = torch.cat([coarse, fine]).T.contiguous()
        best = torch.empty(self.groups, len(queries))
        at_once = min(SCORES_AT_ONCE // both.shape[1], BYTES_AT_ONCE // len(self.steps))
        at_once = max(1, at_once // GROUP) * GROUP
        for start in range(0, len(self.codes), at_once):
            stop = min(start + at_once, len(self.codes))
            near = self._near(self.codes[start:stop], both, finer)
            if len(excluded[0]):
                here = slice(*torch.searchsorted(excluded[0], torch.tensor([start, stop])).tolist())
                near[excluded[0][here] - start, excluded[1][here]] = LOWEST
            best[start // GROUP : -(-stop // GROUP)] = _of_groups(near)
        best.masked_fill_(best == LOWEST, -torch.inf)
        unit = unit / finer
        best *= unit
        bounds = (best - far).topk(needed, dim=0).values[-1]
        for number, bound in enumerate(bounds):
            groups = (best[:, number] + far[:, number] >= bound).nonzero()[:, 0]
            rows = (groups[:, None] * GROUP + torch.arange(GROUP)).flatten()
            rows = rows[rows < len(self.codes)]
            # A sixth of the time of an index in brackets.
            codes = self.codes.index_select(0, rows)
            near = self._near(codes, both[:, number :: len(queries)], finer)[:, 0] * unit[number]
            rows = rows[near + far[rows // GROUP, number] >= bound]
            yield rows[~torch.isin(rows, excluded[0][excluded[1] == number])]

    @staticmethod
    def _near(codes: Tensor, both: Tensor, finer: int) -> Tensor:
        """Codes (n, H), queries' first and second codes (H, 2 B) -> similarities (n, B) in the second codes' units."""
        coarse, fine = _product(codes, both).chunk(2, dim=1)
        return torch.add(fine, coarse, alpha=finer)


def _codes_of(vectors: Tensor, finer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, H) -> two codes of bytes each, the unit of each vector, and the length of what both together lost."""
    unit = (vectors.abs().amax(dim=1) / LARGEST).clamp(min=1e-30)
    scaled = vectors / unit[:, None]
    coarse = scaled.round()
    fine = ((scaled - coarse) * finer).round()
    rest = (scaled - coarse - fine / finer).norm(dim=1) * unit
    return coarse.to(torch.int8), fine.to(torch.int8), unit, rest
