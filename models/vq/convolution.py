"""Masked 2D convolutions over time x joint slots: the encoder and the decoder of the RVQ-VAE.

Every convolution that looks along time sees zeros past a sample's end, as it does past the end of the tensor, so that
padding never changes a valid frame. Where nothing is padded there is no mask: it would cost a tenth of the time.

Letters: B batch, C channels, T frames, S joint slots, J part rows, N = T / 4 token steps.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import RVQConfig
from utils.motion_format import CHANNELS_PER_JOINT, MotionFormat


def _masked(grid: Tensor, mask: Tensor | None) -> Tensor:
    """Grid (B, C, T', S') with zeros where the frame mask (B, T) is 0; T' divides T and all valid lengths."""
    return grid if mask is None else grid * mask[:, None, :: mask.shape[1] // grid.shape[2], None]


class TimeConvolution(nn.Conv2d):
    """A convolution that zeroes invalid steps of its input first."""

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, T', S'), mask (B, T) float at full resolution, or None -> (B, C', T'', S'')."""
        return super().forward(_masked(grid, mask))


class ResidualBlock(nn.Module):
    """ReLU, dilated 3x3 convolution, ReLU, 1x1 convolution, added to the input. Dilation acts on time only."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.dilated = TimeConvolution(width, width, 3, padding=(dilation, 1), dilation=(dilation, 1))
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, T', S') -> the same shape."""
        return grid + self.pointwise(F.relu(self.dilated(F.relu(grid), mask)))


class MaskedSequential(nn.Sequential):
    """Runs blocks that take (grid, mask)."""

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        for block in self:
            grid = block(grid, mask)
        return grid


class Upsample(nn.Module):
    """Nearest upsampling by (time, slots), then a 3x3 convolution.

    An output row sees three rows of which two or all are copies of one: each phase of the output is a convolution of
    the small grid with summed weights. With both axes doubled that is 16 products where the plain way has 36.
    """

    def __init__(self, width: int, factor: tuple[int, int]):
        super().__init__()
        self.phases = [_phases(each) for each in factor]
        self.convolution = TimeConvolution(width, width, 3, padding=1)

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        """(B, C, T', S'), mask (B, T) float at full resolution, or None -> (B, C, factor T', factor S')."""
        times, slots = self.phases
        n_steps, n_slots = grid.shape[2:]
        padded = F.pad(_masked(grid, mask), (1, 1, 1, 1))
        made = []
        for (top, rows), (left, columns) in itertools.product(times, slots):
            kernel = _summed(_summed(self.convolution.weight, rows, 2), columns, 3)
            height, width = n_steps + len(rows) - 1, n_slots + len(columns) - 1
            seen = padded[:, :, top : top + height, left : left + width]
            made.append(F.conv2d(seen, kernel, self.convolution.bias))
        phases = torch.stack(made).unflatten(0, (len(times), len(slots)))
        return phases.permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)


def _phases(factor: int) -> list[tuple[int, list[slice]]]:
    """For each phase of an axis: the first row that it sees of the grid padded by one, and the taps of each row."""
    found = []
    for phase in range(factor):
        seen = [(phase + tap) // factor for tap in (-1, 0, 1)]
        ends = [0, *(tap for tap in (1, 2) if seen[tap] != seen[tap - 1]), 3]
        found.append((seen[0] + 1, [slice(start, end) for start, end in itertools.pairwise(ends)]))
    return found


def _summed(kernel: Tensor, taps: list[slice], axis: int) -> Tensor:
    return torch.cat([kernel[(slice(None),) * axis + (each,)].sum(axis, keepdim=True) for each in taps], dim=axis)


def _residual_blocks(config: RVQConfig, deepest_first: bool) -> MaskedSequential:
    dilations = [config.dilation_growth_rate**i for i in range(config.depth)]
    return MaskedSequential(
        *(ResidualBlock(config.width, d) for d in (dilations[::-1] if deepest_first else dilations))
    )


class PartMerge(nn.Module):
    """Merges each part's slots, and pairs of frames, by weights of the part's own: (B, 12, T, S) -> (B, C, T/2, J).

    Each part being its own group of a grouped convolution costs no more than sharing the weights, and lets a leg be
    read differently from a head.
    """

    def __init__(self, form: MotionFormat, width: int):
        super().__init__()
        self.n_parts = form.n_parts
        channels = form.slots_per_part * CHANNELS_PER_JOINT
        self.convolution = nn.Conv1d(
            self.n_parts * channels, self.n_parts * width, 4, stride=2, padding=1, groups=self.n_parts
        )

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        by_part = _masked(grid, mask).unflatten(3, (self.n_parts, -1)).permute(0, 3, 4, 1, 2)  # (B, J, slots, 12, T)
        merged = self.convolution(by_part.flatten(1, 3))
        return merged.unflatten(1, (self.n_parts, -1)).permute(0, 2, 3, 1)


class PartSplit(nn.Module):
    """The way back from `PartMerge`: (B, C, T/2, J) -> (B, 12, T, S)."""

    def __init__(self, form: MotionFormat, width: int):
        super().__init__()
        self.n_parts = form.n_parts
        self.slots = form.slots_per_part
        channels = 2 * self.slots * CHANNELS_PER_JOINT
        self.convolution = nn.Conv1d(self.n_parts * width, self.n_parts * channels, 3, padding=1, groups=self.n_parts)

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        split = self.convolution(_masked(grid, mask).permute(0, 3, 1, 2).flatten(1, 2))
        split = split.unflatten(1, (self.n_parts, 2, self.slots, CHANNELS_PER_JOINT))  # (B, J, 2, slots, 12, T/2)
        split = split.permute(0, 4, 5, 2, 1, 3)  # (B, 12, T/2, 2, J, slots)
        return split.flatten(4, 5).flatten(2, 3)


def _stages(config: RVQConfig, form: MotionFormat) -> list[tuple[int, int]]:
    """The (time, slot) strides between the stem and the latent grid."""
    if config.merge_parts == "early":
        return [(2, 1)] * (config.down_t - 1)
    slots = form.slots_per_part
    return [(2, slots // 2), (2, 2)] + [(2, 1)] * (config.down_t - 2)


class Encoder(nn.Module):
    """Normalised feature grid (B, 12, T, S) -> latent (B, code_dim, N, J)."""

    def __init__(self, config: RVQConfig, form: MotionFormat):
        super().__init__()
        width, stages = config.width, _stages(config, form)
        if config.merge_parts == "early":
            blocks: list[nn.Module] = [PartMerge(form, width), _residual_blocks(config, deepest_first=False)]
        else:
            blocks = [TimeConvolution(CHANNELS_PER_JOINT, width, 3, padding=1)]
        for time_stride, slot_stride in stages:
            slot_kernel = slot_stride if slot_stride > 1 else 3
            blocks.append(
                TimeConvolution(
                    width,
                    width,
                    (2 * time_stride, slot_kernel),
                    stride=(time_stride, slot_stride),
                    padding=(time_stride // 2, 0 if slot_stride > 1 else 1),
                )
            )
            blocks.append(_residual_blocks(config, deepest_first=False))
        blocks.append(TimeConvolution(width, config.code_dim2d, 3, padding=1))
        self.blocks = MaskedSequential(*blocks)

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        """grid (B, 12, T, S), mask (B, T) float or None -> (B, code_dim, N, J)."""
        return self.blocks(grid, mask)


class Decoder(nn.Module):
    """Latent (B, code_dim, N, J) -> normalised feature grid (B, 12, T, S)."""

    def __init__(self, config: RVQConfig, form: MotionFormat):
        super().__init__()
        width = config.width
        blocks: list[nn.Module] = [TimeConvolution(config.code_dim2d, width, 3, padding=1)]
        for stride in reversed(_stages(config, form)):
            blocks += [_residual_blocks(config, deepest_first=True), Upsample(width, stride)]
        if config.merge_parts == "early":
            blocks += [_residual_blocks(config, deepest_first=True), PartSplit(form, width)]
        else:
            blocks += [_Activated(TimeConvolution(width, CHANNELS_PER_JOINT, 3, padding=1))]
        self.blocks = MaskedSequential(*blocks)

    def forward(self, latent: Tensor, mask: Tensor | None) -> Tensor:
        """latent (B, code_dim, N, J), mask (B, T) float or None -> (B, 12, T, S)."""
        return self.blocks(latent, mask)


class _Activated(nn.Module):
    """ReLU before a masked convolution."""

    def __init__(self, convolution: TimeConvolution):
        super().__init__()
        self.convolution = convolution

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        return self.convolution(torch.relu(grid), mask)
