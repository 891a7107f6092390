"""Products in fewer bits: near those of single precision, row by row, and refused where they gain nothing."""

import pytest
import torch
from torch import nn

from models.precision import LAYERS, check_precision, lower_precision
from utils.errors import UserError

CPU = torch.device("cpu")
ERRORS = {"bfloat16": 0.006, "int8": 0.015}


@pytest.mark.parametrize("precision", LAYERS)
@pytest.mark.parametrize("shape", [(1,), (2, 5), (3, 4, 7)])
def test_layers_are_near_those_of_single_precision(precision: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, rows = nn.Linear(64, 96), torch.randn(*shape, 64) * torch.logspace(-4, 4, shape[-1])[:, None]
    with torch.no_grad():
        layer.bias *= 0
        exact, found = layer(rows), LAYERS[precision](layer)(rows)
    assert found.dtype == torch.float32 and found.shape == exact.shape and not found.requires_grad
    error = (found - exact).norm(dim=-1) / exact.norm(dim=-1)
    assert 0 < error.max() < ERRORS[precision], "small rows are as precise as large ones"


@pytest.mark.parametrize("precision", LAYERS)
def test_a_row_does_not_depend_on_its_company(precision: str) -> None:
    torch.manual_seed(0)
    layer, rows = LAYERS[precision](nn.Linear(64, 96)), torch.randn(300, 64)
    company = rows * 1000
    company[7] = rows[7]
    torch.testing.assert_close(layer(rows)[7], layer(company)[7], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer(torch.zeros(2, 64)), layer.bias.float().expand(2, -1))


def test_linear_layers_alone_are_replaced() -> None:
    model = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)), nn.Embedding(3, 8), nn.Linear(8, 2)])
    lower_precision(model, "float32")
    assert not any(isinstance(module, tuple(LAYERS.values())) for module in model.modules())
    lower_precision(model, "int8")
    assert [type(module).__name__ for module in model[0]] == ["Int8Linear", "LayerNorm"]
    assert [type(module).__name__ for module in model[1:]] == ["Embedding", "Int8Linear"]
    assert model[2].weight.dtype == torch.int8 and not list(model[2].parameters())


@pytest.mark.parametrize("precision", LAYERS)
def test_a_machine_that_gains_nothing_says_so(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True})
    check_precision("float32", CPU)
    with pytest.raises(UserError, match=f"--precision {precision}: this processor"):
        check_precision(precision, CPU)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_vnni": True, "amx_bf16": True})
    check_precision(precision, CPU)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match=f"--precision {precision}: this GPU"):
        check_precision(precision, torch.device("cuda"))
