"""The exact scan, the fits and the likelihood ratios against brute force, published tables and a peer."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import zeta

import entropylab as el
from entropylab.analysis.hurwitz import log_zeta
from entropylab.analysis.power_law_shapes import SHAPES, lognormal, truncated_power_law, weibull
from entropylab.errors import InsufficientDataError, InvalidInputError, UnknownNameError

ALTERNATIVES = tuple(SHAPES)
CLAUSET = [
    ("blackouts", False, 2.272637, 230_000, 59),
    ("cities", False, 2.369952, 52_457, 580),
    ("flares", False, 1.788407, 323, 1711),
    ("fires", False, 2.163629, 6324, 521),
    ("words", True, 1.95, 7, 2958),
    ("terrorism", True, 2.37, 12, 547),
]
"""arXiv 0706.1062, table 6.1, with more digits of the exact scan where the values are continuous."""


@pytest.fixture(scope="module")
def data():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        powerlaw = pytest.importorskip("powerlaw")

        def load(name):
            x = np.asarray(powerlaw.load_test_dataset(name), dtype=float)
            return x[x > 0]

        yield load


@pytest.mark.parametrize(("name", "discrete", "alpha", "xmin", "n_tail"), CLAUSET)
def test_the_published_table(data, name, discrete, alpha, xmin, n_tail):
    fit = el.fit_power_law(data(name), discrete=discrete)
    assert fit.alpha == pytest.approx(alpha, abs=5e-7 if not discrete else 5e-3)
    assert (fit.xmin, fit.n_tail) == (xmin, n_tail)


@pytest.mark.parametrize(
    ("name", "alternative", "ratio", "p"),
    [
        ("blackouts", "lognormal", -0.412, 0.68),
        ("blackouts", "exponential", 1.43, 0.15),
        ("cities", "lognormal", -0.090, 0.93),
        ("cities", "exponential", 3.65, 0.0),
        ("fires", "lognormal", -1.78, 0.08),
        ("fires", "exponential", 4.00, 0.0),
        ("flares", "lognormal", -0.803, 0.42),
        ("flares", "exponential", 13.7, 0.0),
    ],
)
def test_the_published_likelihood_ratios(data, name, alternative, ratio, p):
    """Of arXiv 0706.1062, table 6.2; its deviation of the ratio was taken a little differently."""
    found = el.fit_power_law(data(name)).compare(alternative)
    assert found.ratio == pytest.approx(ratio, rel=0.02, abs=0.005)
    assert found.p == pytest.approx(p, abs=0.01)


@pytest.mark.quick("*-blackouts", "truncated_power_law-*")
@pytest.mark.parametrize("name", ["blackouts", "fires"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("lognormal", "lognormal"),
        ("exponential", "exponential"),
        ("weibull", "stretched_exponential"),
        ("truncated_power_law", "truncated_power_law"),
    ],
)
def test_no_lower_likelihood_than_the_peer_finds(data, name, ours, theirs):
    import powerlaw

    x = data(name)
    fit = el.fit_power_law(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = powerlaw.Fit(x, xmin=fit.xmin, verbose=0)
        total = peer.distribution_compare("power_law", theirs)[0]
    found = fit.compare(ours)
    assert found.total <= total + 1e-3, "the alternative is fitted at least as well"
    assert found.total == pytest.approx(total, abs=0.02)


@pytest.mark.quick("flares-*", "terrorism-*")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "discrete", "p", "n"),
    [("blackouts", False, 0.62, 300), ("flares", False, 1.0, 100), ("terrorism", True, 0.68, 100)],
)
def test_goodness_of_fit_of_the_published_table(data, name, discrete, p, n):
    found = el.fit_power_law(data(name), discrete=discrete).goodness_of_fit(n, seed=1)
    assert found.p == pytest.approx(p, abs=4 * np.sqrt(0.25 / n) * (p < 1) + 0.03)


def test_goodness_of_fit_rejects_an_exponential_and_a_seed_repeats_it():
    x = np.random.default_rng(0).exponential(size=3000) + 1.0
    fit = el.fit_power_law(x, xmin=1.0)
    first = fit.goodness_of_fit(60, seed=4, workers=1)
    assert first.p == pytest.approx(1 / 61)
    assert np.array_equal(first.distances, fit.goodness_of_fit(60, seed=4, workers=3).distances)


# --- brute force


def _brute(ordered):
    best = (np.nan, np.inf)
    for xmin in np.unique(ordered)[:-1]:
        tail = ordered[ordered >= xmin]
        alpha = 1 + len(tail) / np.log(tail / xmin).sum()
        gap = np.abs(np.arange(len(tail)) / len(tail) - 1 + (tail / xmin) ** (1 - alpha)).max()
        best = min(best, (xmin, gap), key=lambda pair: pair[1])
    return best


def _brute_discrete(ordered):
    best = (np.nan, np.inf)
    for xmin in np.unique(ordered)[:-1]:
        tail = ordered[ordered >= xmin]
        mean = np.log(tail).mean()
        found = minimize_scalar(
            lambda a, x=xmin, m=mean: np.log(zeta(a, x)) + a * m,
            bounds=(1.0001, 60),
            method="bounded",
            options={"xatol": 1e-11},
        )
        whole = np.arange(xmin, tail[-1] + 1)
        fitted = 1 - zeta(found.x, whole + 1) / zeta(found.x, xmin)
        gap = np.abs(np.searchsorted(tail, whole, side="right") / len(tail) - fitted).max()
        if gap < best[1] - 1e-9:
            best = (xmin, gap)
    return best


@settings(max_examples=300, deadline=None)
@given(
    n=st.integers(3, 150), kind=st.sampled_from(["pareto", "lognormal", "ties"]), seed=st.integers(0, 2**31)
)
def test_the_scan_is_exact(n, kind, seed):
    rng = np.random.default_rng(seed)
    x = rng.lognormal(size=n) if kind == "lognormal" else rng.pareto(1.5, n) + 1
    x = np.round(4 * x) if kind == "ties" else x
    if len(np.unique(x)) < 2:
        return
    fit, (xmin, gap) = el.fit_power_law(x), _brute(np.sort(x))
    assert fit.ks == pytest.approx(gap, abs=1e-12)
    assert fit.xmin == xmin
    again = el.fit_power_law(x, xmin=fit.xmin)
    assert (again.alpha, again.ks) == (pytest.approx(fit.alpha), pytest.approx(fit.ks))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(3, 120), exponent=st.floats(1.6, 3.5), seed=st.integers(0, 2**31))
def test_the_discrete_scan_is_exact(n, exponent, seed):
    x = np.random.default_rng(seed).zipf(exponent, n).clip(max=3000).astype(float)
    if len(np.unique(x)) < 2:
        return
    fit, (_, gap) = el.fit_power_law(x, discrete=True), _brute_discrete(np.sort(x))
    assert fit.ks == pytest.approx(gap, abs=1e-7)
    again = el.fit_power_law(x, xmin=fit.xmin, discrete=True)
    assert (again.alpha, again.ks) == (pytest.approx(fit.alpha), pytest.approx(fit.ks))


def test_log_zeta():
    for s in (1.001, 1.5, 2.3, 7.0, 30.0):
        for q in (1.0, 3.0, 50.0):
            assert float(log_zeta(s, q)) == pytest.approx(np.log(zeta(s, q)), rel=1e-9)
    assert float(log_zeta(100.0, 1e5)) == pytest.approx(-99 * np.log(1e5) - np.log(99), rel=1e-4)


# --- the shapes


def _density(name, parameters, v):
    """The same densities from scipy, cut at 1."""
    if name == "exponential":
        return stats.expon(loc=1, scale=1 / parameters["rate"]).logpdf(v)
    if name == "truncated_power_law":
        alpha, rate = parameters["alpha"], parameters["rate"]
        total = sum(
            quad(lambda x: x**-alpha * np.exp(-rate * x), a, b, limit=200)[0]
            for a, b in ((1, 10), (10, 1e3), (1e3, np.inf))
        )
        return -alpha * np.log(v) - rate * v - np.log(total)
    if name == "weibull":
        whole = stats.weibull_min(parameters["shape"], scale=parameters["scale"])
    else:
        whole = stats.lognorm(parameters["sigma"], scale=np.exp(parameters["mu"]))
    return whole.logpdf(v) - whole.logsf(1)


@pytest.mark.parametrize("name", ALTERNATIVES)
@pytest.mark.parametrize("kind", ["pareto", "lognormal", "exponential"])
def test_every_density_is_that_of_scipy_and_a_maximum(name, kind):
    rng = np.random.default_rng(3)
    draws = {"pareto": rng.pareto(2.0, 4000) + 1, "exponential": 1 + rng.exponential(size=4000)}
    v = (draws | {"lognormal": np.exp(np.abs(rng.normal(size=4000)))})[kind]
    found = SHAPES[name](v)
    if not all(np.isfinite(x) and x != 0 for x in found.parameters.values()):
        return  # the power law itself
    np.testing.assert_allclose(found.log_density, _density(name, found.parameters, v), rtol=1e-6, atol=1e-6)
    for key, value in found.parameters.items():
        for factor in (0.99, 1.01):
            moved = _density(name, found.parameters | {key: value * factor}, v)
            assert moved.sum() <= found.log_density.sum() + 1e-6


def test_draws_give_their_parameters_back():
    rng = np.random.default_rng(5)
    y = rng.normal(0.5, 0.8, 400_000)
    found = lognormal(np.exp(y[y > 0])).parameters
    assert found == {"mu": pytest.approx(0.5, abs=0.02), "sigma": pytest.approx(0.8, abs=0.01)}
    x = rng.weibull(0.6, 400_000) * 2.0
    found = weibull(x[x > 1]).parameters
    assert found == {"shape": pytest.approx(0.6, abs=0.02), "scale": pytest.approx(2.0, rel=0.1)}
    v = rng.pareto(1.5, 2_000_000) + 1
    v = v[rng.random(len(v)) < np.exp(-0.05 * (v - 1))]
    found = truncated_power_law(v).parameters
    assert found == {"alpha": pytest.approx(2.5, abs=0.02), "rate": pytest.approx(0.05, abs=0.005)}


@pytest.mark.parametrize("name", ["weibull", "lognormal", "truncated_power_law"])
def test_a_shape_that_holds_the_power_law_is_never_worse(name):
    for seed in range(20):
        x = np.random.default_rng(seed).pareto(1.5, 300) + 1
        assert el.fit_power_law(x, xmin=1.0).compare(name).total <= 1e-9


def test_ratios_of_a_lognormal_and_a_power_law_point_the_right_way():
    rng = np.random.default_rng(2)
    fit = el.fit_power_law(np.exp(rng.normal(0.3, 0.7, 5000)), xmin=1.0)
    assert fit.compare("lognormal").favours == "lognormal"
    assert el.fit_power_law(rng.pareto(1.2, 5000) + 1, xmin=1.0).compare("exponential").favours == "power_law"


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_whole_numbers_against_their_rounded_alternatives(name):
    x = np.random.default_rng(1).zipf(2.3, 4000).astype(float)
    fit = el.fit_power_law(x, xmin=3, discrete=True)
    found = fit.compare(name)
    assert np.isfinite([found.ratio, found.total, found.p]).all()
    assert found.favours in ("neither", "power_law")
    assert fit.alpha == pytest.approx(2.3, abs=0.15)


def test_clusters_widen_the_deviation_of_the_ratio():
    """Each value twice is one value: by clusters the ratio is that of the single values."""
    x = np.random.default_rng(7).lognormal(size=800) + 1
    single, double = el.fit_power_law(x, xmin=1.5), el.fit_power_law(np.repeat(x, 2), xmin=1.5)
    ids = np.repeat(np.arange(800), 2)
    alone, naive = single.compare("lognormal"), double.compare("lognormal")
    grouped = double.compare("lognormal", clusters=ids)
    assert naive.ratio == pytest.approx(alone.ratio * np.sqrt(2), rel=1e-6)
    assert grouped.ratio == pytest.approx(alone.ratio, rel=2e-3)


# --- bad input


@pytest.mark.parametrize(
    ("x", "keywords", "error", "message"),
    [
        ([], {}, InsufficientDataError, "empty"),
        ([1.0, np.nan, 2.0], {}, InvalidInputError, r"x\[1\] is nan"),
        ([1.0, 0.0, 2.0], {}, InvalidInputError, r"x\[1\] is 0.*x\[x > 0\]"),
        ([1.0, -3.0], {}, InvalidInputError, r"x\[1\] is -3"),
        ([[1.0, 2.0]], {}, InvalidInputError, "shape"),
        ([2.0, 2.0, 2.0], {}, InsufficientDataError, "all 3 values are 2"),
        ([1.0, 2.5], {"discrete": True}, InvalidInputError, r"x\[1\] is 2.5.*whole"),
        ([1.0, 2.0, 3.0], {"xmin": 5.0}, InvalidInputError, "xmin is 5.0"),
        ([1.0, 2.0, 3.0], {"xmin": -1.0}, InvalidInputError, "xmin is -1.0"),
        ([1.0, 2.0, 3.0], {"xmin": 2.9}, InsufficientDataError, "1 values lie above"),
    ],
)
def test_bad_input_is_named(x, keywords, error, message):
    with pytest.raises(error, match=message):
        el.fit_power_law(x, **keywords)


def test_bad_questions_are_named():
    fit = el.fit_power_law(np.arange(1.0, 50.0))
    with pytest.raises(UnknownNameError, match="'cauchy' does not exist"):
        fit.compare("cauchy")
    with pytest.raises(InvalidInputError, match="one id a value"):
        fit.compare("lognormal", clusters=[1, 2])
    with pytest.raises(InvalidInputError, match="n_bootstrap is 0"):
        fit.goodness_of_fit(0)
    assert "alpha" in fit.to_dict()
    assert "values" not in fit.to_dict()
    assert fit.summary().startswith("A continuous power law of exponent")
    assert fit.compare("exponential").to_dict()["alternative"] == "exponential"


def test_plot():
    pytest.importorskip("matplotlib")
    ax = el.fit_power_law(np.random.default_rng(0).pareto(1.5, 500) + 1).plot()
    assert ax.get_xscale() == "log"
    assert len(ax.lines) == 2
