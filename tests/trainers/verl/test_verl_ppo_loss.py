"""The loss through verl's own ``ppo_loss`` on a real jagged TensorDict, in one piece and in micro-batches."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
ROWS, PROMPT = 12, 3


@pytest.fixture
def jagged(verl):
    """A TensorDict as verl's workers get it (nested tensors without padding), and the model's logprobs."""
    from tensordict import TensorDict
    from verl.utils import tensordict_utils as tu

    g = torch.Generator().manual_seed(7)
    lengths = torch.randint(5, 40, (ROWS,), generator=g).tolist()

    def nested(make):
        return torch.nested.as_nested_tensor([make(n) for n in lengths], layout=torch.jagged)

    old = [-3 * torch.rand(n, generator=g) for n in lengths]
    advantages = (1.5 * torch.randn(ROWS, generator=g)).tolist()
    rows = iter(range(ROWS))
    data = TensorDict(
        {
            "prompts": torch.nested.as_nested_tensor([torch.ones(PROMPT).long()] * ROWS, layout=torch.jagged),
            "responses": nested(lambda n: torch.randint(0, 9, (n,), generator=g)),
            "response_mask": nested(lambda n: torch.ones(n).long()),
            "old_log_probs": torch.nested.as_nested_tensor(old, layout=torch.jagged),
            "advantages": nested(lambda n: torch.full((n,), advantages[next(rows)])),
        },
        batch_size=ROWS,
    )
    tu.assign_non_tensor(data, dp_size=1, batch_num_tokens=sum(lengths), global_batch_size=ROWS)
    model = [torch.cat([torch.zeros(PROMPT - 1), o + 0.2 * torch.randn(len(o), generator=g), torch.zeros(1)])
             for o in old]  # fmt: skip
    return data, model


def run(loss_fn, config, data, model):
    """Loss, gradient of all model outputs, and metrics of one call of a loss function of verl's workers."""
    leaves = [row.clone().requires_grad_() for row in model]
    output = {"log_probs": torch.nested.as_nested_tensor(leaves, layout=torch.jagged)}
    loss, metrics = loss_fn(config=config, model_output=output, data=data)
    loss.backward()
    return loss.detach(), torch.cat([leaf.grad for leaf in leaves]), metrics


def test_kl_cov_through_ppo_loss_equals_verls(verl, actor_config, jagged):
    from verl.workers.utils.losses import ppo_loss

    settings = {"kl_cov_ratio": 0.05, "ppo_kl_coef": 1.0}
    theirs = run(ppo_loss, actor_config("kl_cov", **settings), *jagged)
    ours = run(ppo_loss, actor_config("entropylab_kl_cov", **settings), *jagged)
    torch.testing.assert_close(ours[0], theirs[0], rtol=2e-6, atol=1e-7)
    torch.testing.assert_close(ours[1], theirs[1], rtol=2e-5, atol=1e-8)
    assert ours[2]["actor/pg_loss"].aggregate() == pytest.approx(theirs[2]["actor/pg_loss"].aggregate())
    assert ours[2]["entropylab/selected/fraction"].aggregate() == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("size", [1, 2, 3, 12])
@pytest.mark.parametrize("loss", ["clip_cov", "kl_cov"])
def test_with_a_choice_on_the_whole_batch_micro_batches_add_up(verl, actor_config, jagged, loss, size):
    """Their sum is the whole batch, whatever their size; verl's own losses depend on it."""
    from verl.utils import tensordict_utils as tu

    from entropylab.trainers.verl.batches import read_batch
    from entropylab.trainers.verl.names import loss_settings
    from entropylab.trainers.verl.whole_batch import SAMPLE_ID_KEY, SELECTION_KEY, actor_loss, choose_on_batch

    data, model = jagged
    settings = {"kl_cov_ratio": 0.05, "clip_cov_ratio": 0.05, "clip_cov_lb": 0.1, "ppo_kl_coef": 1.0}
    config = actor_config(f"entropylab_{loss}", **settings)
    read = read_batch(data)
    ids = read.sample_ids(step=3)
    selection, out = choose_on_batch(loss_settings(f"entropylab_{loss}", config), read, ids, step=3)
    data[SAMPLE_ID_KEY] = ids
    tu.assign_non_tensor_data(data, SELECTION_KEY, selection)
    whole = run(actor_loss, config, data, model)
    pieces = tu.chunk_tensordict(data, ROWS // size)
    parts = [
        run(actor_loss, config, piece, model[i * size : (i + 1) * size]) for i, piece in enumerate(pieces)
    ]
    torch.testing.assert_close(sum(part[0] for part in parts), whole[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), whole[1], rtol=1e-5, atol=1e-9)
    n = sum(part[2]["entropylab/selected/count"].aggregate() for part in parts)
    assert n == int(selection.count) == int(out.tokens["selected"].sum()) > 0


def test_the_choice_is_the_top_of_the_whole_batch(verl, actor_config, jagged):
    from entropylab.trainers.verl.batches import read_batch
    from entropylab.trainers.verl.names import loss_settings
    from entropylab.trainers.verl.whole_batch import choose_on_batch

    read = read_batch(jagged[0])
    settings = loss_settings("entropylab_kl_cov", actor_config("kl_cov", kl_cov_ratio=0.05))
    _, out = choose_on_batch(settings, read, read.sample_ids(0), step=0)
    inside = read.mask.bool()
    l, a = read.logprobs[inside].double(), read.advantages[inside].double()
    top = ((l - l.mean()) * (a - a.mean())).topk(int(0.05 * inside.sum())).indices
    expected = torch.zeros(int(inside.sum()), dtype=torch.bool)
    expected[top] = True
    assert torch.equal(out.tokens["selected"][inside], expected)


def test_without_a_choice_verls_losses_are_as_they_were(verl, actor_config, jagged):
    from verl.workers.utils.losses import ppo_loss

    from entropylab.trainers.verl.whole_batch import actor_loss

    theirs = run(ppo_loss, actor_config("vanilla"), *jagged)
    ours = run(actor_loss, actor_config("vanilla"), *jagged)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_a_selection_without_ids_is_refused(verl, actor_config, jagged):
    from verl.utils import tensordict_utils as tu

    from entropylab.errors import MissingInputError
    from entropylab.trainers.verl.whole_batch import SAMPLE_ID_KEY, SELECTION_KEY, actor_loss

    data, model = jagged
    tu.assign_non_tensor_data(data, SELECTION_KEY, "any")
    with pytest.raises(MissingInputError, match=SAMPLE_ID_KEY):
        run(actor_loss, actor_config("entropylab_kl_cov"), data, model)
