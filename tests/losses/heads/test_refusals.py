"""What does not fit is refused before the logits are made, by name and with the mend."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import entropylab as el
from entropylab.errors import InvalidInputError, MissingInputError

CALLS = {
    "token_stats": el.token_stats,
    "linear_logprob_entropy": el.linear_logprob_entropy,
}


@pytest.fixture(params=CALLS)
def call(request):
    """Each of the entry points that take a head and tokens alone."""
    return CALLS[request.param]


def test_shapes_dtypes_and_settings(call, make_head):
    head = make_head()
    h, w, tokens = head.hidden, head.weight, head.tokens
    cases = [
        ((h, w[:, :4], tokens), {}, r"weight has shape \[13, 4\], hidden \[3, 17, 5\]: give \[V, d\]"),
        ((h, w[0], tokens), {}, r"weight has shape \[5\]"),
        ((h[0, 0], w, tokens[0, 0]), {}, r"hidden \[5\]"),
        ((h, w, tokens[:, :5]), {}, r"tokens has shape \[3, 5\], hidden \[3, 17, 5\]: give \[3, 17\]"),
        ((h, w, tokens), {"mask": head.mask[0]}, r"mask has shape \[17\]"),
        ((h, w, tokens.float()), {}, r"tokens has dtype torch.float32; give int64 ids"),
        ((h.long(), w, tokens), {}, r"hidden has dtype torch.int64"),
        ((h, w, tokens), {"bias": head.bias[:5]}, r"bias has shape \[5\], weight \[13, 5\]: give \[V\]"),
        ((h, w, tokens), {"temperature": 0.0}, r"temperature=0.0 is not positive"),
        ((h, w, tokens), {"temperature": float("nan")}, r"temperature=nan is not a finite number"),
        ((h, w, tokens), {"softcap": -2.0}, r"softcap=-2.0 is not positive"),
        ((h, w, tokens), {"vocab_size": 14}, r"vocab_size=14 is more than the 13 rows of weight"),
        ((h, w, tokens), {"vocab_size": 0}, r"vocab_size=0 is not a whole number of at least 1"),
        ((h, w, tokens), {"chunk_rows": 0}, r"chunk_rows=0 is not a whole number of at least 1"),
        ((h, w.to("meta"), tokens), {}, "weight is on meta, hidden on cpu; move one"),
        ((h, w, tokens.to("meta")), {}, "tokens is on meta, hidden on cpu; move one"),
    ]
    for given, keywords, message in cases:
        with pytest.raises(InvalidInputError, match=message):
            call(*given, **keywords)


def test_of_the_fused_loss(make_head, fused, monkeypatch):
    """Nothing of it comes after the pass."""
    head = make_head()

    def no_pass(*given):
        raise AssertionError("the logits were made")

    monkeypatch.setattr("entropylab.losses.heads.fused_loss.one_pass", no_pass)
    cases = [
        ({"reduction": "mean"}, InvalidInputError, "reduction='mean' is unknown"),
        ({"denominator": 0}, InvalidInputError, "denominator=0 is not a positive number"),
        ({"denominator": "9"}, InvalidInputError, "denominator='9' is not a number"),
        ({"control": "clip"}, InvalidInputError, "control='clip' is not a control"),
        ({"sample_ids": torch.arange(2)}, InvalidInputError, r"sample_ids has shape \[2\]"),
        ({"control": el.KLPenalty(0.1), "ref_hidden": None}, MissingInputError, "needs ref_logprobs"),
    ]
    for keywords, kind, message in cases:
        control = keywords.pop("control", None)
        with pytest.raises(kind, match=message):
            fused(head, el.PPOClip(), control, **keywords)
    for name, value, message in (
        ("hidden", head.hidden[0], r"hidden has shape \[17, 5\]: give \[B, T, d\]"),
        ("old_logprobs", head.old_logprobs[:, :5], r"old_logprobs has shape \[3, 5\]"),
        ("advantages", head.advantages[:2], r"advantages has shape \[2, 17\]"),
        ("mask", head.mask[:, :5], r"mask has shape \[3, 5\]"),
        ("old_logprobs", head.old_logprobs.long(), "old_logprobs has dtype torch.int64"),
    ):
        other = SimpleNamespace(**{**vars(head), name: value})
        with pytest.raises(InvalidInputError, match=message):
            fused(other, el.PPOClip(), None)


def test_the_constant_of_a_sum_is_missing(make_head, fused):
    with pytest.raises(MissingInputError, match="reduction='token_sum' needs denominator="):
        fused(make_head(), el.PPOClip(), None, reduction="token_sum")


def test_a_shard_that_does_not_fit(make_head):
    head = make_head()
    with pytest.raises(InvalidInputError, match=r"start=20 is not in \[0, total=20\)"):
        el.VocabShard(20, 20)
    with pytest.raises(InvalidInputError, match="rows 10 to 23 go beyond total=20"):
        el.token_stats(head.hidden, head.weight, head.tokens, shard=el.VocabShard(10, 20))


def test_a_full_divergence_over_shards(make_head, fused):
    shared = {"shard": el.VocabShard(0, 20), "chunk_rows": 16}
    with pytest.raises(InvalidInputError, match="full_kl from hidden states knows no shard: give full_kl="):
        fused(make_head(), el.PPOClip(), el.KLCov.targeted(count=3), **shared)
