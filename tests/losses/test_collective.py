"""Choosing once on the whole batch: any split into micro-batches gives the same tokens, loss and gradient."""

from __future__ import annotations

import pytest
import torch

from entropylab.errors import InvalidInputError, MissingInputError
from entropylab.losses.collective import select_tokens
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.heads.full_kl import FullKL
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import ImportanceSampling

CONTROLS = [
    ClipCov(fraction=0.03, low=0.2, high=4.0),
    ClipCov(fraction=0.03, select="top", action="detach", covariance_on="old"),
    RandomClip(fraction=0.03),
    KLCov(fraction=0.03),
    KLCov(count=17, divergence="k3", weight="selected_mean", reference="ref"),
    KLCov(fraction=0.03, divergence="forward_kl"),
    KLCov.targeted(count=17),
]
SPLITS = [[12], [1] * 12, [5, 7], [3, 1, 8]]
IDS = torch.tensor([31, 4, 100, 7, 2**45, 6, -3, 77, 5, 12, 13, 60])


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(12, 50, seed=6)


def _part(tokens, rows, length=None):
    """Rows of a batch, cut to a length; gradients flow back to the whole."""
    part = type(tokens)(**vars(tokens))
    for name, value in vars(tokens).items():
        setattr(part, name, value[rows][:, :length])
    return part


def _columns(tokens):
    return tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask


def _needed(tokens, control):
    full = FullKL.from_logits(tokens.logits, tokens.ref_logits)
    every = {"entropy": tokens.entropy, "ref_logprobs": tokens.ref_logprobs, "full_kl": full}
    return {name: every[name] for name in control.needs}


def _split(tokens, sizes):
    """Micro-batches, shuffled rows, each cut to its longest response."""
    order = torch.randperm(12, generator=torch.Generator().manual_seed(len(sizes)))
    for rows in order.split(sizes):
        yield rows, _part(tokens, rows, int(tokens.mask[rows].sum(1).max()))


@pytest.mark.parametrize("sizes", SPLITS, ids=str)
@pytest.mark.parametrize("control", CONTROLS, ids=str)
@pytest.mark.parametrize("reduction", ["token_mean", "seq_mean_token_mean"])
def test_accumulation_equals_one_large_batch(tokens, plain, control, sizes, reduction):
    shared = {"seed": 3, "step": 8}
    whole = policy_loss(
        *_columns(tokens),
        control=control,
        **_needed(tokens, control),
        sample_ids=IDS,
        reduction=reduction,
        **shared,
    )
    pieces = list(_split(tokens, sizes))
    columns = zip(*(_columns(part) for _, part in pieces), strict=True)
    selection = select_tokens(
        control, *map(list, columns), sample_ids=[IDS[rows] for rows, _ in pieces], **shared
    )
    denominator = int(tokens.mask.sum()) if reduction == "token_mean" else 12
    total = 0.0
    for rows, part in pieces:
        out = policy_loss(
            *_columns(part),
            control=control,
            **_needed(part, control),
            sample_ids=IDS[rows],
            selection=selection,
            reduction=reduction,
            denominator=denominator,
        )
        length = part.mask.shape[1]
        assert torch.equal(out.tokens["selected"], whole.tokens["selected"][rows][:, :length])
        torch.testing.assert_close(
            out.tokens["covariance"], whole.tokens["covariance"][rows][:, :length], equal_nan=True
        )
        total = total + out.loss
    assert int(selection.count) == int(whole.tokens["selected"].sum()) > 1
    torch.testing.assert_close(total, whole.loss, rtol=1e-11, atol=1e-14)
    for mine, theirs in zip(plain.gradients(tokens, total), plain.gradients(tokens, whole.loss), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("control", CONTROLS, ids=str)
def test_it_never_waits_for_the_device(tokens, control, no_host_sync):
    with no_host_sync():
        selection = select_tokens(control, *_columns(tokens), sample_ids=IDS, validate=False)
        out = policy_loss(
            *_columns(tokens),
            control=control,
            **_needed(tokens, control),
            selection=selection,
            sample_ids=IDS,
            validate=False,
        )
        out.loss.backward()
    assert torch.equal(out.tokens["selected"], selection.mask(IDS, 50))


def test_a_selection_holds_sorted_ids_and_the_statistics(tokens, plain):
    control = KLCov(fraction=0.05)
    selection = select_tokens(control, *_columns(tokens), sample_ids=IDS)
    chosen = plain.chosen(control, tokens, IDS)
    k = int(selection.count)
    pairs = list(zip(selection.sample_ids.tolist(), selection.positions.tolist(), strict=True))[:k]
    assert pairs == sorted((int(IDS[b]), int(t)) for b, t in chosen.nonzero())
    covariance = plain.covariance(tokens.logprobs, tokens.advantages, tokens.mask)
    assert float(selection.threshold) == pytest.approx(float(covariance[chosen].min()))
    assert float(selection.mean_logprob) == pytest.approx(float(tokens.logprobs.detach()[tokens.mask].mean()))
    assert float(selection.mean_advantage) == pytest.approx(float(tokens.advantages[tokens.mask].mean()))
    assert k <= selection.limit


def test_membership_by_id(tokens):
    selection = select_tokens(KLCov(fraction=0.05), *_columns(tokens), sample_ids=IDS)
    whole = selection.mask(IDS, 50)
    assert whole.dtype == torch.bool
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(selection.mask(IDS[order], 50), whole[order])
    assert torch.equal(selection.mask(IDS, 20), whole[:, :20])
    assert torch.equal(selection.mask(IDS, 70)[:, :50], whole)
    assert not selection.mask(torch.tensor([1, 2, 3]), 50).any()
    assert selection.mask(IDS[:0], 50).shape == (0, 50)


def test_tensors_and_lists_agree(tokens):
    control = ClipCov(fraction=0.05, low=0.1)
    one = select_tokens(control, *_columns(tokens), seed=1)
    pieces = [_columns(_part(tokens, slice(i, i + 4))) for i in (0, 4, 8)]
    many = select_tokens(control, *map(list, zip(*pieces, strict=True)), seed=1)
    assert torch.equal(one.mask(torch.arange(12), 50), many.mask(torch.arange(12), 50))
    rows = [x[:, 0] for x in tokens.advantages.split(4)]
    mixed = [rows[0], *(x.unsqueeze(1).expand(4, 50) for x in rows[1:])]
    columns = [[p[i] for p in pieces] for i in (0, 1, 3)]
    a, b = (select_tokens(control, *columns[:2], x, columns[2]) for x in (rows, mixed))
    assert torch.equal(a.mask(torch.arange(12), 50), b.mask(torch.arange(12), 50))


def test_a_micro_batch_may_hold_more_than_its_own_fraction(tokens):
    control = KLCov(count=20)
    selection = select_tokens(control, *_columns(tokens), sample_ids=IDS)
    richest = selection.mask(IDS, 50).sum(1).argmax().view(1)
    out = policy_loss(
        *_columns(_part(tokens, richest)), control=control, selection=selection, sample_ids=IDS[richest]
    )
    assert out.tokens["selected"].sum() == selection.mask(IDS[richest], 50).sum() > 20 / 12


@pytest.mark.parametrize("control", CONTROLS, ids=str)
def test_an_empty_micro_batch_gives_zero(tokens, plain, control):
    selection = select_tokens(control, *_columns(tokens), sample_ids=IDS)
    part = _part(tokens, slice(0, 2))
    part.mask = torch.zeros_like(part.mask)
    for cut in (part, _part(tokens, slice(0, 0))):
        out = policy_loss(
            *_columns(cut),
            control=control,
            **_needed(cut, control),
            selection=selection,
            sample_ids=IDS[: len(cut.mask)],
        )
        assert out.loss.item() == 0.0
        assert not any(g.any() for g in plain.gradients(tokens, out.loss))


def test_a_list_is_aligned_with_the_controls(tokens, plain):
    clip, bonus, kl = ClipCov(fraction=0.04, select="top"), EntropyBonus(0.1), KLCov(fraction=0.08)
    a, b = (select_tokens(c, *_columns(tokens)) for c in (clip, kl))
    shared = {"control": [clip, bonus, kl], "entropy": tokens.entropy}
    out = policy_loss(*_columns(tokens), **shared, selection=[a, None, b])
    assert torch.equal(out.loss, policy_loss(*_columns(tokens), **shared).loss)
    single = policy_loss(*_columns(tokens), control=[clip, bonus], entropy=tokens.entropy, selection=a)
    assert torch.equal(
        single.loss, policy_loss(*_columns(tokens), control=[clip, bonus], entropy=tokens.entropy).loss
    )


@pytest.mark.parametrize(
    ("controls", "pick", "message"),
    [
        (KLCov(fraction=0.1), "single", "selection was made by KLCov.*0.08"),
        (ClipCov(fraction=0.1), "single", "selection was made by KLCov"),
        ([ClipCov(fraction=0.1), KLCov(fraction=0.08)], "single", "not exactly one control chooses"),
        ([KLCov(fraction=0.08), EntropyBonus(0.1)], "short", "a list of 2"),
        (
            [KLCov(fraction=0.08), EntropyBonus(0.1)],
            "twice",
            "given for EntropyBonus, which chooses no tokens",
        ),
        (KLCov(fraction=0.08), "none", "selection for KLCov is None"),
        (KLCov(fraction=0.08), "text", "must be a Selection or a list"),
        (None, "single", "not exactly one control chooses"),
    ],
)
def test_selections_that_do_not_fit(tokens, controls, pick, message):
    made = select_tokens(KLCov(fraction=0.08), *_columns(tokens))
    selection = {"single": made, "short": [made], "twice": [made, made], "none": [None], "text": 3}[pick]
    with pytest.raises(InvalidInputError, match=message):
        policy_loss(*_columns(tokens), control=controls, selection=selection, entropy=tokens.entropy)


def test_micro_batches_need_ids(tokens):
    control = KLCov(fraction=0.08)
    selection = select_tokens(control, *_columns(tokens))
    with pytest.raises(MissingInputError, match="selection= needs sample_ids="):
        policy_loss(*_columns(_part(tokens, slice(0, 3))), control=control, selection=selection)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: select_tokens(EntropyBonus(0.1), *c), "chooses no tokens"),
        (lambda c: select_tokens(KLCov, *c), "chooses no tokens"),
        (lambda c: select_tokens(KLCov(), *([x] for x in c[:3]), c[3]), "equally many micro-batches"),
        (lambda c: select_tokens(KLCov(), *([x] for x in c), sample_ids=[IDS, IDS]), "equally many"),
        (lambda c: select_tokens(KLCov(), *([] for _ in c)), "equally many"),
        (lambda c: select_tokens(KLCov(), c[0], c[1][:, :3], *c[2:]), "old_logprobs has shape"),
        (lambda c: select_tokens(KLCov(), *c[:3], 0 * c[3]), "mask is empty"),
        (lambda c: select_tokens(KLCov(), *([x] for x in c[:3]), [c[3][:3]]), "mask has shape"),
    ],
)
def test_bad_input(tokens, call, message):
    with pytest.raises(InvalidInputError, match=message):
        call(_columns(tokens))


def test_ppo_clipped_tokens_are_not_eligible_for_a_draw(tokens):
    control = RandomClip(fraction=0.9)
    free = select_tokens(control, *_columns(tokens), surrogate=ImportanceSampling())
    clipped = select_tokens(control, *_columns(tokens))
    out = policy_loss(*_columns(tokens))
    assert int(free.count) > int(clipped.count) == int((tokens.mask & ~out.tokens["clipped"]).sum())
