"""Matplotlib figures of result objects, in one look."""
