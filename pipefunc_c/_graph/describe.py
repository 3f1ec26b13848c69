"""Descriptions of a graph: as a dict, as text, as a table."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pipefunc_c import _optional
from pipefunc_c._graph.entries import Entries

if TYPE_CHECKING:
    from pipefunc_c._graph.graph import AnyFunc, FunctionGraph

WIDTH = 100  # characters of a line
MOST_COMBINATIONS = 4  # there may be exponentially many


def summary(graph: FunctionGraph) -> dict[str, tuple[str, ...]]:
    """Sort the names of a graph by what they are.

    Parameters
    ----------
    graph
        The functions.

    Returns
    -------
    dict
        Sorted names under ``required_inputs``, ``optional_inputs``, ``inputs``, ``intermediate_outputs``
        and ``outputs``.

    """
    optional = graph.defaults.keys()
    outputs = {name for function in graph.leaf_functions for name in function.output_names}
    return {
        "inputs": graph.root_args,
        "required_inputs": tuple(name for name in graph.root_args if name not in optional),
        "optional_inputs": tuple(name for name in graph.root_args if name in optional),
        "intermediate_outputs": tuple(sorted(graph.producers.keys() - outputs)),
        "outputs": tuple(sorted(outputs)),
    }


def print_summary(graph: FunctionGraph) -> None:
    """Print what `summary` returns as a table with types, defaults and functions.

    Parameters
    ----------
    graph
        The functions.

    """
    text = _optional.require("rich.text").Text  # or [i] after a name would be taken for a style
    box = _optional.require("rich.box").SIMPLE_HEAD
    table = _optional.require("rich.table").Table(box=box, pad_edge=False)
    entries = Entries(graph)
    names = [f"{name}{entries.axes_text(name)}" for name in (*graph.root_args, *graph.producers)]
    # Of all columns these two are the last to be made narrower.
    table.add_column("", style="dim", min_width=len("intermediate outputs"))
    table.add_column(
        "name", style="bold", overflow="fold", min_width=min(max(map(len, names), default=0), 30)
    )
    for header in ("type", "default", "computed by"):
        table.add_column(header, overflow="fold")
    computed = {entry.name: entry for function in graph.functions for entry in entries.outputs(function)}
    groups = summary(graph)
    for category in ("required_inputs", "optional_inputs", "intermediate_outputs", "outputs"):
        for position, name in enumerate(groups[category]):
            entry = computed[name] if name in computed else entries.input(name)
            function = str(graph.producers[name].__name__) if name in computed else ""
            title = category.replace("_", " ") if position == 0 else ""
            cells = (title, f"{name}{entry.axes}", entry.type, entry.value, function)
            table.add_row(*map(text, cells), end_section=position == len(groups[category]) - 1)
    _optional.require("rich.console").Console().print(table)


def as_text(graph: FunctionGraph, name: str | None = None, description: str | None = None) -> str:
    """List inputs, functions and outputs, and what each function may be computed from.

    Parameters
    ----------
    graph
        The functions.
    name, description
        Of the pipeline.

    Returns
    -------
    str
        Inputs with their types and defaults; the functions in topological order as equations, with all
        indices as in their mapspecs; under a function that takes outputs of others the other sets of names
        that are enough to compute it, a few of them if there are many.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> y = PipeFunc(lambda x, k=2: k * x, "y", mapspec="x[i] -> y[i]")
    >>> print(as_text(FunctionGraph([y, PipeFunc(sum, "z", renames={"iterable": "y"})])))
    Pipeline: 2 functions
    <BLANKLINE>
    Inputs
      k = 2
      start = 0
      x[i]
    <BLANKLINE>
    Functions
      y[i] = <lambda>(x[i], k)
      z = sum(y[:], start)
          or from (k, start, x)
    <BLANKLINE>
    Outputs
      z

    """
    entries = Entries(graph)
    count = len(graph.functions)
    title = f"Pipeline{f' {name!r}' if name else ''}: {count} function{'' if count == 1 else 's'}"
    inputs = [f"  {entries.input(root)}" for root in graph.root_args]
    functions = []
    for function in graph.functions:
        functions += _wrapped(_equation(function, entries), "  ", "      ")
        functions += _wrapped(_alternatives(graph, function), "      ", "        ")
    finals = sorted(
        (entry for leaf in graph.leaf_functions for entry in entries.outputs(leaf)), key=lambda e: e.name
    )
    outputs = [f"  {entry}" for entry in finals]
    lines = [title]
    for paragraph in (description or "").splitlines():
        lines += textwrap.wrap(paragraph, WIDTH) or [""]
    for header, block in (("Inputs", inputs), ("Functions", functions), ("Outputs", outputs)):
        lines += ["", header, *block] if block else []
    return "\n".join(lines)


def _equation(function: AnyFunc, entries: Entries) -> str:
    outputs = [f"{name}{entries.axes_text(name)}" for name in function.output_names]
    arguments = []
    for name in function.parameters:
        bound = name in function.bound
        # A bound parameter shadows an array of the same name.
        arguments.append(
            f"{name}={entries.bound(function, name).value}"
            if bound
            else f"{name}{entries.taken(function, name)}"
        )
    return f"{', '.join(outputs)} = {function.__name__}({', '.join(arguments)})"


def _alternatives(graph: FunctionGraph, function: AnyFunc) -> str:
    """Write what may be given in the place of the arguments themselves."""
    combinations = some_combinations(graph, function, MOST_COMBINATIONS + 1)
    names = [f"({', '.join(sorted(combination))})" for combination in combinations[1:]]
    if len(names) == MOST_COMBINATIONS:
        names[-2] = "…"
    return f"or from {', '.join(names)}" if names else ""


def _wrapped(line: str, indent: str, hanging: str) -> list[str]:
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def some_combinations(graph: FunctionGraph, function: AnyFunc, most: int) -> list[frozenset[str]]:
    """Return a few of the sets of names that are enough to compute a function.

    Parameters
    ----------
    graph
        The functions.
    function
        One of them.
    most
        How many to return at most, at least two.

    Returns
    -------
    list
        First the parameters of the function itself, then sets that lie further and further back; the last
        one has root arguments only.

    Examples
    --------
    >>> from pipefunc_c._function.pipefunc import PipeFunc
    >>> from pipefunc_c._graph.graph import FunctionGraph
    >>> graph = FunctionGraph([PipeFunc(lambda x: x, "y"), PipeFunc(lambda y, k: y, "z")])
    >>> [sorted(names) for names in some_combinations(graph, graph.find("z"), 4)]
    [['k', 'y'], ['k', 'x']]

    """
    found: dict[frozenset[str], None] = {}
    pending: list[tuple[AnyFunc, ...]] = [(function,)]
    for computed in pending:  # grows while it is walked
        names = _needed_by(computed)
        if names not in found:
            found[names] = None
            upstream = dict.fromkeys(
                graph.producers[name] for name in sorted(names) if name in graph.producers
            )
            pending += [(*computed, producer) for producer in upstream]
        if len(found) >= most:
            break
    roots = frozenset(graph.roots_of(graph.needed(function.output_name)))
    first = [names for names in found if names != roots]
    return [*first[: most - 1], roots]


def _needed_by(functions: tuple[AnyFunc, ...]) -> frozenset[str]:
    computed = {name for function in functions for name in function.output_names}
    taken = {n for f in functions for n in f.binding.parameters if n not in f.binding.bound}
    return frozenset(taken - computed)
