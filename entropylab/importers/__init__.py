"""Importers: the dumps and logs that trainers already write, as run folders and as points of the law."""
