"""Maps pure functions over the steps of runs: in this process, over the cores of this machine, over Ray."""
