"""Code as text: instructions with resolved arguments, without files, lines and docstrings."""

from __future__ import annotations

import dis
from itertools import zip_longest
from types import CodeType
from typing import TYPE_CHECKING

from pipefunc_c._hashing.plain import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_GLOBAL_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTE_LOADS = {"LOAD_ATTR", "LOAD_METHOD"}
# What only marks lines, or makes room for large arguments.
_SILENT = {"NOP", "EXTENDED_ARG", "CACHE", "RESUME"}
_NAMED_OPCODES = {*dis.hasname, *dis.haslocal, *dis.hasfree, *dis.hascompare}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_CONSTANTS = set(dis.hasconst)
# Variable arguments and keywords; generators and coroutines of all kinds.
_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x200
_BOOKKEEPING = {"__doc__", "__firstlineno__"}


class Names:
    """Collect what code reaches by name.

    Attributes
    ----------
    chains : dict
        Globals that are read, each with the attributes that are read of it, as tuples.
    stored_globals, stored_cells : set of str
        Variables that the code itself changes.
    imported : dict
        Modules that are imported inside of the function.
    """

    def __init__(self) -> None:
        self.chains: dict[tuple[str, ...], None] = {}
        self.stored_globals: set[str] = set()
        self.stored_cells: set[str] = set()
        self.imported: dict[str, None] = {}

    def read(self, instructions: Sequence[dis.Instruction]) -> None:
        """Add the names in a list of instructions."""
        chain: tuple[str, ...] = ()
        for instruction in instructions:
            name, argument = instruction.opname, instruction.argval
            if chain and name in _ATTRIBUTE_LOADS:
                chain = (*chain, argument)
                continue
            if chain:
                self.chains[chain] = None
            chain = (argument,) if name in _GLOBAL_LOADS else ()
            if name == "STORE_GLOBAL":
                self.stored_globals.add(argument)
            elif name == "STORE_DEREF":
                self.stored_cells.add(argument)
            elif name == "IMPORT_NAME":
                self.imported[argument] = None


def code_text(code: CodeType, names: Names) -> str:
    """Write code as text, without names of files, lines and docstrings.

    Parameters
    ----------
    code
        The code; that of inner functions is written with it.
    names
        Gets the names that the code reads.

    Returns
    -------
    str
    """
    listing = dis.Bytecode(code)
    instructions: list[dis.Instruction] = []
    labels: dict[int, int] = {}
    for each in listing:
        labels[each.offset] = len(instructions)
        if each.opname not in _SILENT:
            instructions.append(each)
    end = len(instructions)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS)
    n_parameters = counts[0] + counts[2] + (code.co_flags & 0x0C).bit_count()
    lines = [f"code {counts} {code.co_varnames[:n_parameters]} {code.co_freevars}"]
    names.read(instructions)
    for instruction, after in zip_longest(instructions, instructions[1:]):
        if instruction.opcode in _CONSTANTS:
            # A class body stores its docstring and first line like any attribute.
            if after is not None and after.opname == "STORE_NAME" and after.argval in _BOOKKEEPING:
                continue
            constant = instruction.argval
            text = code_text(constant, names) if isinstance(constant, CodeType) else plain_text(constant)
        elif instruction.opcode in _JUMPS:
            text = f"to {labels.get(instruction.argval, end)}"
        elif instruction.opcode in _NAMED_OPCODES:
            text = str(instruction.argval)
        else:
            text = str(instruction.arg)
        lines.append(f"{instruction.opname} {text}")
    for entry in getattr(listing, "exception_entries", ()):
        span = [labels.get(offset, end) for offset in (entry.start, entry.end, entry.target)]
        lines.append(f"handler {span} {entry.depth} {entry.lasti}")
    return "\n".join(lines)
