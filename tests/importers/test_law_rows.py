"""The rule that gives an evaluation its entropy, and the choice of columns and steps."""

from __future__ import annotations

import pytest

from entropylab.errors import InsufficientDataError, InvalidInputError, MissingInputError, UnknownNameError
from entropylab.importers.law_rows import law_rows
from entropylab.importers.metric_names import METRIC_NAMES, choose_columns
from entropylab.importers.metrics_log import MetricsLog


def log(*rows):
    made = MetricsLog()
    for row in rows:
        made.add(row)
    return made


def pairs(made, entropy="H", performance="R", step=None):
    frame = law_rows(made, entropy, performance, step, "log").frame
    return [tuple(round(x, 12) for x in row) for row in frame.itertuples(index=False)]


def test_the_entropy_of_the_evaluations_step():
    rows = [{"step": s, "H": 1 - s / 10} for s in range(9)] + [{"step": s, "R": s / 10} for s in (2, 6)]
    assert pairs(log(*rows)) == [(2, 0.8, 0.2), (6, 0.4, 0.6)]


def test_between_two_entropies_a_straight_line_and_a_note():
    rows = [{"step": s, "H": 1 - s / 100} for s in range(0, 60, 10)] + [{"step": 25, "R": 0.5}]
    found = law_rows(log(*rows), "H", "R", None, "log")
    assert found.frame["entropy"].tolist() == pytest.approx([0.75])
    assert found.notes == ("1 evaluations lie between logged entropies: theirs is interpolated linearly",)


def test_no_line_over_a_gap_or_beyond_the_ends():
    entropies = [{"step": s, "H": 0.5 - s / 1000} for s in (10, 20, 30, 70, 80)]
    scores = [{"step": s, "R": 0.1} for s in (0, 25, 50, 90)]
    found = law_rows(log(*entropies, *scores), "H", "R", None, "log")
    assert found.frame["step"].tolist() == [25]
    assert "3 evaluations have no entropy at or around their step" in found.notes[1]
    assert "(steps 0, 50, 90)" in found.notes[1]


def test_a_nan_entropy_is_not_bridged():
    rows = [{"step": s, "H": float("nan") if s == 2 else 0.5, "R": 0.1} for s in range(5)]
    found = law_rows(log(*rows), "H", "R", None, "log")
    assert found.frame["step"].tolist() == [0, 1, 3, 4]
    assert found.problems == ("1 of 5 values of 'H' are NaN or infinite, and left out (steps 2)",)


def test_the_last_value_of_a_step_counts_and_a_change_is_noted():
    rows = [{"step": 1, "H": 0.5, "R": 0.1}, {"step": 1, "H": 0.4, "R": 0.1}, {"step": 2, "H": 0.3, "R": 0.2}]
    found = law_rows(log(*rows), "H", "R", None, "log")
    assert found.frame["entropy"].tolist() == [0.4, 0.3]
    assert found.notes == ("1 values of 'H' were logged again at the same step; the last counts",)


def test_without_steps_the_rows_count():
    found = law_rows(
        log({"H": 0.5, "R": 0.1}, {"H": 0.4}, {"H": 0.3, "R": float("inf")}), "H", "R", None, "log"
    )
    assert list(found.frame.columns) == ["entropy", "performance"]
    assert found.frame.to_numpy().tolist() == [[0.5, 0.1]]
    assert found.problems == ("1 of 2 values of 'R' are NaN or infinite, and left out (steps 2)",)


def test_steps_of_one_family_are_one_clock():
    rows = [{"rollout/step": s, "rollout/entropy": 1 - s / 10} for s in range(6)]
    rows += [{"eval/step": s, "eval/aime": s / 10} for s in (2, 4)]
    found = law_rows(log(*rows), None, None, None, "log")
    assert found.columns.trainer == "slime, miles"
    assert found.step == "rollout/step or eval/step"
    assert found.frame["step"].tolist() == [2, 4]


def test_two_clocks_are_refused_and_a_common_one_is_taken():
    rows = [{"train/step": 4 * s, "train/entropy_loss": 0.5 - s / 100} for s in range(4)]
    rows += [{"eval/step": s, "eval/aime": 0.1 + s / 10} for s in range(4)]
    with pytest.raises(MissingInputError, match=r"by different steps \(eval/step, train/step\).*--step COL"):
        law_rows(log(*rows), None, None, None, "log")
    common = [{**row, "_step": i} for i, row in enumerate(rows)]
    with pytest.raises(InsufficientDataError, match="no entropy at or around"):
        law_rows(log(*common), None, None, None, "log")


def test_a_named_step_counts():
    rows = [{"step": i, "tokens": 100 * i, "H": 1 - i / 10, "R": i / 10} for i in range(3)]
    assert [s for s, *_ in pairs(log(*rows), step="tokens")] == [0, 100, 200]


def test_rows_of_a_summary_without_a_step_do_not_count():
    rows = [{"step": s, "H": 0.5 - s / 10, "R": 0.1} for s in range(3)]
    assert len(pairs(log(*rows, {"H": 0.9, "R": 0.9}))) == 3


@pytest.mark.parametrize(
    ("rows", "columns", "error", "words"),
    [
        (
            [{"step": 1, "H": 1.0}],
            {"performance": "R"},
            UnknownNameError,
            "No column 'R' in log; it has: step, H",
        ),
        ([{"step": 1, "H": 1.0, "R": 1.0}], {"step": "s"}, UnknownNameError, "No column 's'"),
        ([{"step": 1, "H": "high", "R": 1.0}], {}, InvalidInputError, "no number: 'high'"),
        ([{"step": "one", "H": 1.0, "R": 1.0}], {}, InvalidInputError, "no number: 'one'"),
        ([{"step": 1, "H": 1.0}, {"step": 2, "R": 1.0}], {}, InsufficientDataError, "holds both 'H' and 'R'"),
        ([], {}, InsufficientDataError, "holds no row"),
    ],
)
def test_errors_are_named(rows, columns, error, words):
    names = {"entropy": "H", "performance": "R", "step": None} | columns
    with pytest.raises(error, match=words):
        law_rows(log(*rows), *names.values(), "log")


@pytest.mark.parametrize(
    ("trainer", "names", "chosen"),
    [
        (
            "verl",
            ["actor/entropy", "val-core/openai/gsm8k/acc/mean@32", "val-core/openai/gsm8k/acc/best@32/mean"],
            1,
        ),
        ("prime-rl", ["entropy/all/mean", "eval/aime/all/agent/avg@16", "eval/aime/policy_version"], 1),
        ("slime, miles", ["train/entropy_loss", "eval/aime", "eval/aime-truncated_ratio", "eval/step"], 1),
        ("OpenRLHF", ["train/entropy_loss", "eval/eval_math_pass1", "eval/eval_math_pass4"], 1),
        ("NeMo-RL", ["train/approx_entropy", "validation/accuracy", "validation/avg_length"], 1),
        ("TRL", ["entropy", "eval_reward", "eval_rewards/right/mean", "reward"], 1),
    ],
)
def test_every_trainers_names_are_found(trainer, names, chosen):
    found = choose_columns(["step", *names], None, None, "log")
    assert (found.trainer, found.entropy, found.performance) == (trainer, names[0], names[chosen])


def test_the_table_names_every_trainer_once():
    assert len({row.trainer for row in METRIC_NAMES}) == len(METRIC_NAMES)


def test_several_evaluations_are_listed():
    names = ["actor/entropy", "val-core/a/acc/mean@8", "val-core/b/acc/mean@8"]
    with pytest.raises(MissingInputError, match=r"--performance COL: val-core/a/acc/mean@8, val-core/b"):
        choose_columns(names, None, None, "log")
    assert choose_columns(names, None, names[2], "log").performance == names[2]


def test_unknown_names_ask_for_both():
    with pytest.raises(MissingInputError, match=r"--entropy COL --performance COL; it has: step, H, acc"):
        choose_columns(["step", "H", "acc"], None, None, "log")
