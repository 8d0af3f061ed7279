"""The adapter of TRL: watches `trl.GRPOTrainer` at its seams and lets a control in as a changed advantage."""
