"""Runs in executors that the user brought."""
