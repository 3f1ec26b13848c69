"""Storages: where the results of a map are kept."""
