"""One small file a control: its settings, its rule in torch, and the NumPy twin of its selection."""
