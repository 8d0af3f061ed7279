"""What to read off each chart, in one or two sentences, by the chart's key."""

from __future__ import annotations

GUIDANCE = {
    "law_chart": "Points on the line: the law holds so far. The diamond at H = 0 is the ceiling, its whiskers the "
    "interval, if it has one; where the form band is much wider, the ceiling rests on the shape assumed.",
    "tail_survival": "A line far above its independence null says that high covariance is more than two heavy margins "
    "meeting by chance. Straight on these axes: like a power law.",
    "tail_lorenz": "The steeper the rise at the left, the fewer tokens hold the positive covariance.",
    "tail_course": "Lines that drift apart: ever fewer tokens carry the covariance. On small steps the smallest "
    "fraction is a single token.",
    "positions": "Lines above the bars: the set is over-represented there.",
    "enrichment": "Right of 1 and with an interval that stays there: more frequent in the set than anywhere else.",
    "probability": "The same by the probability of the token: rare tokens stand at the low end.",
    "what_if_quadrants": "Tokens of low probability with an advantage above and of high probability below have negative "
    "covariance; choosing by highest covariance takes the other two.",
    "what_if_pieces": "Where the solid line is low, a loss that sees so few responses at a time does not choose the "
    "tokens of the whole batch.",
    "what_if_updates": "Dips are updates of fewer tokens, or with too few between the bounds.",
    "dynamics_scatter": "A cloud along a rising line: in steps with more covariance the entropy fell more, as the theory has it.",
    "dynamics_windows": "An interval clear of 0 over several windows is evidence; a slope that changes with the window "
    "is not one step size.",
    "influence_capture": "1: as good as choosing by the exact influence. Around 0: no better than chance.",
    "influence_saved": "Short of 100 % for every quantity: a small fraction of the tokens cannot hold the whole change.",
    "influence_course": "A line that sinks: as the policy sharpens, the proxy tells less of where the entropy goes.",
    "influence_quadrant": "Ranked within each quadrant alone: a proxy may be right about rare tokens and blind to the rest. "
    "Values below -1 stand at -1.",
    "influence_entropy": "Ranked within each quarter alone, from the surest states to the most open ones.",
    "dynamics_cumulated": "Sums agree easily: where the line in random order follows too, the agreement is no evidence.",
}
