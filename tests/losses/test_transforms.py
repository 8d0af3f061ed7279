"""Compiled, transformed, deterministic and by blocks: every row gives the same tokens, loss and gradient."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch

from entropylab.losses import blocks
from entropylab.losses.collective import select_tokens
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.target_clip_cov import TargetClipCov
from entropylab.losses.controls.target_kl_cov import TargetKLCov
from entropylab.losses.covariance import token_covariance
from entropylab.losses.interfaces import chooses_tokens
from entropylab.losses.methods import METHODS
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import ImportanceSampling

EVERY_ROW = pytest.mark.parametrize("row", METHODS.values(), ids=lambda row: row.key)
INDUCTOR = ("clip_cov", "kl_cov_targeted")
"""Rows that are compiled to machine code here; the others share their operations."""


def _operations(setting):
    """What of a row's surrogate or control decides its graph: class, names, and which numbers are zero.

    A control that follows a target changes between steps; in the loss it is what it inherits from.
    """
    if setting is None:
        return ()
    kind = {TargetClipCov: ClipCov, TargetKLCov: KLCov}.get(type(setting), type(setting))
    values = (getattr(setting, field.name) for field in dataclasses.fields(kind))
    return kind, *(v if isinstance(v, str | bool) else bool(v) for v in values)


GRAPHS = {}
"""The first row of each graph: the others differ from it in numbers alone."""
for _row in METHODS.values():
    GRAPHS.setdefault((_operations(_row.surrogate), _operations(_row.control)), _row)
COMPILER = shutil.which("g++") is not None


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(8, 150, seed=3, dtype=torch.float32)


@pytest.fixture
def loss_of(inputs, tokens):
    """For a row: a function from logprobs to what policy_loss returns."""

    def of(row):
        (_, *others), optional = inputs(tokens, row.control)
        settings = {"surrogate": row.surrogate, "control": row.control, **optional}

        def call(logprobs):
            validate = None if torch.compiler.is_compiling() else False
            return policy_loss(logprobs, *others, validate=validate, **settings)

        return call

    return of


def _outcome(call, tokens):
    leaf = tokens.logprobs.detach().clone().requires_grad_()
    out = call(leaf)
    out.loss.backward()
    return out, leaf.grad


def _same(first, second):
    (out, gradient), (other, other_gradient) = first, second
    assert torch.equal(out.tokens["selected"], other.tokens["selected"])
    torch.testing.assert_close(other.loss, out.loss, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-5, atol=1e-8)
    assert other.metrics.keys() == out.metrics.keys()
    for name, value in out.metrics.items():
        torch.testing.assert_close(other.metrics[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.quick("gspo")
@pytest.mark.slow
@pytest.mark.parametrize(
    "row",
    [row for row in GRAPHS.values() if not COMPILER or row.key not in INDUCTOR],
    ids=lambda row: row.key,
)
def test_one_graph(row, tokens, loss_of):
    torch._dynamo.reset()
    call = loss_of(row)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    _same(_outcome(call, tokens), _outcome(compiled, tokens))


@pytest.mark.quick("clip_cov")
@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("key", INDUCTOR)
def test_compiled(key, tokens, loss_of):
    torch._dynamo.reset()
    call = loss_of(METHODS[key])
    compiled = torch.compile(call, fullgraph=True)
    _same(_outcome(call, tokens), _outcome(compiled, tokens))


@EVERY_ROW
def test_torch_func_grad(row, tokens, loss_of):
    call = loss_of(row)
    _, gradient = _outcome(call, tokens)
    again = torch.func.grad(lambda logprobs: call(logprobs).loss)(tokens.logprobs.detach())
    torch.testing.assert_close(again, gradient, rtol=1e-6, atol=1e-9)


@EVERY_ROW
def test_a_second_derivative_is_an_error_and_never_a_wrong_number(row, tokens, run_method):
    out = run_method(tokens, row, validate=False)
    (gradient,) = torch.autograd.grad(out.loss**2, tokens.logprobs, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.sum(), tokens.logprobs)


@EVERY_ROW
def test_deterministic_algorithms(row, tokens, loss_of):
    call = loss_of(row)
    plain = _outcome(call, tokens)
    torch.use_deterministic_algorithms(True)
    try:
        first, second = _outcome(call, tokens), _outcome(call, tokens)
    finally:
        torch.use_deterministic_algorithms(False)
    for (out, gradient), (other, other_gradient) in ((first, second), (first, plain)):
        assert torch.equal(out.loss, other.loss)
        assert torch.equal(gradient, other_gradient)


@pytest.mark.parametrize("height", [1, 3, 5])
@EVERY_ROW
def test_blocks_change_nothing(row, tokens, loss_of, height, monkeypatch, no_host_sync):
    call = loss_of(row)
    out, gradient = _outcome(call, tokens)
    monkeypatch.setattr(blocks, "BLOCK_TOKENS", height * 150)
    with no_host_sync():
        other, other_gradient = _outcome(call, tokens)
    for name, value in out.tokens.items():
        torch.testing.assert_close(other.tokens[name], value, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(other.loss, out.loss, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(other_gradient, gradient, rtol=1e-6, atol=1e-9)
    if chooses_tokens(row.control):
        columns = (tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask)
        with no_host_sync():
            made = select_tokens(row.control, *columns, surrogate=row.surrogate, validate=False)
        assert torch.equal(made.mask(torch.arange(8), 150), out.tokens["selected"])


# --- precision


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("control", [KLCov(fraction=0.05), ClipCov(fraction=0.05, low=0.5)], ids=str)
def test_low_precision_inputs_choose_what_their_values_say(make_tokens, control, dtype):
    """The same tokens as the same values in fp64, but for ties that rounding the covariance makes."""
    tokens = make_tokens(8, 200, seed=2, dtype=dtype)
    columns = [tokens.logprobs.detach(), tokens.old_logprobs, tokens.advantages]
    shared = {"surrogate": ImportanceSampling(), "control": control}
    low = policy_loss(*columns, tokens.mask, **shared)
    high = policy_loss(*(x.double() for x in columns), tokens.mask, **shared)
    assert torch.equal(low.tokens["selected"], high.tokens["selected"])
    assert low.loss.dtype == torch.float32
    torch.testing.assert_close(low.loss.double(), high.loss, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("offset", [1e4, -1e4, 3e5])
def test_offsets_keep_their_digits(make_tokens, offset):
    tokens = make_tokens(8, 300, seed=5, dtype=torch.float32)
    logprobs, advantages = tokens.logprobs.detach() + offset, tokens.advantages + offset
    got = token_covariance(logprobs, advantages, tokens.mask)[tokens.mask].double()
    l, a = logprobs.double()[tokens.mask], advantages.double()[tokens.mask]
    expected = (l - l.mean()) * (a - a.mean())
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    selection = select_tokens(
        KLCov(count=50), logprobs, logprobs, advantages, tokens.mask, sample_ids=torch.arange(8)
    )
    top = expected.sort(descending=True).values[:50]
    assert float(selection.threshold) == pytest.approx(float(top[-1]), rel=1e-6)
