"""Tokens of sets in cells by prompt, as integers that merge: counts, and their standard errors by prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

Member = np.ndarray | slice
"""Which tokens are in a set: a mask [n], or all."""


def padded_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sum of two arrays; the one with the shorter first axis is 0 beyond its end."""
    shorter, longer = sorted((a, b), key=len)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total


def counts_by_prompt(
    prompts: np.ndarray, cells: np.ndarray, members: Sequence[Member], n_cells: int
) -> np.ndarray:
    """Tokens of each prompt, set and cell [prompts, S, n_cells] from the prompt and cell of each token.

    Tokens whose cell is n_cells are left out.
    """
    shape = int(prompts.max(initial=-1)) + 1, n_cells + 1
    places = prompts * shape[1] + cells
    counts = [np.bincount(places[m], minlength=shape[0] * shape[1]).reshape(shape) for m in members]
    return np.stack(counts, axis=1)[:, :, :n_cells]


@dataclass(frozen=True, eq=False)
class CellCounts:
    """Tokens of S sets in K cells; the first set holds all tokens.

    `total` [S, K]; `held` [S]: prompts with a token of the set; `products` [S K, S K]: products of two counts
    of a prompt, summed over the prompts; exact in int64 while Σ (tokens of a prompt)² is below 2**63.
    """

    total: np.ndarray
    held: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> CellCounts:
        """Of the counts of each prompt, [prompts, S, K]."""
        flat = counts.reshape(len(counts), -1)
        return cls(counts.sum(axis=0), np.count_nonzero(counts.sum(axis=2), axis=0), flat.T @ flat)

    def merge(self, other: CellCounts) -> CellCounts:
        """Of the union of two disjoint sets of prompts."""
        return CellCounts(self.total + other.total, self.held + other.held, self.products + other.products)

    def size(self, which: int) -> int:
        """Tokens of a set."""
        return int(self.total[which].sum())

    def share_error(self, which: int, cell: int) -> float:
        """Standard error, by prompts, of the share of a cell in a set."""
        size = self.size(which)
        terms = {(which, cell): Fraction(1), (which, None): -Fraction(int(self.total[which, cell]), size)}
        return self._error(terms, int(self.held[which]), size)

    def enrichment_error(self, which: int, cell: int) -> float:
        """Standard error, by prompts, of ln(share of a cell in a set / its share in all): delta method."""
        n, inside = self.size(0), self.size(which)
        both, of_kind = int(self.total[which, cell]), int(self.total[0, cell])
        terms = {
            (which, cell): Fraction(n, both),
            (which, None): -Fraction(n, inside),
            (0, cell): -Fraction(n, of_kind),
            (0, None): Fraction(1),
        }
        return self._error(terms, int(self.held[0]), n)

    def _error(self, terms: Mapping[tuple[int, int | None], Fraction], prompts: int, n: int) -> float:
        """Of a mean over n tokens to which a prompt adds its counts in (set, cell or all) x factor."""
        if prompts < 2:
            return 0.0
        chosen = np.zeros((len(terms), *self.total.shape), dtype=np.int64)
        for row, (which, cell) in zip(chosen, terms, strict=True):
            row[which, slice(None) if cell is None else cell] = 1
        flat = chosen.reshape(len(terms), -1)
        products = (flat @ self.products @ flat.T).tolist()
        factors = list(terms.values())
        square = sum(
            a * b * product
            for a, row in zip(factors, products, strict=True)
            for b, product in zip(factors, row, strict=True)
        )
        return math.sqrt(Fraction(prompts, prompts - 1) * square) / n
