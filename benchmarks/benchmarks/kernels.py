"""Deterministic figures of the compiled loop."""

from __future__ import annotations

from benchmarks import instructions


class Instructions:
    """The instructions that one element costs, counted by callgrind; skipped without valgrind."""

    params = tuple(instructions.CASES)
    param_names = ("case",)
    timeout = 300

    def setup(self, case):
        if not instructions.can_count():
            raise NotImplementedError("valgrind counts the instructions")

    def track_instructions_per_element(self, case):
        return round(instructions.instructions_per_element(case), 1)

    track_instructions_per_element.unit = "instructions"
