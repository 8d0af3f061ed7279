"""Which row kernels are chosen, and what is said where Triton is missing."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch

from entropylab.errors import InvalidInputError
from entropylab.losses.heads import row_kernels as choice, torch_rows
from entropylab.losses.heads.head import HeadSettings, make_head
from entropylab.losses.heads.statistics import token_stats

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TRITON_ROWS = "entropylab.losses.heads.triton_rows"


def a_head(dtype=torch.float32):
    return make_head(torch.zeros(1, 2, dtype=dtype), torch.zeros(3, 2, dtype=dtype), None, HeadSettings())


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, TRITON_ROWS, raising=False)
    monkeypatch.delattr("entropylab.losses.heads.triton_rows", raising=False)
    choice._triton_rows.cache_clear()
    yield
    choice._triton_rows.cache_clear()


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    monkeypatch.delenv(choice.VARIABLE, raising=False)


def test_cpu_tensors_never_load_triton(without_triton):
    assert choice.row_kernels(a_head(), CPU) is torch_rows
    token_stats(torch.zeros(2, 3, 4), torch.zeros(5, 4), torch.zeros(2, 3, dtype=torch.int64))
    assert TRITON_ROWS not in sys.modules


def test_without_triton_one_warning_says_what_to_install(without_triton):
    with pytest.warns(UserWarning, match="pip install triton"):
        assert choice.row_kernels(a_head(), CUDA) is torch_rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choice.row_kernels(a_head(), CUDA) is torch_rows


def test_fp64_goes_by_torch(without_triton, monkeypatch):
    assert choice.row_kernels(a_head(torch.float64), CUDA) is torch_rows
    monkeypatch.setenv(choice.VARIABLE, "triton")
    assert choice.row_kernels(a_head(torch.float64), CPU) is torch_rows


def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv(choice.VARIABLE, "torch")
    assert choice.row_kernels(a_head(), CUDA) is torch_rows
    monkeypatch.setenv(choice.VARIABLE, "cuda")
    with pytest.raises(InvalidInputError, match="none of 'torch'"):
        choice.row_kernels(a_head(), CUDA)


def test_triton_takes_fp32_on_cuda():
    triton_rows = pytest.importorskip(TRITON_ROWS)
    assert choice.row_kernels(a_head(), CUDA) is triton_rows


def test_triton_takes_one_matrix():
    triton_rows = pytest.importorskip(TRITON_ROWS)
    (products,) = triton_rows.memory(a_head(), 5, CPU)
    assert products.shape == (5, 3)
    assert products.dtype == torch.float32
