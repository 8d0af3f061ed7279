"""Text from a run (names, settings, tokens) made fit to show: nothing invisible acts, nothing is endless."""

from __future__ import annotations

import re

NAME_LENGTH = 60
"""Characters of a name that is shown in full."""

_KEPT = "\t\n"
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, embeddings and overrides of the writing direction, halves of surrogate pairs."""


def visible(text: str) -> str:
    """Control characters as their pictures (escape is "␛"), other unseen ones as "�"; lines and tabs stay."""
    return _UNSEEN.sub(_stand_in, text)


def shorten(text: str, longest: int = NAME_LENGTH) -> str:
    """The text, or both its ends around "…" where it is longer."""
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def one_line(text: str, longest: int = NAME_LENGTH) -> str:
    """A name as one short line of visible characters."""
    return shorten(visible(" ".join(shorten(text, 10 * longest).split())), longest)


def drawn(text: str) -> str:
    """A name as matplotlib draws it: one short line in which ``$`` is a dollar, not a formula."""
    return one_line(text).replace("$", r"\$")


def _stand_in(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] in _KEPT:
        return match[0]
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else "�"
