"""Pure functions from arrays or runs to frozen results with summary(), to_dict() and plot(ax)."""
