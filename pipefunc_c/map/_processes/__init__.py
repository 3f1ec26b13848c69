"""Runs in worker processes of this package."""
