"""What a run keeps on disk beside its results, and whether a later one may go on with it."""
