"""Compiled kernels: index arithmetic, columns and the element-task loop."""
