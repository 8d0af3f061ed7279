"""Matplotlib figures of results and runs, one look, one method -> colour map."""
