"""The recipes on inputs of the shapes that each trainer documents, against one loss over the whole batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import entropylab as el
from entropylab.errors import InvalidInputError, UnknownNameError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*choose on a larger token set")
LENGTHS = [5, 9, 3, 7]


def samples(seed=0):
    """Lists of [R_i]: logprobs with gradient, old logprobs, advantages, masks."""
    g = torch.Generator().manual_seed(seed)
    old = [-3 * torch.rand(n, generator=g) for n in LENGTHS]
    new = [(o + 0.2 * torch.randn(len(o), generator=g)).requires_grad_() for o in old]
    advantages = [
        torch.full((n,), float(a)) for n, a in zip(LENGTHS, torch.randn(4, generator=g), strict=True)
    ]
    masks = [torch.ones(n) for n in LENGTHS]
    masks[1][3:5] = 0
    return new, old, advantages, masks


def padded(values):
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True)


def whole(method, batch, reduction="token_mean", **more):
    """Loss and gradients of ``policy_loss`` on the same samples as [B, T]."""
    leaves = [one.detach().clone().requires_grad_() for one in batch[0]]
    row = el.METHODS[method]
    out = el.policy_loss(
        *(padded(v) for v in (leaves, *batch[1:])),
        surrogate=row.surrogate, control=row.control, reduction=reduction, **more,
    )  # fmt: skip
    out.loss.backward()
    return out.loss.detach(), [leaf.grad for leaf in leaves]


def assert_same(loss, leaves, expected):
    torch.testing.assert_close(loss.detach(), expected[0], rtol=1e-6, atol=1e-7)
    for leaf, gradient in zip(leaves, expected[1], strict=True):
        torch.testing.assert_close(leaf.grad, gradient, rtol=1e-5, atol=1e-8)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("METHOD", "CONTROL", "SURROGATE"):
        monkeypatch.delenv(f"ENTROPYLAB_{name}", raising=False)


def test_the_method_comes_from_the_environment(monkeypatch):
    from entropylab.trainers.recipes.method import chosen_method

    monkeypatch.setenv("ENTROPYLAB_METHOD", "clip_cov")
    monkeypatch.setenv("ENTROPYLAB_CONTROL", '{"name": "ClipCov", "fraction": 0.01}')
    assert chosen_method().control == el.ClipCov(fraction=0.01)
    assert chosen_method().surrogate == el.METHODS["clip_cov"].surrogate
    monkeypatch.setenv("ENTROPYLAB_CONTROL", "ClipCov(0.01)")
    with pytest.raises(InvalidInputError, match="ENTROPYLAB_CONTROL"):
        chosen_method()
    with pytest.raises(UnknownNameError, match="clip_kov"):
        chosen_method("clip_kov")
    monkeypatch.delenv("ENTROPYLAB_METHOD")
    with pytest.raises(InvalidInputError, match="ENTROPYLAB_METHOD"):
        chosen_method()


@pytest.mark.parametrize("method", ["clip_higher", "kl_cov_7b"])
@pytest.mark.parametrize("token_level", [True, False])
def test_openrlhf_divides_by_the_counts_of_all_ranks(monkeypatch, method, token_level):
    from entropylab.trainers.recipes.openrlhf import PolicyLoss

    monkeypatch.setenv("ENTROPYLAB_METHOD", method)
    batch = samples()
    loss_fn = PolicyLoss(token_level_loss=token_level, clip_eps_low=0.2, is_correction_level="off")
    loss, clipped, kl, *rest = loss_fn(
        *(padded(v) for v in batch[:3]), action_mask=padded(batch[3]), dp_size=2, batch_num_tokens=100,
        global_batch_size=16,
    )  # fmt: skip
    assert rest == [None, None]
    assert clipped.dim() == kl.dim() == 0
    loss.backward()
    reduction = "token_mean" if token_level else "seq_mean_token_mean"
    expected = whole(method, batch, reduction, denominator=100.0 if token_level else 16.0)
    assert_same(loss / 2, batch[0], (expected[0], [2 * g for g in expected[1]]))


def test_openrlhf_refuses_what_its_loss_does_and_ours_does_not(monkeypatch):
    from entropylab.trainers.recipes.openrlhf import PolicyLoss

    monkeypatch.setenv("ENTROPYLAB_METHOD", "grpo")
    assert len(PolicyLoss(dual_clip=None)(*(padded(v) for v in samples()[:3]))) == 4
    for setting in ({"dual_clip": 3.0}, {"policy_loss_type": "gspo"}, {"is_correction_level": "token"}):
        with pytest.raises(InvalidInputError, match=next(iter(setting))):
            PolicyLoss(**setting)


@pytest.mark.parametrize("token_level", [True, False])
def test_nemo_rl_shifts_by_one_and_sums_over_micro_batches(token_level):
    from entropylab.trainers.recipes.method import chosen_method
    from entropylab.trainers.recipes.nemo_rl import PolicyLossFn

    batch = samples()
    rows = [padded(v) for v in batch]
    first = torch.zeros(4, 1)
    data = {
        "prev_logprobs": torch.cat([first, rows[1]], 1),
        "advantages": torch.cat([first, rows[2]], 1),
        "token_mask": torch.cat([first, rows[3]], 1),
        "sample_mask": torch.tensor([1.0, 1.0, 0.0, 1.0]),
    }
    loss_fn = PolicyLossFn(
        chosen_method("clip_higher"), token_level=token_level, loss_type=None, input_type=None
    )
    masks = [m * s for m, s in zip(batch[3], data["sample_mask"], strict=True)]
    toks, seqs = torch.tensor([sum(m.sum() for m in masks)]), torch.tensor([3.0])
    total = 0.0
    for part in (slice(0, 2), slice(2, 4)):
        piece = {name: value[part] for name, value in data.items()}
        loss, metrics = loss_fn(rows[0][part], piece, seqs, toks)
        loss.backward(retain_graph=True)
        total += metrics["loss"]
    reduction = "token_mean" if token_level else "seq_mean_token_mean"
    expected = whole("clip_higher", (*batch[:3], masks), reduction)
    assert_same(torch.tensor(total), batch[0], expected)
    assert metrics["num_valid_samples"] == 1.0


def test_nemo_rls_metrics_add_up_to_those_of_the_batch():
    from entropylab.trainers.recipes.nemo_rl import _summable

    found = {"entropylab/cov/mean": 2.0, "entropylab/selected/count": 3.0, "entropylab/ratio/max": 9.0}
    assert _summable(found, 0.25) == {"entropylab/cov/mean": 0.5, "entropylab/selected/count": 3.0}


@pytest.mark.parametrize("weights", [None, 0.5])
def test_prime_rl_sums_over_responses(weights):
    from entropylab.trainers.recipes.method import chosen_method
    from entropylab.trainers.recipes.prime_rl import response_loss

    batch = samples()
    total = 0.0
    for new, old, advantages, mask in zip(*batch, strict=True):
        inputs = SimpleNamespace(
            trainer_logprobs=new, inference_logprobs=old, ref_logprobs=None, advantages=advantages,
            loss_mask=mask.bool(), loss_weights=None if weights is None else torch.full_like(new, weights),
        )  # fmt: skip
        total = total + response_loss(inputs, chosen_method("clip_higher"))[0]
    total.backward()
    scale = 1.0 if weights is None else weights
    expected = whole("clip_higher", batch, "token_sum", denominator=1.0)
    assert_same(total, batch[0], (expected[0] * scale, [g * scale for g in expected[1]]))


def test_prime_rl_refuses_a_choice_among_tokens_of_one_response():
    from entropylab.trainers.recipes.method import chosen_method
    from entropylab.trainers.recipes.prime_rl import response_loss

    with pytest.raises(InvalidInputError, match="covariance, which is 0 on one response"):
        response_loss(SimpleNamespace(), chosen_method("kl_cov_7b"))


@pytest.mark.parametrize("method", ["clip_cov_top", "kl_cov_7b"])
def test_skyrl_gets_the_advantages_back_to_their_scale(method):
    from entropylab.trainers.recipes.skyrl import REDUCTION, advantage_scale, make_loss

    scale = advantage_scale(4, 9)
    batch = samples()
    new, old, advantages, mask = (padded(v) for v in batch)
    loss, metrics = make_loss(method, scale=scale)(
        new, old, advantages / scale, SimpleNamespace(loss_reduction=REDUCTION), loss_mask=mask
    )
    loss.backward()
    assert_same(loss, batch[0], whole(method, batch, "token_sum", denominator=scale))
    assert metrics["entropylab/selected/count"] == 1.0
    assert "clip_ratio" in metrics


def test_skyrl_refuses_settings_under_which_the_loss_would_be_another():
    from entropylab.trainers.recipes.skyrl import REDUCTION, make_loss

    loss = make_loss("clip_cov", scale=10.0)
    batch = [padded(v) for v in samples()]
    with pytest.raises(InvalidInputError, match="loss_reduction='token_mean'"):
        loss(*batch[:3], SimpleNamespace(loss_reduction="token_mean"), loss_mask=batch[3])
    corrected = SimpleNamespace(
        loss_reduction=REDUCTION, off_policy_correction=SimpleNamespace(tis_ratio_type="token")
    )
    with pytest.raises(InvalidInputError, match="tis_ratio_type"):
        loss(*batch[:3], corrected, loss_mask=batch[3])


@pytest.mark.parametrize("method", ["clip_cov_top", "kl_cov_7b"])
def test_slime_per_token(method):
    from entropylab.trainers.recipes.method import chosen_method
    from entropylab.trainers.recipes.slime import samples_loss

    batch = samples()
    loss, _ = samples_loss(chosen_method(method), *batch)
    loss.backward()
    assert_same(loss, batch[0], whole(method, batch, "token_sum", denominator=1.0))


def test_slime_with_a_count_of_its_own_for_each_response():
    from entropylab.trainers.recipes.method import chosen_method
    from entropylab.trainers.recipes.slime import samples_loss

    batch = samples()
    counts = [mask.sum() for mask in batch[3]]
    loss, _ = samples_loss(chosen_method("clip_cov_top"), *batch, denominators=counts)
    loss.backward()
    assert_same(loss, batch[0], whole("clip_cov_top", batch, "seq_mean_token_mean", denominator=1.0))
    with pytest.raises(InvalidInputError, match="calculate-per-token-loss"):
        samples_loss(chosen_method("kl_cov_7b"), *batch, denominators=counts)


def test_slime_refuses_pieces_of_responses():
    from entropylab.trainers.recipes.method import chosen_method
    from entropylab.trainers.recipes.slime import samples_loss

    new, old, advantages, masks = samples()
    with pytest.raises(InvalidInputError, match="context-parallel-size"):
        samples_loss(chosen_method("grpo"), [n[:2] for n in new], old, advantages, masks)
