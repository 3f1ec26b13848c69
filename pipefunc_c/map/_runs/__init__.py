"""The entries of a map: at once, beside an event loop, and many of them."""
