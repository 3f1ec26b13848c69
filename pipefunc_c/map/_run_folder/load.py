"""Outputs of a run folder: of a run that is over, stopped or still going on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipefunc_c._storage.narrowing import typed_array
from pipefunc_c.exceptions import UnknownNameError
from pipefunc_c.map._run_folder.run_info import RunInfo
from pipefunc_c.map._run_folder.run_stores import StoreOpener

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pipefunc_c._storage.base import StorageBase


def load_outputs(*output_names: str, run_folder: str | Path) -> Any:
    """Load outputs of a run.

    Parameters
    ----------
    *output_names
        Names of outputs.
    run_folder
        The folder of the run, which may still go on.

    Returns
    -------
    object or list of object
        One value for one name, else a list of them. A mapped output is a masked array: a typed one where all
        elements have one type, else one of objects; elements that are not there yet are masked. The output of
        a single call is its value, or ``np.ma.masked``.

    Raises
    ------
    RunFolderNotFoundError
        If there is no run; it is a FileNotFoundError as well.
    DamagedFileError
        If run_info.json is damaged. Damaged results are missing.
    UnknownNameError
        If there is no such output.

    Notes
    -----
    The folder is read as it is now; load again to see more. Like any pickle, results must be trusted.

    Examples
    --------
    >>> load_outputs("y", run_folder="no/such/folder")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    pipefunc_c.map._run_folder.run_info.RunFolderNotFoundError: there is no run in 'no/such/folder': ...
    """
    reader = OutputReader(run_folder)
    reader.check_names(output_names)
    values = [reader.read(name) for name in output_names]
    return values[0] if len(values) == 1 else values


def load_all_outputs(run_folder: str | Path) -> dict[str, Any]:
    """Load all outputs of a run.

    Parameters
    ----------
    run_folder
        The folder of the run, which may still go on.

    Returns
    -------
    dict
        Per output name what `load_outputs` gives.

    Raises
    ------
    RunFolderNotFoundError
        If there is no run.
    DamagedFileError
        If run_info.json is damaged.

    Examples
    --------
    >>> load_all_outputs("no/such/folder")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    pipefunc_c.map._run_folder.run_info.RunFolderNotFoundError: there is no run in 'no/such/folder': ...
    """
    reader = OutputReader(run_folder)
    return {name: reader.read(name) for names in reader.info.stages for name in names}


class OutputReader:
    """Read outputs of a run one by one.

    Parameters
    ----------
    run_folder
        The folder of the run.

    Raises
    ------
    RunFolderNotFoundError
        If there is no run.
    DamagedFileError
        If run_info.json is damaged.
    """

    def __init__(self, run_folder: str | Path) -> None:
        self.info = RunInfo.load(run_folder)
        self._opener = StoreOpener(self.info)

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse names that are no outputs: UnknownNameError."""
        for name in names:
            if name not in self.info.all_output_names:
                raise UnknownNameError(
                    f"the run in {str(self.info.folder)!r} has no output {name!r}; its outputs are "
                    f"{', '.join(sorted(self.info.all_output_names))}",
                    detail=name,
                )

    def read(self, name: str) -> Any:
        """Give a mapped output as a masked array, another as its value."""
        store = self._opener.store(name)
        return _masked(store) if self._opener.is_mapped(name) else store.get_from_index(0)


def _masked(store: StorageBase) -> np.ma.MaskedArray[Any, Any]:
    if "?" in store.shape:  # how many there will be, no element told so far
        shape = [0 if size == "?" else int(size) for size in store.shape]
        nothing: Any = np.empty(shape, dtype=object)
        return np.ma.MaskedArray(nothing, mask=True)
    if "?" in store.internal_shape:  # known when the last element is there
        return store.to_array(splat_internal=False)
    typed = typed_array(store)
    return typed if isinstance(typed, np.ma.MaskedArray) else np.ma.MaskedArray(typed)
