"""The rows of compare.py, one module per kind of work."""
