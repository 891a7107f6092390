"""Linear layers of a model that is done with training, in fewer bits.

A layer takes and gives single precision as before: what lies between the layers, where rounding adds up, keeps it. A
row's result depends on that row alone. Still, what single precision rounds in its last digit is here now and then a
step of the coarser numbers: in other company a sample may get other tokens, as good as the former.

Letters: R rows, I and O channels in and out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.configs import Precision
from utils.errors import UserError

LARGEST = 127  # of int8
TINY = 1e-8  # the scale of a row of zeros, times LARGEST
# What a processor needs, one of these, to be quicker than in single precision.
NEEDED = {"bfloat16": ("avx512_bf16", "amx_bf16"), "int8": ("avx512_vnni",)}


class Bfloat16Linear(nn.Module):
    """Products of bfloat16 numbers."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().bfloat16())
        self.register_buffer("bias", layer.bias.detach().bfloat16())

    def forward(self, rows: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        return F.linear(rows.bfloat16(), self.weight, self.bias).float()


class Int8Linear(nn.Module):
    """Products of whole numbers up to 127: weights have a scale for each output channel, rows one of their own."""

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Linear):
        super().__init__()
        weight = layer.weight.detach()
        self.register_buffer("scale", weight.abs().amax(dim=1).clamp(min=TINY) / LARGEST)  # (O,)
        self.register_buffer("weight", (weight / self.scale[:, None]).round().to(torch.int8).T.contiguous())  # (I, O)
        self.register_buffer("bias", layer.bias.detach())

    def forward(self, rows: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        flat = rows.flatten(0, -2)
        # By abs and amax: vector_norm and aminmax take ten times as long on a CPU.
        scale = flat.abs().amax(dim=1, keepdim=True).clamp(min=TINY) / LARGEST  # (R, 1)
        products = torch._int_mm((flat / scale).round_().to(torch.int8), self.weight)
        return torch.addcmul(self.bias, products * self.scale, scale).unflatten(0, rows.shape[:-1])


LAYERS = {"bfloat16": Bfloat16Linear, "int8": Int8Linear}


def check_precision(precision: Precision, device: torch.device) -> None:
    """Before anything is loaded.

    Raises:
        UserError: the device does not compute with such numbers, or more slowly than in single precision.
    """
    if precision == "float32":
        return
    if device.type == "cuda":
        what, able = "GPU", precision == "bfloat16" and torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        what, able = "processor", any(torch.cpu.get_capabilities().get(name) for name in NEEDED[precision])
    if not able:
        raise UserError(f"--precision {precision}: this {what} is no quicker with such numbers: take float32")


def lower_precision(model: nn.Module, precision: Precision) -> None:
    """Puts layers of that precision in the place of a model's linear ones."""
    if precision == "float32":
        return
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, LAYERS[precision](child))
