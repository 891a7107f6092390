"""Layers of the transformers as code that is made for them: what lies between two products becomes one loop."""

from __future__ import annotations

import torch
from torch import nn

from models.transformer.blocks import Attention, FeedForward
from utils.errors import UserError

MOST_FORMS = 64  # of one kind of layer: training, validation, with and without memory; beyond that it runs uncompiled


def compile_layers(model: nn.Module, device: torch.device) -> None:
    """Lets PyTorch compile the layers at their first calls. Names, weights and files stay as they are.

    Layers of one kind share their code, whatever the depth of the model, and sizes are free: a batch of other lengths
    is no reason to compile anew.

    Raises:
        UserError: the machine has no compiler, or the model no such layers.
    """
    layers = [module for module in model.modules() if isinstance(module, Attention | FeedForward)]
    if not layers:
        raise UserError("--compile: this stage has no layers that gain by it: leave it out")
    try:
        torch.compile(torch.sin, dynamic=True)(torch.ones(2, device=device))
    except Exception as error:  # of whatever is missing: a compiler, Python's headers, a folder that can be written
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"--compile: PyTorch cannot compile on this machine: {reason}") from error
    torch._dynamo.config.recompile_limit = MOST_FORMS
    for layer in layers:
        layer.compile(dynamic=True)
