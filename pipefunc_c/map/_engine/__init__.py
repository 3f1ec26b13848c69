"""The plan of a run, the scheduler that decides what runs, and the drivers' common ground."""
