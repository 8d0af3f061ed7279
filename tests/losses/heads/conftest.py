"""Fixtures: small heads, and the same numbers from all logits at once in fp64."""

from __future__ import annotations

from types import SimpleNamespace

import plain_heads
import pytest
from memory_of_tensors import Memory


@pytest.fixture
def make_head():
    """A factory of batches with a head; hidden, weight and bias are leaves with gradient."""
    return plain_heads.make_head


@pytest.fixture
def exact():
    """The plain formulas, from all logits in fp64."""
    return SimpleNamespace(
        distribution=plain_heads.distribution,
        logprobs=plain_heads.logprobs_of,
        entropy=plain_heads.entropy_of,
        kl=plain_heads.kl_of,
        loss=plain_heads.plain_loss,
    )


@pytest.fixture
def fused():
    """Call fused_policy_loss for a batch."""
    return plain_heads.fused_loss


@pytest.fixture
def gradients():
    """Gradients of a loss by the leaves of a batch."""
    return plain_heads.gradients_of


@pytest.fixture
def agree():
    """Check that two losses of a batch have the same value and gradients."""
    return plain_heads.assert_agree


@pytest.fixture
def memory():
    """A context that follows the memory of the tensors made in it."""
    return Memory
