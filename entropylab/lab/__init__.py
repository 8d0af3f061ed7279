"""A tiny, real reinforcement-learning experiment that runs on a laptop."""
