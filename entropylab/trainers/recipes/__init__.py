"""Thin recipes for trainers whose seam is a plain loss function; each file says what was run of it."""
