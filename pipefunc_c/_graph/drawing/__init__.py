"""Drawing: a graph becomes a `Picture`, which one renderer or another puts on paper."""
