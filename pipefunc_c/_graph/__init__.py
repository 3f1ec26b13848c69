"""Functions connected by the names of their parameters and outputs, as data."""
