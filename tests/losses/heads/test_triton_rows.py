"""The Triton kernels against fp64 formulas, and the losses through them against the pure path.

On a GPU, or in Triton's interpreter on CPU tensors where TRITON_INTERPRET=1 (see test_triton_interpreter.py).
"""

from __future__ import annotations

import itertools
import os

import pytest
import torch

from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.heads.fused_loss import fused_policy_loss
from entropylab.losses.heads.head import HeadSettings, make_head
from entropylab.losses.heads.linear_op import linear_logprob_entropy
from entropylab.losses.heads.row_kernels import VARIABLE
from entropylab.losses.heads.rows import RowSlopes, stats_of
from entropylab.losses.heads.statistics import token_stats
from entropylab.losses.heads.vocab_shard import VocabShard

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = (
    []
    if INTERPRETED
    else [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
)
pytest.importorskip("triton", reason="needs triton")
triton_rows = pytest.importorskip("entropylab.losses.heads.triton_rows")

SIZES = (7, 128, 1000, 4097, 32_768)
HEADS = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "cap": {"softcap": 5.0},
    "all": {"temperature": 1.3, "softcap": 8.0, "biased": True},
}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
GRADIENTS = [*itertools.product(SIZES, DTYPES[:2]), (4097, torch.float16)]
INF = float("inf")


class Rows:
    """Rows of products W x [n, V] as the kernels find them, and the fp64 formulas of their logits."""

    def __init__(self, monkeypatch, products, *, dtype=torch.float32, biased=False, **settings):
        n, size = products.shape
        g = torch.Generator().manual_seed(size)
        weight = torch.zeros(size, 1, dtype=dtype, device=DEVICE)
        bias = torch.randn(size, generator=g).to(DEVICE) if biased else None
        self.states = torch.zeros(n, 1, dtype=dtype, device=DEVICE)
        self.head = make_head(self.states, weight, bias, HeadSettings(**settings))
        if DEVICE == "cpu":
            object.__setattr__(self.head, "weight", weight)
        self.products = products.to(DEVICE)
        self.memory = triton_rows.memory(self.head, n, self.states.device)
        self.targets = torch.randint(size, (n,), generator=g).to(DEVICE)
        monkeypatch.setattr(triton_rows, "multiply_", lambda out, *_: out.copy_(self.products))

    def fold(self, **asked):
        return triton_rows.fold_(self.head, self.memory, self.states, self.targets, **asked)

    def plain_logits(self, products):
        x = products if self.head.bias is None else products + self.head.bias.double()
        cap = self.head.softcap
        return (x if cap is None else cap * torch.tanh(x / cap)) / self.head.temperature

    def plain(self, products=None):
        """log p of the targets (less z where another shard has it), H and Var log p, in fp64."""
        z = self.plain_logits(self.products.double() if products is None else products)
        log_p = torch.log_softmax(z, 1)
        p, known = log_p.exp(), log_p.masked_fill(log_p == -INF, 0.0)
        entropy = -(p * known).sum(1)
        variance = (p * (known + entropy.unsqueeze(1)) ** 2).sum(1)
        at = log_p.gather(1, self.targets.clamp(min=0).unsqueeze(1)).squeeze(1)
        at = torch.where(self.targets >= 0, at, -torch.logsumexp(z, 1))
        return at, entropy, variance

    def slopes(self, entropy, by_logprob, by_entropy):
        return RowSlopes(self.targets, entropy, by_logprob, by_entropy)

    def gradient(self, by_logprob, by_entropy):
        folded = self.fold()
        slopes = self.slopes(stats_of(folded).entropy, by_logprob, by_entropy)
        log_total = folded.total.log()
        return triton_rows.gradient_(self.head, self.memory, folded.peak, log_total, slopes).by_logits

    def plain_gradient(self, by_logprob, by_entropy):
        leaf = self.products.double().requires_grad_()
        at, entropy, _ = self.plain(leaf)
        total = (at * by_logprob.double()).sum()
        if by_entropy is not None:
            total = total + (entropy * by_entropy.double()).sum()
        return torch.autograd.grad(total, leaf)[0]


@pytest.fixture
def rows(monkeypatch):
    return lambda products, **settings: Rows(monkeypatch, products, **settings)


def normal(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def near(found, expected, rtol=2e-6, atol=2e-6):
    torch.testing.assert_close(found.double(), expected, rtol=rtol, atol=atol)


def check_values(made, **tolerance):
    folded = made.fold(top=True, second=True)
    stats, (at, entropy, variance) = stats_of(folded), made.plain()
    z = made.plain_logits(made.products.double())
    near(stats.logprobs, at, **tolerance)
    near(stats.entropy, entropy, **tolerance)
    near(stats.varentropy, variance, rtol=1e-5, atol=2e-5)
    near(stats.logsumexp, torch.logsumexp(z, 1), rtol=2e-6, atol=2e-6)
    near(folded.peak, z.amax(1), atol=1e-6)
    near(z.gather(1, stats.top_token.unsqueeze(1)).squeeze(1), z.amax(1), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", HEADS)
def test_values(rows, size, kind):
    check_values(rows(normal(4, size), **HEADS[kind]))


def extremes(size):
    """Rows [9, V] at which sums overflow, vanish or lose digits."""
    base = normal(9, size, seed=3)
    base[0, ::3] = -INF
    base[1] = 4.25
    base[2, size - 1] = 80.0
    base[3] = torch.where(torch.arange(size) % 2 == 0, 80.0, -80.0)
    base[4] = -3e4 + normal(size, seed=4)
    base[5, : size - 2] = -INF
    base[6] = torch.linspace(-80.0, 80.0, size)
    base[7] = torch.linspace(80.0, -80.0, size)
    base[8] = -80.0
    base[8, 0] = -1.0
    return base


@pytest.mark.parametrize("size", [7, 4097, 9000])
@pytest.mark.parametrize("asked", [{"top": False, "second": False}, {"top": True, "second": True}])
def test_values_at_extremes(rows, size, asked):
    made = rows(extremes(size))
    made.targets = made.products.argmax(1)
    stats, (at, entropy, variance) = stats_of(made.fold(**asked)), made.plain()
    near(stats.logprobs, at, atol=4e-6)
    near(stats.entropy, entropy, atol=4e-6)
    if asked["second"]:
        near(stats.varentropy, variance, rtol=1e-5, atol=2e-5)
        top = made.products.gather(1, stats.top_token.unsqueeze(1)).squeeze(1)
        assert torch.equal(top, made.products.amax(1))


def test_a_certain_token_has_no_positive_logprob(rows):
    products = normal(6, 5000)
    products[:, 4321] = 90.0
    made = rows(products, temperature=0.7)
    made.targets[:] = 4321
    stats = stats_of(made.fold())
    assert (stats.logprobs <= 0).all()
    assert (stats.entropy >= 0).all()


@pytest.mark.parametrize("bad", [float("nan"), INF])
def test_what_is_no_number_stays_so(rows, bad):
    products = normal(3, 5000)
    products[1, 4500] = bad
    made = rows(products)
    stats = stats_of(made.fold(top=True, second=True))
    for values in (stats.logprobs, stats.entropy, stats.varentropy):
        assert values.isnan().tolist() == [False, True, False]


def test_a_row_without_any_token_is_no_number(rows):
    stats = stats_of(rows(torch.full((2, 5000), -INF)).fold())
    assert stats.logprobs.isnan().all()
    assert stats.entropy.isnan().all()


def test_a_token_elsewhere_counts_nothing(rows):
    made = rows(normal(3, 1000))
    made.targets[1] = -1
    assert made.fold().target[1] == 0


def weights_of(n, seed=7):
    return normal(n, seed=seed, scale=1.0).to(DEVICE), normal(n, seed=seed + 1, scale=1.0).to(DEVICE)


ROUNDING = {torch.float32: 3e-6, torch.bfloat16: 8e-3 if INTERPRETED else 4e-3, torch.float16: 1e-3}
"""The interpreter cuts bf16 off instead of rounding it."""


@pytest.mark.parametrize(("size", "dtype"), GRADIENTS, ids=str)
@pytest.mark.parametrize("kind", HEADS)
def test_gradient(rows, kind, size, dtype):
    made = rows(normal(4, size), dtype=dtype, **HEADS[kind])
    made.targets[2] = -1
    g, h = weights_of(4)
    for by_entropy in (None, h):
        found = made.gradient(g, by_entropy)
        assert found.dtype == dtype
        assert found.data_ptr() == made.memory[0].data_ptr()
        expected = made.plain_gradient(g, by_entropy)
        near(found, expected, rtol=ROUNDING[dtype], atol=2e-6 if dtype == torch.float32 else 1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradient_at_extremes(rows, dtype):
    made = rows(extremes(9000), dtype=dtype)
    g, h = weights_of(9)
    expected = made.plain(), made.plain_gradient(g, None)
    near(made.gradient(g, None), expected[1], rtol=ROUNDING[dtype], atol=1e-5)
    p = torch.softmax(made.products.double(), 1)
    log_p = torch.where(p > 0, p.log(), 0.0)
    spread = -p * (log_p + expected[0][1].unsqueeze(1)) * h.double().unsqueeze(1)
    near(made.gradient(g, h), expected[1] + spread, rtol=ROUNDING[dtype], atol=2e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", HEADS)
def test_rows_without_gradient_are_zeros_whatever_they_hold(rows, kind, dtype):
    products = normal(6, 5000)
    products[1], products[2], products[4, 17] = float("nan"), INF, -INF
    made = rows(products, dtype=dtype, **HEADS[kind])
    g, h = weights_of(6)
    g[[1, 2, 4]] = h[[1, 2, 4]] = 0.0
    found = made.gradient(g, h)
    assert torch.equal(found[[1, 2, 4]], torch.zeros_like(found[[1, 2, 4]]))
    good = [0, 3, 5]
    alone = rows(products[good], dtype=dtype, **HEADS[kind])
    alone.targets = made.targets[good]
    assert torch.equal(found[good], alone.gradient(g[good], h[good]))


def test_an_active_row_that_is_no_number_stays_so(rows):
    products = normal(2, 5000)
    products[1, 3] = float("nan")
    found = rows(products).gradient(*weights_of(2))
    assert found.isnan().any(1).tolist() == [False, True]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["plain", "temperature"])
def test_kept_exponentials(rows, kind, dtype):
    made = rows(normal(4, 5000), dtype=dtype, **HEADS[kind])
    folded = made.fold()
    stats = stats_of(folded)
    kept = torch.empty(4, 5000, dtype=dtype, device=DEVICE)
    triton_rows.write_exponentials(made.head, made.memory, kept, folded.peak)
    z = made.plain_logits(made.products.double())
    near(kept, (z - z.amax(1, keepdim=True)).exp(), rtol=ROUNDING[dtype], atol=1e-7)
    log_total = folded.total.log()
    g, h = weights_of(4)
    g[3] = h[3] = 0.0
    slopes = made.slopes(stats.entropy, g, h)
    found = triton_rows.gradient_of_kept(made.head, kept, log_total, slopes).by_logits
    p = kept.double() * (-log_total.double()).exp().unsqueeze(1)
    g, h = g.double().unsqueeze(1), h.double().unsqueeze(1)
    expected = -g * p - h * (torch.xlogy(p, p) + p * stats.entropy.double().unsqueeze(1))
    expected.scatter_add_(1, made.targets.unsqueeze(1), g)
    assert found.dtype == dtype
    assert not found[3].any()
    near(found, expected / made.head.temperature, rtol=ROUNDING[dtype], atol=1e-6)


class _Together(VocabShard):
    """A shard whose ``group`` is a list in which every shard leaves its sums."""

    def _gathered(self, mine):
        self.group.append(mine)
        return torch.stack(self.group, dim=1)


def test_shards_of_the_vocabulary(rows):
    products = normal(5, 9000)
    cuts = [0, 128, 4300, 9000]
    whole = rows(products)
    expected = whole.fold(top=True, second=True)
    g, h = weights_of(5)
    gradient = whole.gradient(g, h).clone()
    held, parts = [], []
    for start, end in itertools.pairwise(cuts):
        part = rows(products[:, start:end].contiguous())
        shard = _Together(start, 9000, held)
        part.targets = shard.local(whole.targets, end - start)
        merged = shard.merged(part.fold(top=True, second=True), part.targets >= 0)
        parts.append((start, end, part.targets))
    for name in ("peak", "total", "moment", "target", "second"):
        torch.testing.assert_close(getattr(merged, name), getattr(expected, name), rtol=4e-6, atol=4e-6)
    assert torch.equal(merged.top_token, expected.top_token)
    stats = stats_of(merged)
    for start, end, targets in parts:
        part = rows(products[:, start:end].contiguous())
        part.targets = targets
        local = part.fold()
        slopes = part.slopes(stats.entropy, g, h)
        log_total = merged.total.log() + (merged.peak - local.peak)
        found = triton_rows.gradient_(part.head, part.memory, local.peak, log_total, slopes).by_logits
        torch.testing.assert_close(found, gradient[:, start:end], rtol=1e-5, atol=4e-6)


def test_every_run_gives_the_same_bits(rows):
    g, h = weights_of(4)
    one, other = (rows(normal(4, 9000)) for _ in range(2))
    for name in ("peak", "total", "moment", "target"):
        assert torch.equal(getattr(one.fold(), name), getattr(other.fold(), name))
    assert torch.equal(one.gradient(g, h), other.gradient(g, h))


def batch(dtype=torch.float32, size=300, width=24):
    """Hidden states, head and what ``policy_loss`` needs of 4 responses of 9 tokens."""
    g = torch.Generator().manual_seed(11)

    def draw(*shape):
        return torch.randn(*shape, generator=g)

    mask = torch.arange(9) < torch.tensor([[9], [4], [7], [1]])
    return {
        "hidden": draw(4, 9, width).to(DEVICE, dtype).requires_grad_(),
        "weight": (draw(size, width) / 2).to(DEVICE, dtype).requires_grad_(),
        "bias": draw(size).to(DEVICE, dtype).requires_grad_(),
        "tokens": torch.randint(size, (4, 9), generator=g).to(DEVICE),
        "old_logprobs": (-6 + draw(4, 9)).to(DEVICE),
        "advantages": draw(4, 9).to(DEVICE),
        "mask": mask.to(DEVICE),
    }


def by_both(monkeypatch, compute):
    """What ``compute`` gives through pure torch and through Triton."""
    out = []
    for name in ("torch", "triton"):
        monkeypatch.setenv(VARIABLE, name)
        out.append(compute(batch()))
    return out


CONTROLS = {
    "ppo": None,
    "entropy": EntropyBonus(0.1),
    "clip_cov": ClipCov(fraction=0.1, low=-9.0, high=9.0),
    "kl_cov": [KLCov(count=4), EntropyBonus(0.02)],
}


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.8, "softcap": 6.0}], ids=["plain", "all"])
@pytest.mark.parametrize("control", CONTROLS)
def test_the_fused_loss(monkeypatch, control, settings):
    def compute(x):
        out = fused_policy_loss(**x, control=CONTROLS[control], chunk_rows=7, **settings)
        out.loss.backward()
        return [out.loss.detach(), *(out.tokens[name] for name in ("logprobs", "entropy")), *leaves(x)]

    _same(*by_both(monkeypatch, compute))


@pytest.mark.parametrize("settings", [{}, {"softcap": 6.0}, {"cache_bytes": 1 << 20}], ids=str)
def test_the_differentiable_statistics(monkeypatch, settings):
    def compute(x):
        logprobs, entropy = linear_logprob_entropy(
            x["hidden"],
            x["weight"],
            x["tokens"],
            bias=x["bias"],
            mask=x["mask"],
            temperature=0.8,
            chunk_rows=7,
            **settings,
        )
        ((logprobs * x["advantages"]).sum() + entropy.sum()).backward()
        return [logprobs.detach(), entropy.detach(), *leaves(x)]

    _same(*by_both(monkeypatch, compute))


def test_the_statistics(monkeypatch):
    def compute(x):
        found = token_stats(
            x["hidden"], x["weight"], x["tokens"], bias=x["bias"], top=True, varentropy=True, chunk_rows=7
        )
        return list(vars(found).values())

    _same(*by_both(monkeypatch, compute))


def test_no_rows(monkeypatch):
    monkeypatch.setenv(VARIABLE, "triton")
    x = batch()
    found = token_stats(
        x["hidden"], x["weight"], x["tokens"], mask=torch.zeros_like(x["mask"]), top=True, varentropy=True
    )
    assert not any(values.any() for values in vars(found).values())


def leaves(x):
    return [x[name].grad for name in ("hidden", "weight", "bias")]


def _same(pure, through):
    for one, other in zip(pure, through, strict=True):
        torch.testing.assert_close(other, one, rtol=2e-5, atol=2e-6, equal_nan=True)
