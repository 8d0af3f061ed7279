"""What a report says about how its numbers were made."""

from __future__ import annotations

METHODS_TEXT: tuple[tuple[str, str], ...] = (
    (
        "Entropy",
        "H is the mean over all response tokens of a step of the full-vocabulary entropy of the policy, in nats, "
        "as the trainer recorded it. Lines show a running mean; the band is the range over seeds, not an interval.",
    ),
    (
        "The law",
        "R = -a exp(H) + b (arXiv 2505.22617, eq. 6) is fitted to the steps at which an evaluation exists. The "
        "interval averages over a grid of noise models (AR(1) plus white noise) on an H smoothed over the steps, and "
        "is conditional on the law: if the curve has another shape, it can miss. The form band averages over five "
        "curve shapes and is the wider, more cautious statement. The ceiling b - a is the accuracy at H = 0. The law "
        "was proposed for training without any control of the entropy; for runs with one it is a description only. "
        "An interval is withheld where the points cannot carry one, and the reason is given.",
    ),
    (
        "Token covariance",
        "cov_i = (log p_i - mean log p)(A_i - mean A) over the tokens of one update (eq. 10), as the loss used it. "
        "Shares name their denominator: the positive mass is the sum of max(cov_i, 0). The tail is set beside the "
        "tail of a product of independent margins, because such a product is itself heavy; intervals draw whole "
        "prompts, because tokens of one response share an advantage. With sampling at temperature 1 and bounded "
        "advantages the tail is at most exponential far out, so every statement is about the observed range.",
    ),
    (
        "Quadrants",
        "Log-probability above or below its mean, times advantage above or below its mean, both within the update.",
    ),
    (
        "Comparison",
        "Differences are against the baseline, paired by seed where the seeds match. Accuracy at temperature 1 falls "
        "mechanically when entropy is held up, so greedy accuracy and pass@8 stand beside it.",
    ),
)
"""(heading, text) in the order of the report."""
