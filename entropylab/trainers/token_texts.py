"""The text of each token id, from a trainer's tokenizer."""

from __future__ import annotations

from typing import Any

UNDECODED = "\ufffd"
"""What stands for bytes that are no character by themselves."""


def token_texts(processor: Any) -> list[str] | None:
    """The decoded text of each id, [V]; None where the processor has no tokenizer that decodes.

    A token that is a part of a character keeps the tokenizer's own name.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    if not hasattr(tokenizer, "batch_decode") or not hasattr(tokenizer, "__len__"):
        return None
    ids = list(range(len(tokenizer)))
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    texts = tokenizer.batch_decode([[i] for i in ids], **options)
    names = tokenizer.convert_ids_to_tokens(ids)
    return [_text(text, name) for text, name in zip(texts, names, strict=True)]


def _text(text: str, name: str | None) -> str:
    return name or text if UNDECODED in text or not text else text
