"""The table of token-level formats. Adding one: a module with ``find`` and ``read``, and a row here."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnknownNameError


@dataclass(frozen=True)
class Format:
    """A dump of a trainer. The module has

    ``find(source: Path) -> list[Path]``: its files at or below the source, in order;
    ``read(files: list[Path], context: Context) -> Iterator[ImportedStep | ImportedEvaluation]``.
    ``looked_for``: the names of its files.
    """

    name: str
    module: str
    text: str
    looked_for: str


_ROWS = (
    Format(
        "prime-rl",
        "prime_rl",
        "prime-rl: traces with trainer annotations, or the token exports before them",
        "traces/stream with traces/annotations, or token_exports/step_N/rank_R.jsonl",
    ),
    Format("miles", "miles", "miles --dump-details", "train_data/ID_RANK.pt"),
    Format(
        "verl",
        "verl_rollouts",
        "verl trainer.rollout_data_dir",
        "STEP.jsonl with input, output, score",
    ),
    Format(
        "trl",
        "trl_completions",
        "TRL log_completions",
        "completions/completions_STEP.parquet",
    ),
    Format(
        "nemo-rl",
        "nemo_rl",
        "NeMo-RL training data",
        "train_data_stepN.jsonl",
    ),
)

FORMATS: dict[str, Format] = {row.name: row for row in _ROWS}
"""Format by name, in the order of the help."""


def format_named(name: str) -> Format:
    """The row of a format; `UnknownNameError` lists those there are."""
    if name not in FORMATS:
        raise UnknownNameError(f"format {name!r} does not exist: take one of {', '.join(FORMATS)}")
    return FORMATS[name]
