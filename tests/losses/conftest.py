"""Token batches, and the plain fp64 formulas that the losses are held against."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import sys
from types import ModuleType, SimpleNamespace

import plain_controls
import pytest
import torch
from rank_process import run_rank
from torch.utils._python_dispatch import TorchDispatchMode

from entropylab.losses import advice
from entropylab.losses.controls.adaptive_entropy import AdaptiveEntropyBonus
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropic import EntroPIC
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.forking_tokens import ForkingTokens
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.kl_penalty import KLPenalty
from entropylab.losses.controls.lp_reg import LpReg
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.controls.sample_weight import SampleWeight
from entropylab.losses.controls.steer import STEER
from entropylab.losses.heads.full_kl import FullKL
from entropylab.losses.interfaces import SelectingControl
from entropylab.losses.methods import METHODS, Method
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import BAPO, GPPO, PPOClip

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fresh_advice():
    advice.forget_advice()


def _make_tokens(rows=8, length=64, *, seed=0, dtype=torch.float64, vocabulary=5, drift=0.3):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    lengths = torch.randint(length // 3, length + 1, (rows, 1), generator=g)
    old = -torch.rand(rows, length, generator=g, dtype=torch.float64).mul(3).square()
    tokens = SimpleNamespace(
        logprobs=old + drift * normal(rows, length),
        old_logprobs=old,
        advantages=1.5 * normal(rows, length),
        mask=torch.arange(length).unsqueeze(0) < lengths,
        entropy=normal(rows, length).abs(),
        ref_logprobs=old + drift * normal(rows, length),
        logits=normal(rows, length, vocabulary),
        ref_logits=normal(rows, length, vocabulary),
    )
    for name in ("logprobs", "old_logprobs", "advantages", "entropy", "ref_logprobs", "logits", "ref_logits"):
        setattr(tokens, name, getattr(tokens, name).to(dtype))
    for name in ("logprobs", "entropy", "logits"):
        getattr(tokens, name).requires_grad_()
    return tokens


@pytest.fixture
def make_tokens():
    """A factory of random batches; logprobs, entropy and logits are leaves with gradient."""
    return _make_tokens


def _positional(tokens):
    return tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask


def _optional(tokens, needs):
    given = {}
    if "entropy" in needs:
        given["entropy"] = tokens.entropy
    if "ref_logprobs" in needs:
        given["ref_logprobs"] = tokens.ref_logprobs
    if "full_kl" in needs:
        given["full_kl"] = FullKL.from_logits(tokens.logits, tokens.ref_logits)
    return given


def _needs(control):
    controls = control if isinstance(control, (list, tuple)) else [control]
    return {name for one in controls if one is not None for name in one.needs}


@pytest.fixture
def inputs():
    """(positional, keyword) arguments of policy_loss for a batch and the control it is for."""
    return lambda tokens, control: (_positional(tokens), _optional(tokens, _needs(control)))


def _wider(method):
    """The same row with many tokens chosen."""
    return dataclasses.replace(
        method, key=method.key + "_wide", control=dataclasses.replace(method.control, fraction=0.04)
    )


def _row(key, control):
    return Method(key, PPOClip(), control, "a form beside the table", "One more form.")


ROWS = [
    *METHODS.values(),
    *(_wider(m) for m in METHODS.values() if hasattr(m.control, "fraction")),
    *(_row(f"kl_penalty_{name}", KLPenalty(0.1, name)) for name in ("k1", "abs_logratio", "forward_kl")),
    _row("kl_cov_k1", KLCov(fraction=0.04, divergence="k1", reference="ref", covariance_on="old")),
    _row("kl_cov_k3_mean", KLCov(count=30, divergence="k3", weight="selected_mean", dead_zone=0.01)),
    _row("kl_cov_forward", KLCov(count=30, divergence="forward_kl")),
    _row("random_detach", RandomClip(fraction=0.04, action="detach")),
    _row("adaptive_entropy_on", AdaptiveEntropyBonus(most=1.0, coef=0.1)),
    _row("entropic_low", EntroPIC(threshold=0.5, alpha=-0.4)),
    _row("entropic_high", EntroPIC(threshold=0.5, alpha=0.7)),
    _row("forking_threshold", ForkingTokens(threshold=0.8)),
    _row("lp_reg_threshold", LpReg(max_logprob=-2.0, beta=0.3)),
    _row("steer_scale", STEER(least=0.3, scale=4.0)),
    _row("w_grpo", SampleWeight(positive=0.0, negative=2.0)),
    dataclasses.replace(METHODS["bapo"], key="bapo_far", surrogate=BAPO(target=9.0)),
    dataclasses.replace(METHODS["bapo"], key="bapo_middle", surrogate=BAPO(target=1.25)),
    dataclasses.replace(METHODS["gppo"], key="gppo_uneven", surrogate=GPPO(0.1, 0.1, 0.0, 1.7)),
]
"""The table, its selecting rows with many chosen tokens, and forms that no row has."""


@pytest.fixture(params=ROWS, ids=lambda row: row.key)
def method(request):
    """Each row of the table in turn, and some forms beside it."""
    return request.param


@pytest.fixture(
    params=[row for row in ROWS if isinstance(row.control, SelectingControl)], ids=lambda row: row.key
)
def selecting_method(request):
    """The rows whose control chooses tokens."""
    return request.param


ADDING = (AdaptiveEntropyBonus, EntroPIC, EntropyBonus, KLCov, KLPenalty, LpReg)
"""Controls with a gradient of their own beside the policy gradient."""


@pytest.fixture(params=[row for row in ROWS if not isinstance(row.control, ADDING)], ids=lambda row: row.key)
def weighing_method(request):
    """The rows that change the policy gradient of a token by a factor alone."""
    return request.param


@pytest.fixture
def run_method(inputs):
    """Call policy_loss as a row says."""

    def call(tokens, method, **keywords):
        positional, optional = inputs(tokens, method.control)
        keywords = {"surrogate": method.surrogate, "control": method.control, **optional, **keywords}
        return policy_loss(*positional, **keywords)

    return call


@pytest.fixture
def cast():
    """A copy of a batch in another dtype, with fresh leaves."""

    def call(tokens, dtype):
        out = type(tokens)(**vars(tokens))
        for name, value in vars(tokens).items():
            if value.is_floating_point():
                value = value.detach().to(dtype, copy=True).requires_grad_(value.requires_grad)
            setattr(out, name, value)
        return out

    return call


@pytest.fixture(scope="session")
def start_ranks():
    """Run a function on the jobs of each rank of a gloo group, in real processes; gives the results of each.

    The processes are forked from one that has loaded torch and nothing else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed.fsdp", "entropylab.losses.heads.fused_loss"])

    def run(of_job, folder, jobs):
        for rank, mine in enumerate(jobs):
            torch.save(mine, folder / f"jobs-{rank}.pt")
        ranks = [
            context.Process(target=run_rank, args=(of_job, folder, rank, len(jobs)), daemon=True)
            for rank in range(len(jobs))
        ]
        with pytest.MonkeyPatch.context() as patch:  # a dashboard's script may be there, to be run by each
            patch.setitem(sys.modules, "__main__", ModuleType("__main__"))
            for one in ranks:
                one.start()
        for one in ranks:
            one.join(timeout=300)
        errors = [path.read_text() for path in folder.glob("error-*.txt")]
        assert [one.exitcode for one in ranks] == [0] * len(jobs), errors
        return [torch.load(folder / f"results-{rank}.pt", weights_only=False) for rank in range(len(jobs))]

    return run


class _NoHostSync(TorchDispatchMode):
    """Fails where an operation would wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        for word in (
            "_local_scalar_dense",
            "nonzero",
            "item",
            "masked_select",
            "unique",
            "is_nonzero",
            "equal.",
        ):
            assert word not in name, f"{name} waits for the device"
        if "index" in name:
            indices = [x for arg in args if isinstance(arg, (list, tuple)) for x in arg]
            masks = [x for x in indices if isinstance(x, torch.Tensor) and x.dtype == torch.bool]
            assert not masks, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_host_sync():
    """A context in which an operation that waits for the device fails."""
    return _NoHostSync


# --- the plain formulas: boolean indexing, autograd and Python loops; nothing of entropylab but its settings


def plain_covariance(logprobs, advantages, mask):
    advantages = _full(advantages, mask)
    l, a = logprobs.detach().double()[mask], advantages.double()[mask]
    out = torch.full(mask.shape, math.nan, dtype=torch.float64)
    out[mask] = (l - l.mean()) * (a - a.mean())
    return out


def _full(advantages, mask):
    return advantages.unsqueeze(1).expand(mask.shape) if advantages.dim() == 1 else advantages


def plain_ranking(covariance, mask, sample_ids):
    """Valid tokens as (row, position), covariance descending, then (sample_id, position) ascending."""
    places = [(int(b), int(t)) for b, t in mask.nonzero()]
    return sorted(places, key=lambda p: (-float(covariance[p]), int(sample_ids[p[0]]), p[1]))


def plain_chosen(control, tokens, sample_ids=None):
    """Tokens of the highest covariance (not for random draws) as bool [B, T]."""
    mask = tokens.mask.bool()
    ids = torch.arange(len(mask)) if sample_ids is None else sample_ids
    logprobs = tokens.logprobs if control.covariance_on == "current" else tokens.old_logprobs
    covariance = plain_covariance(logprobs, tokens.advantages, mask)
    n = int(mask.sum())
    count = getattr(control, "count", None) or max(control.minimum, math.floor(control.fraction * n))
    chosen = torch.zeros_like(mask)
    for place in plain_ranking(covariance, mask, ids)[: min(count, n)]:
        chosen[place] = True
    return chosen


def plain_token_loss(surrogate, tokens):
    mask = tokens.mask.bool()
    l, old = tokens.logprobs[mask], tokens.old_logprobs[mask]
    a, ratio = _full(tokens.advantages, mask)[mask], torch.exp(l - old)
    kind = type(surrogate).__name__
    if kind == "REINFORCE":
        return -a * l, torch.zeros_like(l, dtype=torch.bool)
    if kind == "ImportanceSampling":
        return -a * ratio, torch.zeros_like(l, dtype=torch.bool)
    if kind in plain_controls.SURROGATES:
        rows = mask.nonzero()[:, 0]
        return plain_controls.SURROGATES[kind](surrogate, l, old, a, rows)
    first, second = -a * ratio, -a * torch.clamp(ratio, 1 - surrogate.low, 1 + surrogate.high)
    return torch.maximum(first, second), second > first


def plain_full_kl(logits, ref_logits, direction):
    p, q = torch.log_softmax(logits, -1), torch.log_softmax(ref_logits, -1)
    return (p.exp() * (p - q)).sum(-1) if direction == "reverse_kl" else (q.exp() * (q - p)).sum(-1)


def plain_divergence(name, tokens, reference, dead_zone=0.0):
    """[N] over the valid tokens."""
    mask = tokens.mask.bool()
    if name in ("reverse_kl", "forward_kl"):
        return plain_full_kl(tokens.logits[mask], tokens.ref_logits[mask], name)
    other = tokens.old_logprobs if reference == "old" else tokens.ref_logprobs
    d = tokens.logprobs[mask] - other[mask]
    d = torch.where(d.detach().abs() < dead_zone, torch.zeros_like(d), d)
    return {
        "abs_logratio": d.abs(),
        "k1": d,
        "k2": d**2 / 2,
        "k3": torch.exp(-d) - 1 + d,
    }[name]


def plain_reduce(per_token, mask, reduction, denominator):
    rows = mask.nonzero()[:, 0]
    if reduction in ("token_mean", "token_sum"):
        return per_token.sum() / (denominator or len(per_token))
    sums = [per_token[rows == b] for b in range(len(mask)) if bool(mask[b].any())]
    sums = [x.mean() if reduction == "seq_mean_token_mean" else x.sum() for x in sums]
    return torch.stack(sums).sum() / (denominator or len(sums))


def plain_loss(tokens, surrogate, control, chosen, *, reduction="token_mean", denominator=None):
    """The loss, for tokens already chosen (bool [B, T])."""
    mask = tokens.mask.bool()
    loss, _ = plain_token_loss(surrogate, tokens)
    extra = 0.0
    kind = type(control).__name__
    if kind in plain_controls.CONTROLS:
        loss = plain_controls.CONTROLS[kind](control, loss, plain_controls.columns(tokens))
    elif isinstance(control, (ClipCov, RandomClip)):
        there = chosen[mask]
        loss = torch.where(there, 0.0 if control.action == "zero" else loss.detach(), loss)
    elif kind == "EntropyBonus":
        loss = loss - control.coef * tokens.entropy[mask]
    elif kind == "KLPenalty":
        loss = loss + control.coef * plain_divergence(control.divergence, tokens, "ref")
    elif isinstance(control, KLCov):
        there = chosen[mask].double()
        penalty = plain_divergence(control.divergence, tokens, control.reference, control.dead_zone) * there
        if control.weight == "token_mean":
            loss = loss + control.beta * penalty
        else:
            extra = control.beta * penalty.sum() / there.sum()
    return plain_reduce(loss, mask, reduction, denominator) + extra


def plain_clipped(method, tokens):
    """Where the ratio clip acts, [N]."""
    _, clipped = plain_token_loss(method.surrogate, tokens)
    if isinstance(method.control, LpReg):
        clipped[plain_controls.protected(method.control, plain_controls.columns(tokens))] = False
    return clipped


def plain_candidates(control, covariance, clipped):
    """How many of the tokens [N] a control may choose."""
    if isinstance(control, RandomClip):
        return (~clipped).sum()
    if isinstance(control, ClipCov) and control.select == "band":
        return ((covariance > control.low) & (covariance < control.high) & ~clipped).sum()
    return len(covariance)


def plain_gradients(tokens, loss):
    leaves = (tokens.logprobs, tokens.entropy, tokens.logits)
    grads = torch.autograd.grad(loss, leaves, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)]


@pytest.fixture
def plain():
    """The plain formulas."""
    return SimpleNamespace(
        covariance=plain_covariance,
        ranking=plain_ranking,
        chosen=plain_chosen,
        token_loss=plain_token_loss,
        clipped=plain_clipped,
        candidates=plain_candidates,
        full_kl=plain_full_kl,
        loss=plain_loss,
        gradients=plain_gradients,
        is_random=lambda control: (
            type(control).__name__ == "RandomClip"
            or (isinstance(control, ClipCov) and control.select == "band")
        ),
    )
