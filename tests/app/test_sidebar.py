"""The sidebar: what is ticked at first, what the URL keeps, how runs are named and gathered."""

from __future__ import annotations

from run_finder import Entry
from run_picker import Picked, age, style_of

from entropylab.plots.style import method_style


def entry(slug: str, method: str = "baseline", n_steps: int = 3) -> Entry:
    group, name = slug.rsplit("/", 1)
    return Entry(f"/data/{slug}", 1.0, slug, group, name, method, n_steps, ())


def test_one_group_is_ticked_at_first(open_app, runs) -> None:
    page = open_app(runs)
    assert [box.value for box in page.test.checkbox] == [False, True, True, True, True]
    assert page.test.query_params["runs"] == [
        "start-a/baseline-s0",
        "start-a/baseline-s1",
        "start-a/clip_cov-s0",
        "start-a/clip_cov-s1",
    ]


def test_the_url_decides_which_runs_are_ticked(open_app, runs) -> None:
    page = open_app(runs, query={"runs": ["other/baseline-s0"]})
    assert [box.value for box in page.test.checkbox] == [True, False, False, False, False]


def test_a_url_of_runs_that_are_gone_falls_back(open_app, runs) -> None:
    page = open_app(runs, query={"runs": ["gone"], "run": ["gone"]})
    assert sum(box.value for box in page.test.checkbox) == 4
    assert page.go("law").exceptions == []


def test_group_by_smoothing_and_axis_redraw_without_error(open_app, runs) -> None:
    page = open_app(runs)
    page.test.segmented_control(key="group").set_value("none")
    page.test.segmented_control(key="x").set_value("tokens")
    page.test.slider(key="smooth").set_value(1).run()
    assert page.exceptions == []
    assert page.charts == 6


def test_without_a_tick_a_page_says_what_to_do(open_app, runs) -> None:
    page = open_app(runs)
    page.test.button[1].click().run()
    assert not any(box.value for box in page.test.checkbox)
    assert page.sentences == ["No run is chosen: tick one in the sidebar."]
    assert page.go("law").sentences == ["No run is chosen: tick one in the sidebar."]


def test_a_page_opens_with_a_run_that_holds_steps() -> None:
    empty, kl, base = entry("a/empty", n_steps=0), entry("a/kl", "kl_cov"), entry("a/later")
    chosen = Picked((empty, kl, base), False, 5, "steps")
    assert chosen.focus() == base
    assert chosen.focus(controlled=True) == kl
    assert Picked((empty,), False, 5, "steps").focus() == empty
    assert Picked((empty, kl), False, 5, "steps").focus() == kl


def test_two_groups_are_never_gathered_and_names_stay_apart() -> None:
    both = Picked((entry("a/baseline-s0"), entry("b/baseline-s0")), True, 5, "steps")
    assert [both.family(e) for e in both.entries] == ["a: Baseline", "b: Baseline"]
    assert [both.label(e) for e in both.entries] == ["a/baseline-s0", "b/baseline-s0"]
    one = Picked((entry("a/baseline-s0"), entry("a/kl-s0", "kl_cov")), True, 5, "steps")
    assert [one.label(e) for e in one.entries] == ["baseline-s0", "kl-s0"]
    assert [one.family(e) for e in one.entries] == ["Baseline", "KL-Cov"]
    assert one.focus().name == "baseline-s0"
    assert one.focus(controlled=True).name == "kl-s0"


def test_colours_are_those_of_the_figures() -> None:
    assert style_of(entry("a/x", "clip_cov")) == method_style("clip_cov")
    assert style_of(entry("a/kl_cov-s0", "unknown")) == method_style("kl_cov-s0")


def test_ages_are_in_one_unit(monkeypatch) -> None:
    monkeypatch.setattr("run_picker.time.time", lambda: 1_000_000.0)
    ages = [age(1_000_000.0 - back) for back in (0, 59, 60, 7200, 200_000)]
    assert ages == ["just now", "just now", "1 min ago", "2 h ago", "2 d ago"]
