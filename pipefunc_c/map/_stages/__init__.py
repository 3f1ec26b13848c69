"""The functions of a run: their sources, their arguments, their columns and their errors."""
