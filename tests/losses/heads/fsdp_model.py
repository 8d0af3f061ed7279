"""A tiny model under FSDP2, and the ways in which its sharded head meets a loss from hidden states."""

from __future__ import annotations

import torch
from torch import nn

import entropylab as el
from entropylab.errors import InvalidInputError


class Model(nn.Module):
    """One layer and a head; ``loss`` is called with hidden states and the weight, where that is gathered."""

    def __init__(self, weights):
        super().__init__()
        self.body = nn.Linear(5, 5, dtype=torch.float64)
        self.lm_head = nn.Linear(5, 13, bias=False, dtype=torch.float64)
        if weights is not None:
            self.load_state_dict(weights)

    def forward(self, inputs, loss=None):
        hidden = torch.tanh(self.body(inputs))
        return hidden if loss is None else loss(hidden, self.lm_head.weight)


def loss_of(job, rows):
    """The loss of some responses, whose sum over ranks is that of all."""
    head = job["head"]
    part = {name: getattr(head, name)[rows] for name in ("tokens", "old_logprobs", "advantages", "mask")}

    def call(hidden, weight):
        if job["loss"] == "op":
            logprobs, entropy = el.linear_logprob_entropy(hidden, weight, part["tokens"], mask=part["mask"])
            return (logprobs * part["advantages"] + 0.1 * entropy).sum()
        control = [el.EntropyBonus(0.1), el.KLCov(fraction=0.2)] if job["loss"] == "chosen" else None
        return el.fused_policy_loss(hidden, weight, **part, control=control, denominator=40).loss

    return call


def sharded(job, *, head_apart):
    """The model under FSDP2; ``head_apart``: its head is gathered and freed by itself."""
    from torch.distributed.fsdp import fully_shard

    model = Model(job["weights"])
    if head_apart:
        fully_shard(model.lm_head)
    fully_shard(model)
    return model


def inside_the_forward(job, inputs, loss):
    model = sharded(job, head_apart=False)
    return model, model(inputs, loss)


def after_the_forward(job, inputs, loss):
    """The root module keeps its parameters gathered until the backward pass."""
    model = sharded(job, head_apart=False)
    return model, loss(model(inputs), model.lm_head.weight)


def as_the_forward_of_the_head(job, inputs, loss):
    model = sharded(job, head_apart=True)
    model.lm_head.forward = lambda hidden: loss(hidden, model.lm_head.weight)
    return model, model.lm_head(model(inputs))


def unsharded(job, inputs, loss):
    model = sharded(job, head_apart=True)
    hidden = model(inputs)
    model.lm_head.unshard()
    return model, loss(hidden, model.lm_head.weight)


def full_tensor(job, inputs, loss):
    from torch.distributed.tensor import Partial

    model = sharded(job, head_apart=True)
    weight = model.lm_head.weight.full_tensor(grad_placements=[Partial("avg")])
    return model, loss(model(inputs), weight)


SEAMS = {
    one.__name__: one
    for one in (inside_the_forward, after_the_forward, as_the_forward_of_the_head, unsharded, full_tensor)
}


def run(job):
    """The gradients of this rank by one seam; or the error of a head that was not gathered."""
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    rows = slice(rank, None, world_size)
    inputs, loss = job["head"].hidden.detach()[rows], loss_of(job, rows)
    if job["seam"] == "not gathered":
        model = sharded(job, head_apart=True)
        try:
            loss(model(inputs), model.lm_head.weight)
        except InvalidInputError as error:
            return str(error)
    model, value = SEAMS[job["seam"]](job, inputs, loss)
    value.backward()
    return {name: one.grad.full_tensor() for name, one in model.named_parameters()}
