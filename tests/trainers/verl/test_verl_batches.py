"""From a real DataProto or TensorDict of verl to the run folder and back."""

from __future__ import annotations

import numpy as np
import pytest

import entropylab as el
from entropylab.errors import InvalidInputError, MissingInputError

torch = pytest.importorskip("torch")
LENGTHS, WIDTH = [4, 1, 6, 3], 6
UIDS = ["7e2c", "7e2c", "9a41", "9a41"]
SCORES = [1.0, 0.0, 1.0, -0.5]


@pytest.fixture
def rows():
    """Each field as a list of rows without padding; row 2 holds two tokens of a tool."""
    g = torch.Generator().manual_seed(0)
    masks = [torch.ones(n).long() for n in LENGTHS]
    masks[2][1:3] = 0
    scores = [torch.zeros(n) for n in LENGTHS]
    for score, value in zip(scores, SCORES, strict=True):
        score[-1] = value
    return {
        "responses": [torch.randint(0, 50, (n,), generator=g) for n in LENGTHS],
        "response_mask": masks,
        "old_log_probs": [-torch.rand(n, generator=g) for n in LENGTHS],
        "entropy": [torch.rand(n, generator=g) for n in LENGTHS],
        "advantages": [torch.full((n,), a) for n, a in zip(LENGTHS, (1.0, -1.0, 0.6, -0.6), strict=True)],
        "rm_scores": scores,
    }


def padded(values):
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True)


def data_proto(rows, **names):
    """As the trainers of verl before 0.9 hold it: padded tensors, uids beside them."""
    from verl import DataProto

    tensors = {names.get(name, name): padded(values) for name, values in rows.items()}
    return DataProto.from_dict(tensors=tensors, non_tensors={"uid": np.array(UIDS, dtype=object)})


def tensor_dict(rows):
    """As the transfer queue of verl 0.9 gives it: jagged tensors and uids in one TensorDict."""
    from tensordict import TensorDict
    from tensordict.tensorclass import NonTensorStack

    tensors = {
        name: torch.nested.as_nested_tensor(values, layout=torch.jagged) for name, values in rows.items()
    }
    return TensorDict({**tensors, "uid": NonTensorStack(*UIDS)}, batch_size=len(LENGTHS))


def written(path, batch, **more):
    from entropylab.trainers.verl.batches import record_batch

    with el.Recorder(path) as recorder:
        record_batch(recorder, 5, batch, **more)
    run = el.open_run(path)
    assert run.problems() == []
    return run


@pytest.mark.parametrize("form", ["DataProto", "TensorDict", "DataProto with entropys"])
def test_what_is_read_back_is_what_verl_held(verl, rows, tmp_path, form):
    batch = tensor_dict(rows) if form == "TensorDict" else data_proto(rows)
    if "entropys" in form:
        batch = data_proto(rows, entropy="entropys", rm_scores="token_level_scores")
    run = written(tmp_path / "run", batch, metrics={"actor/pg_loss": 0.25})
    tokens = next(run.tokens()).to_pandas().sort_values(["sample_id", "position"])
    inside = padded(rows["response_mask"]).bool().numpy()
    names = {
        "logprob": "old_log_probs",
        "entropy": "entropy",
        "advantage": "advantages",
        "token_id": "responses",
    }
    for ours, theirs in names.items():
        np.testing.assert_array_equal(tokens[ours], padded(rows[theirs]).numpy()[inside], err_msg=ours)
    step = run.steps().iloc[0]
    assert (step["step"], step["n_tokens"], step["n_responses"]) == (5, 12, 4)
    assert step["reward_mean"] == pytest.approx(np.mean(SCORES))
    assert step["metrics/actor/pg_loss"] == 0.25
    pairs = zip(rows["entropy"], rows["response_mask"], strict=True)
    expected = np.mean([values[mask.bool()].mean() for values, mask in pairs])
    assert step["entropy_response_mean"] == pytest.approx(expected)


def test_responses_of_one_uid_share_a_prompt_in_every_process(verl, rows, tmp_path):
    first = next(written(tmp_path / "a", data_proto(rows)).responses()).to_pandas()
    again = next(written(tmp_path / "b", tensor_dict(rows)).responses()).to_pandas()
    assert first["prompt_id"].tolist() == again["prompt_id"].tolist()
    assert first["prompt_id"].nunique() == 2
    assert first["sample_id"].tolist() == [(5 << 32) + row for row in range(4)]


def test_the_covariance_is_centred_over_the_whole_batch(verl, rows, tmp_path):
    tokens = next(written(tmp_path / "run", tensor_dict(rows)).tokens()).to_pandas()
    l, a = tokens["logprob"].astype(float), tokens["advantage"].astype(float)
    np.testing.assert_allclose(tokens["covariance"], (l - l.mean()) * (a - a.mean()), atol=1e-6)


def test_token_rewards_of_each_position_are_summed(verl, rows):
    from entropylab.trainers.verl.batches import read_batch

    rows["rm_scores"] = [torch.ones(n) for n in LENGTHS]
    assert read_batch(data_proto(rows)).rewards.tolist() == [float(n) for n in LENGTHS]


def test_a_batch_before_its_advantages_is_refused(verl, rows):
    from entropylab.trainers.verl.batches import read_batch

    del rows["advantages"]
    with pytest.raises(MissingInputError, match="advantages"):
        read_batch(data_proto(rows))
    with pytest.raises(InvalidInputError, match="DataProto or TensorDict"):
        read_batch([1, 2])


def test_tensors_of_another_length_are_refused(verl, rows):
    from entropylab.trainers.verl.batches import read_batch

    rows["old_log_probs"] = [torch.zeros(n + 1) for n in LENGTHS]
    with pytest.raises(InvalidInputError, match="old_log_probs has shape"):
        read_batch(data_proto(rows))
