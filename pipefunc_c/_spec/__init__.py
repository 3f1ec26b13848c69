"""MapSpecs: how functions map over arrays, and what shapes follow."""
