"""Pipelines of plain functions, mapped over arrays at the speed of a loop."""
