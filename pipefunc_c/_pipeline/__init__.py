"""The facade that users hold."""
