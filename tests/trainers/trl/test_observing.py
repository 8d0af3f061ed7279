"""Observing changes no bit, and what is recorded is what the trainer did."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

from tiny_trl import WORDS, count_reward, length_reward, make_trainer, weights_of
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from watch import watch

import entropylab as el
from entropylab.analysis.responses import step_tokens
from entropylab.trainers.token_texts import token_texts

SETTINGS: dict[str, dict[str, Any]] = {
    "on_policy": {"gradient_accumulation_steps": 2},
    "two_iterations": {"gradient_accumulation_steps": 2, "num_iterations": 2},
    "reference": {"beta": 0.1, "num_iterations": 2},
    "many_slices": {"gradient_accumulation_steps": 1, "steps_per_generation": 4, "max_steps": 5},
    "two_rewards": {"rewards": [count_reward, length_reward], "gradient_accumulation_steps": 2},
    "entropy_mask": {"top_entropy_quantile": 0.5},
    "cispo": {"loss_type": "cispo", "epsilon_high": 5.0},
    "sequence": {"importance_sampling_level": "sequence", "num_iterations": 2},
    "evaluating": {"evaluate": True, "eval_strategy": "steps", "eval_steps": 1},
}
SETTINGS["together"] = {
    name: value
    for kind in ("reference", "two_rewards", "entropy_mask", "evaluating")
    for name, value in SETTINGS[kind].items()
}


def run_of(folder: Path) -> el.Run:
    return el.open_run(folder / "run")


@pytest.mark.quick("together", "cispo", "sequence")
@pytest.mark.parametrize("name", SETTINGS)
def test_observing_changes_no_bit(tmp_path: Path, name: str) -> None:
    results = []
    for attached in (False, True):
        folder = tmp_path / str(attached)
        folder.mkdir()
        trainer = make_trainer(folder, max_grad_norm=0.0, **({"max_steps": 3} | SETTINGS[name]))
        watcher = watch(trainer)
        if attached:
            with el.attach(trainer, folder / "run"):
                trainer.train()
        else:
            trainer.train()
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        results.append((losses, [update.gradients for update in watcher.updates], weights_of(trainer)))
    (plain_losses, plain_gradients, plain_weights), (losses, gradients, weights) = results
    assert losses == plain_losses
    for found, expected in zip(gradients, plain_gradients, strict=True):
        assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    assert all(torch.equal(f, e) for f, e in zip(weights, plain_weights, strict=True))
    assert run_of(tmp_path / "True").problems() == []


@pytest.mark.quick("many_slices")
@pytest.mark.parametrize("name", ["on_policy", "two_iterations", "many_slices"])
def test_the_recorded_entropy_is_the_one_that_the_trainer_logs(tmp_path: Path, name: str) -> None:
    """With as many tokens in every micro-batch, for old versions average the means of micro-batches."""
    trainer = make_trainer(tmp_path, **SETTINGS[name])
    watcher = watch(trainer)
    with el.attach(trainer, tmp_path / "run"):
        trainer.train()
    logged = [log["entropy"] for log in trainer.state.log_history if "entropy" in log]
    tokens = rows_of(run_of(tmp_path))
    for step, value in enumerate(logged):
        of_step = tokens[tokens["step"] == step]
        by_micro_batch = of_step.groupby("micro_step")["entropy"].mean().mean()
        assert by_micro_batch == pytest.approx(value, abs=1e-6)
        assert run_of(tmp_path).steps()["entropy_token_mean"][step] == pytest.approx(
            of_step["entropy"].astype(float).mean(), abs=1e-9
        )
    assert len(watcher.updates) == len(logged)


def rows_of(run: el.Run) -> Any:
    import pyarrow as pa

    return pa.Table.from_batches(list(run.tokens())).to_pandas()


def test_rewards_stay_with_their_response_through_the_shuffle(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, gradient_accumulation_steps=2, num_iterations=2, max_steps=4)
    with el.attach(trainer, tmp_path / "run"):
        trainer.train()
    tokens = rows_of(run_of(tmp_path))
    assert set(tokens["rollout"]) == {0, 2}
    for _, response in tokens.groupby(["step", "sample_id"]):
        words = [WORDS[i] for i in response.sort_values("position")["token_id"]]
        text = " ".join(word for word in words if word[0] == "w")
        assert response["reward"].nunique() == 1
        assert response["reward"].iloc[0] == count_reward([text])[0]
    for _, group in tokens.groupby(["step", "prompt_id"]):
        rewards = group.groupby("sample_id")["reward"].first()
        advantages = group.groupby("sample_id")["advantage"].first()
        if len(rewards) == 4:
            expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
            assert advantages.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4)
    assert run_of(tmp_path).info["covariance_set"] == "update"


def test_several_reward_functions_are_summed_and_shown_apart(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, rewards=[count_reward, length_reward], reward_weights=[1.0, 2.0])
    with el.attach(trainer, tmp_path / "run"):
        trainer.train()
    steps = run_of(tmp_path).steps()
    parts = [steps[f"metrics/reward/{name}"] for name in ("count_reward", "length_reward")]
    assert steps["reward_mean"].to_numpy() == pytest.approx((parts[0] + 2 * parts[1]).to_numpy(), abs=1e-5)
    name = "rewards/length_reward/mean"
    logged = [log[name] for log in trainer.state.log_history if name in log]
    assert parts[1].tolist() == pytest.approx(logged, abs=1e-5)


def test_an_evaluation_is_recorded_apart(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, evaluate=True, eval_strategy="steps", eval_steps=1)
    data = trainer.eval_dataset
    with el.attach(trainer, tmp_path / "run"):
        trainer.train()
        trainer.evaluate({"easy": data, "hard": data})
    run = run_of(tmp_path)
    found = run.evaluations()
    assert set(found["split"]) == {"validation", "validation/easy", "validation/hard"}
    plain = found[(found["split"] == "validation") & (found["metric"] == "reward")]
    logs = trainer.state.log_history
    assert plain["value"].tolist() == pytest.approx(
        [log["eval_reward"] for log in logs if "eval_reward" in log][:2], abs=1e-5
    )
    entropies = found[(found["split"] == "validation") & (found["metric"] == "entropy")]["value"]
    assert len(entropies) == 2
    assert set(plain["step"]) == {1, 2}
    assert set(plain["n"]) == {len(data)}, "prompts, not their responses"
    assert run.steps()["n_tokens"].tolist() == [
        int((rows_of(run)["step"] == step).sum()) for step in range(2)
    ]
    assert run.steps()["n_responses"].tolist() == [4, 4]


def test_metrics_are_in_the_trainers_own_log(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, gradient_accumulation_steps=2, logging_steps=2)
    with el.attach(trainer, tmp_path / "run", control=el.ClipCov.top(0.1)):
        trainer.train()
    (log,) = (log for log in trainer.state.log_history if "entropylab/cov/mean" in log)
    steps = run_of(tmp_path).steps()
    assert log["entropylab/cov/mean"] == pytest.approx(steps["covariance_mean"].mean(), abs=1e-6)
    assert log["entropylab/selected/fraction"] == pytest.approx(steps["selected_fraction"].mean(), abs=1e-9)
    assert log["entropylab/selected/cov_mean"] == pytest.approx(
        steps["selected_covariance_mean"].mean(), abs=1e-5
    )
    assert log["entropylab/cov/p99.8"] >= log["entropylab/selected/cov_mean"]
    assert all(math.isfinite(value) for value in log.values())
    assert run_of(tmp_path).method == "clip_cov"
    assert run_of(tmp_path).config["control"]["name"] == "ClipCov"


def test_the_tokenizer_s_texts_are_kept(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_steps=1)
    with el.attach(trainer, tmp_path / "run"):
        trainer.train()
    run = run_of(tmp_path)
    assert (run.vocabulary, run.config["vocab_size"]) == (tuple(WORDS), len(WORDS))
    tokens = step_tokens(run, 0)
    assert tokens["token"].tolist() == [WORDS[i] for i in tokens["token_id"]]


def test_a_part_of_a_character_keeps_the_tokenizer_s_name() -> None:
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({sign: i for i, sign in enumerate(signs)} | {"Ġa": len(signs)}, []))
    tokenizer.decoder = decoders.ByteLevel()
    texts = token_texts(PreTrainedTokenizerFast(tokenizer_object=tokenizer))
    assert (texts[signs.index("b")], texts[-1]) == ("b", " a")
    assert texts[signs.index("Ã")] == "Ã"
    assert token_texts(object()) is None


def test_token_sampling_and_config_are_handed_on(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    sampling = el.TokenSampling(every_steps=2)
    with el.attach(trainer, tmp_path / "run", token_sampling=sampling, method="mine", config={"note": 1}):
        trainer.train()
    run = run_of(tmp_path)
    assert (run.method, run.config["note"], run.token_steps()) == ("mine", 1, [0])
    assert len(run.steps()) == 2
