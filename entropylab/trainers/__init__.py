"""Attaching to trainers: one adapter a trainer, found from what the trainer's process has loaded."""
