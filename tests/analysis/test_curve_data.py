from __future__ import annotations

import numpy as np
import pytest

import entropylab as el
from entropylab.analysis.curve_data import fit_run, law_points, warn_intervention
from entropylab.errors import InsufficientDataError, MissingInputError, UnknownNameError
from entropylab.losses.settings import to_dict


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("law") / "baseline", method="baseline", steps=16, evaluate_every=2
    )


def recorded(path, steps, evaluated, entropy=True):
    rng = np.random.default_rng(0)
    with el.Recorder(path, config={}, method="baseline") as recorder:
        for step in range(steps):
            logprobs = -rng.exponential(size=(4, 5))
            recorder.record(
                step,
                None,
                logprobs=logprobs,
                advantages=rng.normal(size=4),
                mask=np.ones((4, 5), dtype=bool),
                entropy=np.full((4, 5), 1.0 / (1 + step)) if entropy else None,
            )
        for step in evaluated:
            recorder.evaluate(step, metric="accuracy", value=0.1 * step, n=50)
    return el.open_run(path)


def test_points_pair_entropy_and_evaluation_of_the_same_step(run):
    points = law_points(run)
    assert list(points.columns) == ["step", "entropy", "performance", "n"]
    assert list(points["step"]) == [0, 2, 4, 6, 8, 10, 12, 14]  # 16 is evaluated, not rolled out
    steps, evaluations = run.steps().set_index("step"), run.evaluations()
    for row in points.itertuples():
        same = (evaluations["step"] == row.step) & (evaluations["metric"] == "accuracy")
        assert row.performance == evaluations.loc[same, "value"].item()
        assert row.entropy == steps.loc[row.step, "entropy_token_mean"]
        assert row.n == 32


def test_other_metric_and_entropy(run):
    points = law_points(run, metric="pass@8", entropy="entropy_response_mean")
    assert (points["performance"].to_numpy() >= law_points(run)["performance"].to_numpy()).all()


def test_fit_of_a_run(run):
    fit = fit_run(run)
    points = law_points(run)
    assert list(fit.steps) == list(points["step"])
    assert fit.left_out == (16,)
    assert "Left out: the evaluation at step 16" in fit.summary()
    assert "only 8 steps" in fit.withheld
    assert fit.warnings == ()
    assert fit.binomial_sd > 0


def test_fit_warns_of_an_intervention(make_run, tmp_path):
    controlled = make_run(tmp_path / "controlled", method="clip_cov", steps=4)
    assert any("ClipCov" in warning for warning in fit_run(controlled).warnings)


@pytest.mark.parametrize(
    ("label", "config", "named"),
    [
        ("baseline", {"control": None, "surrogate": {"name": "PPOClip", "low": 0.2, "high": 0.2}}, None),
        ("baseline", {}, None),
        ("unknown", {"method_key": "grpo"}, None),
        ("placebo", {"control": to_dict(el.RandomClip()), "surrogate": None}, None),
        ("placebo", {"method_key": "random_clip"}, None),
        (
            "x",
            {"control": to_dict([el.EntropyBonus(coef=0.01), el.KLPenalty(coef=0.1)])},
            "EntropyBonus, KLPenalty",
        ),
        ("kl_cov_7b", {}, "KLCov"),
        ("anything", {"method_key": "clip_cov"}, "ClipCov"),
        ("clip_higher", {}, "clip-higher"),
        ("gspo", {}, None),
        ("ce_gppo", {}, "CE-GPPO"),
        ("bapo", {}, "BAPO"),
        ("baseline", {"kl_coef": 0.001, "entropy_coef": 0.0}, "kl_coef"),
    ],
)
def test_interventions(label, config, named):
    warnings = warn_intervention(label, config)
    assert (named is None and not warnings) or f"({named})" in warnings[0]


def test_what_a_run_lacks_is_named(run, tmp_path):
    with pytest.raises(UnknownNameError, match="validation/pass@8"):
        law_points(run, metric="bleu")
    with pytest.raises(UnknownNameError, match="entropy_token_mean"):
        law_points(run, entropy="temperature")
    with pytest.raises(InsufficientDataError, match=r"recorder\.evaluate"):
        law_points(recorded(tmp_path / "unevaluated", 3, []))
    with pytest.raises(InsufficientDataError, match="has 1 steps"):
        law_points(recorded(tmp_path / "one", 1, [0]))
    with pytest.raises(InsufficientDataError, match=r"evaluated without an entropy: 4\), 3 are needed"):
        fit_run(recorded(tmp_path / "two", 4, [0, 2, 4]))
    with pytest.raises(MissingInputError, match="no entropies"):
        law_points(recorded(tmp_path / "observed", 3, [0, 1, 2], entropy=False))


def test_without_accuracies_the_other_performance_is_fitted(tmp_path):
    run = recorded(tmp_path / "scored", 5, [])
    with el.Recorder(tmp_path / "scored") as recorder:
        for step in range(5):
            recorder.evaluate(step, metric="reward", value=float(step), n=10)
            recorder.evaluate(step, metric="entropy", value=1.0, n=10)
    fit = fit_run(run)
    assert (fit.performance_name, fit.performance.tolist()) == ("reward", [0.0, 1.0, 2.0, 3.0, 4.0])
    assert fit.summary().startswith("Ceiling")
    assert "R is 'reward'." in fit.summary()
    assert fit_run(run, metric="entropy").performance_name == "entropy"
