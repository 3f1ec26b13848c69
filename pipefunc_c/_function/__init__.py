"""Functions with named outputs: the nodes of a pipeline."""
