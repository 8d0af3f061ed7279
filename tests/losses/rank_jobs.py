"""What one rank of a gloo group does: it chooses with the others, and sums the loss of its micro-batches."""

from __future__ import annotations

from torch import distributed

from entropylab.errors import EntropylabError
from entropylab.losses.collective import select_tokens
from entropylab.losses.policy_loss import policy_loss

NAMES = ("logprobs", "old_logprobs", "advantages", "mask")


def run(job: dict) -> dict:
    """Selection, summed loss and gradients of this rank's micro-batches."""
    pieces, control = job["pieces"], job["control"]
    columns = [[piece[name] for piece in pieces] for name in NAMES]
    shared = {"surrogate": job["surrogate"], "seed": job["seed"], "step": job["step"]}
    ids = [piece["sample_ids"] for piece in pieces]
    try:
        selection = select_tokens(control, *columns, sample_ids=ids, group=distributed.group.WORLD, **shared)
    except EntropylabError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    total, gradients = 0.0, []
    for piece in pieces:
        leaf = piece["logprobs"].clone().requires_grad_()
        loss = policy_loss(
            leaf,
            *(piece[name] for name in NAMES[1:]),
            control=control,
            surrogate=job["surrogate"],
            ref_logprobs=piece["ref_logprobs"],
            sample_ids=piece["sample_ids"],
            selection=selection,
            denominator=job["denominator"],
        ).loss
        loss.backward()
        total += float(loss.detach())
        gradients.append(leaf.grad)
    found = {name: getattr(selection, name) for name in job["compared"]}
    return {"selection": found, "loss": total, "gradients": gradients}
