"""Hashing: what tells two versions of a function apart."""
