"""Whether a run goes on where an earlier one stopped: the same shapes, inputs, defaults and code."""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from typing import TYPE_CHECKING, Any, Literal

from pipefunc_c._describe import short_repr
from pipefunc_c._storage.object_pickle import dump
from pipefunc_c.exceptions import InvalidValueError
from pipefunc_c.map._run_folder.equality import differing_names, is_equal
from pipefunc_c.map._run_folder.referenced import data_digest, data_digests, data_key
from pipefunc_c.map._run_folder.run_files import (
    DamagedFileError,
    digest_of,
    is_pickle_of,
    pickled,
    prepared,
    read_checked,
    write_prepared,
)
from pipefunc_c.map._run_folder.run_info import DEFAULTS, RunInfo, input_file, to_json
from pipefunc_c.map._run_folder.run_stores import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np

    from pipefunc_c._function.pipefunc import PipeFunc
    from pipefunc_c._hashing.identity import CodeIdentity
    from pipefunc_c.map._run_folder.run_files import FileDigest

START_OVER = "give what the first run was given, or start over with resume=False or in another run_folder"


def file_contents(
    info: RunInfo, functions: Sequence[PipeFunc[..., Any]]
) -> list[tuple[str, np.ndarray[Any, Any] | bytes]]:
    """Prepare the files that stand beside run_info.json.

    Parameters
    ----------
    info
        The run.
    functions
        The functions, of which error snapshots are rebuilt.

    Returns
    -------
    list of tuple
        Path in the folder and content, in the order in which they are to be written.

    Raises
    ------
    InvalidValueError
        If an input or default cannot be pickled.
    """
    contents = [
        (input_file(name), prepared(each, f"the input {name!r}")) for name, each in info.inputs.items()
    ]
    contents.append((DEFAULTS, pickled(dict(info.defaults), "the dict of defaults")))
    if info.error_handling == "continue":
        contents.append((FUNCTIONS, _function_table(functions)))
    return contents


def _function_table(functions: Iterable[PipeFunc[..., Any]]) -> bytes:
    """Pickle each function on its own: one that cannot be does not take the others with it."""
    table: dict[str, bytes] = {}
    for func in functions:
        try:
            table[",".join(func.output_names)] = dump(func, portable=True)
        except Exception:  # the snapshots of this one say so
            continue
    return pickle.dumps(table, 5)


def check_resume(
    folder: Path,
    info: RunInfo,
    functions: Sequence[PipeFunc[..., Any]],
    validation: Literal["auto", "strict", "skip"],
    *,
    sync: bool = False,
) -> RunInfo:
    """Compare a run with the one in a folder, and make the folder one of both.

    Parameters
    ----------
    folder
        The run folder; its lock is held.
    info
        What is to be run.
    functions
        The functions.
    validation
        "auto", "strict" or "skip".
    sync
        Whether to wait for the disk.

    Returns
    -------
    RunInfo
        That of the folder, with what is new in this run.

    Raises
    ------
    InvalidValueError
        If the runs do not fit together; the message says why.
    DamagedFileError
        If a file is damaged that the inputs do not restore.
    """
    old = RunInfo.load(folder)
    _check_structure(old, info)
    digests = _check_inputs(old, info, validation, sync=sync)
    digests |= _check_defaults(old, info, validation, sync=sync)
    code = _check_code(old, info, functions, validation)
    stages = (*old.stages, *(names for names in info.stages if names not in old.stages))
    storage = info.storage
    if isinstance(storage, dict) and isinstance(old.storage, dict):
        storage = {**old.storage, **storage}
    if info.error_handling == "continue" and (code != old.code or FUNCTIONS not in old.digests):
        digests[FUNCTIONS] = write_prepared(folder / FUNCTIONS, _function_table(functions), sync=sync)
    new = dataclasses.replace(
        info,
        run_folder=folder,
        all_output_names=old.all_output_names | info.all_output_names,
        shapes={**old.shapes, **info.shapes},
        resolved_shapes={**info.shapes, **old.resolved_shapes},
        shape_masks={**old.shape_masks, **info.shape_masks},
        storage=storage,
        stages=stages,
        code=code,
        digests={**old.digests, **digests},
        pipefunc_version=old.pipefunc_version,
    )
    if to_json(new) != to_json(old):
        new.dump(sync=sync)
    return new


def _check_structure(old: RunInfo, new: RunInfo) -> None:
    for what, first, second in (
        ("error_handling", old.error_handling, new.error_handling),
        ("internal_shapes", old.internal_shapes, new.internal_shapes),
        ("mapspecs", old.mapspecs_as_strings, new.mapspecs_as_strings),
        ("shapes", old.shapes, new.shapes),
    ):
        if first != second:
            raise InvalidValueError(
                f"cannot resume in {str(old.run_folder)!r}: {what} differ: {_difference(first, second)}",
                detail=(first, second),
                hint=START_OVER,
            )


def _difference(first: object, second: object) -> str:
    """Name what differs between two values, only the entries of dicts that do."""
    if isinstance(first, dict) and isinstance(second, dict):
        names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
        first, second = ({n: each[n] for n in names if n in each} for each in (first, second))
    return f"{short_repr(first)} in the first run, {short_repr(second)} now"


# -- values ------------------------------------------------------------------------------------------


def _check_inputs(old: RunInfo, new: RunInfo, validation: str, *, sync: bool) -> dict[str, FileDigest]:
    """Compare the inputs; give the digests of the files that were written anew."""
    folder, written = old.folder, {}
    differing, unknown = [], []
    for name in sorted({*old.inputs, *new.inputs}):
        file = input_file(name)
        if name not in new.inputs or name not in old.inputs:
            if validation != "skip":
                differing.append(name)
            elif name in new.inputs:
                content = prepared(new.inputs[name], f"the input {name!r}")
                written[file] = write_prepared(folder / file, content, sync=sync)
                written |= data_digests({name: new.inputs[name]})
            continue
        if validation == "skip":
            data = pickled(new.inputs[name], f"the input {name!r}")
            if digest_of(data) != old.digests[file] or not _is_intact(folder / file, old.digests[file]):
                written[file] = write_prepared(folder / file, data, sync=sync)
            written |= data_digests({name: new.inputs[name]})
            continue
        equal = _is_stored(folder / file, old.digests[file], new.inputs[name], name, sync=sync)
        data_now, data_then = data_digest(new.inputs[name]), old.digests.get(data_key(name))
        if None not in (data_now, data_then) and data_now != data_then:
            equal = False
        if equal is None:
            unknown.append(name)
        elif not equal:
            differing.append(name)
    if differing:
        raise InvalidValueError(
            f"cannot resume in {str(folder)!r}: the inputs differ: {_names(differing)}",
            detail=differing,
            hint=f'{START_OVER}; resume_validation="skip" goes on with results of other inputs',
        )
    _note_unknown("inputs", unknown, old, validation)
    return written


def _check_defaults(old: RunInfo, new: RunInfo, validation: str, *, sync: bool) -> dict[str, FileDigest]:
    path, digest = old.defaults_path, old.digests[DEFAULTS]
    given = dict(new.defaults)
    if not _is_intact(path, digest) or validation == "skip":
        data = pickled(given, "the dict of defaults")
        if digest_of(data) != digest and validation != "skip":
            raise _cannot_restore(path, "defaults")
        return {DEFAULTS: write_prepared(path, data, sync=sync)}
    try:
        differing, unknown = differing_names(dict(old.defaults), given)
    except Exception:  # a class of theirs is not there any more
        differing, unknown = [], sorted(given)
    if differing:
        raise InvalidValueError(
            f"cannot resume in {str(old.folder)!r}: the defaults differ: {_names(differing)}",
            detail=differing,
            hint=f'{START_OVER}; resume_validation="skip" goes on with results of other defaults',
        )
    _note_unknown("defaults", unknown, old, validation)
    return {}


def _is_intact(path: Path, digest: FileDigest) -> bool:
    try:
        read_checked(path, digest)
    except DamagedFileError:
        return False
    return True


def _is_stored(path: Path, digest: FileDigest, value: Any, name: str, *, sync: bool) -> bool | None:
    """Tell whether a file holds a value; None if they cannot be compared. A damaged one is restored."""
    try:
        data = read_checked(path, digest)
    except DamagedFileError:
        content = pickled(value, f"the input {name!r}")
        if digest_of(content) != digest:
            raise _cannot_restore(path, f"input {name!r}") from None
        write_prepared(path, content, sync=sync)
        return True
    # Equal pickles are equal values, and reading a long one takes longer.
    if is_pickle_of(data, prepared(value, f"the input {name!r}")):
        return True
    try:
        stored = pickle.loads(data)
    except Exception:  # its class is not there any more
        return None
    return is_equal(stored, value)


def _cannot_restore(path: Path, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"cannot resume: {str(path)!r} is damaged, and what was given now is not known to be the same {what}",
        detail=path,
        hint=f'{START_OVER}; resume_validation="skip" takes what is given now',
    )


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _note_unknown(what: str, names: Sequence[str], old: RunInfo, validation: str) -> None:
    if not names:
        return
    if validation == "strict":
        raise InvalidValueError(
            f"cannot resume in {str(old.folder)!r}: the {what} {_names(names)} cannot be compared",
            detail=names,
            hint='resume_validation="auto" goes on, on your word that they are the same',
        )
    print(
        f"Note: the {what} {_names(names)} cannot be compared with those of the first run; they are taken "
        f"to be the same."
    )


# -- code --------------------------------------------------------------------------------------------


def _check_code(
    old: RunInfo, new: RunInfo, functions: Sequence[PipeFunc[..., Any]], validation: str
) -> dict[str, tuple[CodeIdentity, ...]]:
    """Compare the code; give all identities that the results in the folder come from."""
    merged = dict(old.code)
    edited, unknown = [], []
    for func in functions:
        key = ",".join(func.output_names)
        (identity,) = new.code[key]
        seen = old.code.get(key, ())
        if identity not in seen:
            merged[key] = (*seen, identity)
        if not seen:
            continue
        comparable = [each for each in seen if each.python == identity.python and each.digest is not None]
        if identity.digest is None or not comparable or identity.unknown:
            unknown.append(f"{func.__name__} ({_reason(identity, comparable)})")
        if identity.digest is not None and any(each.digest != identity.digest for each in comparable):
            edited.append(func.__name__)
    if validation == "skip":
        return merged
    if edited:
        message = (
            f"{_names(edited)} {'was' if len(edited) == 1 else 'were'} edited since results were computed"
        )
        if validation == "strict":
            raise InvalidValueError(
                f"cannot resume in {str(old.folder)!r}: {message}", detail=edited, hint=START_OVER
            )
        warnings.warn(
            f"{message} that are kept in {str(old.folder)!r}; start over with resume=False to compute all "
            "with the new code",
            UserWarning,
            stacklevel=2,
        )
    if unknown:
        print(f"Note: whether these functions were edited is not fully known: {'; '.join(unknown)}.")
    return merged


def _reason(identity: CodeIdentity, comparable: Sequence[CodeIdentity]) -> str:
    if identity.unknown:
        return ", ".join(identity.unknown)
    return "nothing is known of it" if identity.digest is None or comparable else "another version of Python"
