"""Two real processes over gloo: one selection, rewards in place, the gradient of the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import torch
from plain_loss import Settings, chosen_tokens, gradients, piece_loss, piece_of, relative_error
from tiny_trl import WORDS, count_reward, make_model

import entropylab as el
from entropylab.losses.settings import to_dict

HERE = Path(__file__).parent
TOLERANCE = 1e-6

CASES: dict[str, dict[str, Any]] = {
    "observing": {"control": None, "settings": {"max_steps": 2}},
    "clip_on_policy": {"control": el.ClipCov.top(0.1), "settings": {"max_steps": 2}},
    "clip_band_old": {
        "control": el.ClipCov(fraction=0.1, low=0.05, high=5.0),
        "settings": {"num_iterations": 2, "max_steps": 4, "loss_type": "grpo"},
    },
    "kl_old": {
        "control": el.KLCov(fraction=0.2, beta=0.5),
        "settings": {"num_iterations": 2, "max_steps": 4},
    },
    "clip_fused": {
        "control": el.ClipCov.top(0.1),
        "settings": {"max_steps": 2, "ddp_find_unused_parameters": True},
        "head": "fused",
    },
}


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks have trained every case that a test asks for, in a folder each."""
    folder = tmp_path_factory.mktemp("ranks")
    asked = [item.callspec.params["name"] for item in request.session.items if item.path == request.path]
    options = {name: {**CASES[name], "control": to_dict(CASES[name]["control"])} for name in asked}
    for name in asked:
        (folder / name).mkdir()
    command = [sys.executable, str(HERE / "rank_worker.py"), str(folder), json.dumps(options)]
    path = os.pathsep.join([str(HERE), str(Path(el.__file__).parent.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.slow
@pytest.mark.quick("kl_old", "clip_fused")
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_as_one_batch(folder: Path, name: str) -> None:
    case = CASES[name]
    ranks = [torch.load(folder / name / f"rank{rank}.pt", weights_only=False) for rank in range(2)]
    run = el.open_run(folder / name / "run")
    assert run.problems() == []
    assert run.info["covariance_set"] == "update"
    check_gradients(ranks, case, run)
    check_rows(run)
    check_logs(run, ranks[0]["logs"], controlled=case["control"] is not None)


def check_gradients(ranks: list[dict[str, Any]], case: dict[str, Any], run: el.Run) -> None:
    """The gradient after the reduction over ranks is that of the plain loss of all responses."""
    control = case["control"]
    clip = (0.2, 0.2)
    if isinstance(control, el.KLCov):
        control = el.KLCov(**{**vars(control), "dead_zone": run.config["control"]["dead_zone"]})
    for both in zip(*(rank["updates"] for rank in ranks), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(*(u["gradients"] for u in both), strict=True))
        model = make_model().double()
        model.load_state_dict(both[0]["state"])
        settings = Settings(case["settings"].get("loss_type", "dapo"), *clip, 0.0, 2, 8, world_size=2)

        def loss_of(model: Any, both: Any = both, settings: Settings = settings) -> Any:
            pieces = [piece_of(model, inputs) for one in both for inputs in one["pieces"]]
            masks = [None] * len(pieces)
            if control is not None:
                old = run.config["select_by"] == "old"
                masks = chosen_tokens(control, pieces, on_old=old, clip=clip, seed=0, step=both[0]["step"])
            losses = [piece_loss(p, settings, control, m) for p, m in zip(pieces, masks, strict=True)]
            return sum(losses) / 2

        assert relative_error(both[0]["gradients"], gradients(model, loss_of)) <= TOLERANCE


def check_rows(run: el.Run) -> None:
    """Both ranks' tokens are there, each response with its own reward, and no id twice."""
    import pyarrow as pa

    tokens = pa.Table.from_batches(list(run.tokens())).to_pandas()
    assert set(tokens["rank"]) == {0, 1}
    assert not tokens.duplicated(["step", "sample_id", "position"]).any()
    for _, response in tokens.groupby(["step", "sample_id"]):
        words = [WORDS[i] for i in response.sort_values("position")["token_id"]]
        kept = [word for word in words if word[0] == "w"]
        expected = count_reward([" ".join(kept)])[0] - 0.1 * len(kept)
        assert response["reward"].iloc[0] == pytest.approx(expected, abs=1e-5)
    assert (run.steps()["n_responses"] == 16).all()


def check_logs(run: el.Run, logs: list[dict[str, Any]], *, controlled: bool) -> None:
    """The trainer's log and evaluations, over both ranks."""
    steps = run.steps()
    means = [log["entropylab/cov/mean"] for log in logs if "entropylab/cov/mean" in log]
    assert means == pytest.approx(steps["covariance_mean"].tolist(), abs=1e-5)
    if controlled:
        counts = [log["entropylab/selected/count"] for log in logs if "entropylab/selected/count" in log]
        assert counts == steps["selected_count"].tolist()
        assert min(counts) >= 1
    rewards = run.evaluations().query("metric == 'reward'")["value"].tolist()
    assert rewards == pytest.approx([log["eval_reward"] for log in logs if "eval_reward" in log], abs=1e-5)
