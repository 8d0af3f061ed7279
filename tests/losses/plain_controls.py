"""Plain fp64 formulas of surrogates and controls, written from their papers for single columns [N].

Nothing of entropylab is used but the numbers of a setting. Gradients are autograd's.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch


def columns(tokens):
    """The valid tokens as columns [N]: l, old, a, entropy, ref, and their (row, position)."""
    mask = tokens.mask.bool()
    a = tokens.advantages
    a = a.unsqueeze(1).expand(mask.shape) if a.dim() == 1 else a
    return SimpleNamespace(
        l=tokens.logprobs[mask],
        old=tokens.old_logprobs[mask],
        a=a[mask],
        entropy=tokens.entropy[mask],
        ref=tokens.ref_logprobs[mask],
        places=[(int(b), int(t)) for b, t in mask.nonzero()],
    )


# --- surrogates: (loss [N], clipped [N])


def _gspo(setting, l, old, a, rows):
    ratio = torch.empty_like(l)
    for row in rows.unique():
        there = rows == row
        s = torch.exp((l[there] - old[there]).detach().mean())
        ratio[there] = s * torch.exp(l[there] - l[there].detach())
    first, second = -a * ratio, -a * torch.clamp(ratio, 1 - setting.low, 1 + setting.high)
    return torch.maximum(first, second), second > first


def _cispo(setting, l, old, a, rows):
    ratio = torch.exp(l - old).detach()
    weight = torch.clamp(ratio, 1 - setting.low, 1 + setting.high)
    return -weight * a * l, weight != ratio


def _gppo(setting, l, old, a, rows):
    ratio = torch.exp(l - old)
    loss, clipped = [], []
    for r, advantage in zip(ratio, a, strict=True):
        bound = None
        if r.item() > 1 + setting.high and float(advantage) > 0:
            bound = setting.beta_high * (1 + setting.high)
        elif r.item() < 1 - setting.low and float(advantage) < 0:
            bound = setting.beta_low * (1 - setting.low)
        loss.append(-advantage * r if bound is None else -advantage * bound * r / r.detach())
        clipped.append(bound is not None)
    return torch.stack(loss), torch.tensor(clipped)


def _bapo(setting, l, old, a, rows):
    ratio = torch.exp(l - old)
    low, high = setting.lower_start, setting.upper_start

    def enough():
        r, positive = ratio.detach(), a > 0
        up = (a * r.clamp(max=high))[positive].sum()
        down = -(a * r.clamp(min=low))[~positive].sum()
        return bool(up / down >= setting.target)

    while not enough() and low < setting.lower_stop - 1e-12:
        low = min(low + setting.lower_step, setting.lower_stop)
    while not enough() and high < setting.upper_stop - 1e-12:
        high = min(high + setting.upper_step, setting.upper_stop)
    first, second = -a * ratio, -a * torch.clamp(ratio, low, high)
    return torch.maximum(first, second), second > first


SURROGATES = {"GSPO": _gspo, "CISPO": _cispo, "GPPO": _gppo, "BAPO": _bapo}


# --- controls: the loss [N] changed


def _adaptive_entropy(setting, loss, x):
    return loss - (setting.coef if setting.active else 0.0) * x.entropy


def forks(setting, x):
    """Indices of the forking tokens."""
    if setting.threshold is not None:
        return [i for i, h in enumerate(x.entropy) if float(h) >= setting.threshold]
    order = sorted(range(len(x.places)), key=lambda i: (-x.entropy[i].item(), x.places[i]))
    return order[: max(1, math.floor(setting.fraction * len(order)))]


def _forking_tokens(setting, loss, x):
    kept = torch.zeros_like(loss)
    kept[forks(setting, x)] = 1.0
    return loss * kept


def _entropy_advantage(setting, loss, x):
    entropy = x.entropy.detach()
    shaped = x.a + torch.minimum(setting.alpha * entropy, x.a.abs() / setting.kappa)
    return loss / x.a * shaped


def _steer(setting, loss, x):
    p, p_old, entropy = x.l.detach().exp(), x.old.exp(), x.entropy.detach()
    change = (x.a / p_old * p * (1 - p) * (p.log() + entropy)).abs()
    largest = setting.scale if setting.scale is not None else float(change.max())
    rate = -math.log(setting.least) / max(largest, setting.floor)
    return loss * torch.clamp(torch.exp(-rate * change), min=setting.least)


def _sample_weight(setting, loss, x):
    weights = [setting.positive if float(a) > 0 else setting.negative for a in x.a]
    return torch.tensor(weights, dtype=torch.float64) * loss


def _entropic(setting, loss, x):
    likely = x.l.detach().exp() > setting.threshold
    return loss - setting.alpha * torch.exp(x.l - x.old) * x.a.abs() * likely


def protected(setting, x):
    """Indices of the tokens that Lp-Reg protects."""
    punished = [i for i, a in enumerate(x.a) if float(a) < 0]
    if setting.max_logprob is None:
        punished.sort(key=lambda i: (float(x.l[i].detach()), x.places[i]))
        unlikely = punished[: max(1, math.floor(setting.fraction * len(punished)))]
    else:
        unlikely = [i for i in punished if float(x.l[i]) <= setting.max_logprob]
    return [i for i in unlikely if float(x.l[i]) < float(x.ref[i])]


def _lp_reg(setting, loss, x):
    gap = x.ref - x.l
    regular = -x.a * torch.exp(x.l - x.old) + setting.beta * (torch.exp(gap) - gap - 1)
    there = torch.zeros_like(loss, dtype=torch.bool)
    there[protected(setting, x)] = True
    return torch.where(there, regular, loss)


CONTROLS = {
    "AdaptiveEntropyBonus": _adaptive_entropy,
    "ForkingTokens": _forking_tokens,
    "EntropyAdvantage": _entropy_advantage,
    "STEER": _steer,
    "SampleWeight": _sample_weight,
    "EntroPIC": _entropic,
    "LpReg": _lp_reg,
}
