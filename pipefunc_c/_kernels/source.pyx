"""Sources: how the argument of one element is taken from an input, exactly as ``array[index]`` gives it.

A NumPy scalar is boxed into the box of the previous element if nobody else holds a reference to it: what
the function returned is stored and released before the next fetch, so a count of one means that it can
have been kept nowhere. Anything that holds the scalar (a list, a closure, a memoryview) raises the count.
"""
cimport numpy as cnp
from cpython.float cimport PyFloat_FromDouble
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_FromLongLong
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy

import numpy as np

from pipefunc_c._kernels.column cimport Column
from pipefunc_c._kernels.tags cimport (
    BOX_DATA,
    TAG_ERROR,
    TAG_FLOAT,
    TAG_FLOAT64,
    TAG_LOAD,
    TAG_MISSING,
    TAG_NUMPY_BOOL,
    Py_TYPE,
    box_new,
    tag_box_size,
    tag_box_type,
    type_number_tag,
)
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError, OutOfBoundsError

cnp.import_array()

cdef extern from *:
    """
    #if defined(Py_GIL_DISABLED)
    #define SOLE_OWNER(box) 0
    #elif PY_VERSION_HEX >= 0x030E0000
    #define SOLE_OWNER(box) PyUnstable_Object_IsUniquelyReferenced(box)
    #else
    #define SOLE_OWNER(box) (Py_REFCNT(box) == 1)
    #endif
    """
    bint SOLE_OWNER(PyObject* box)

cdef extern from "numpy/arrayobject.h":
    object PyArray_ToScalar(void* data, cnp.ndarray array)

# Kinds of dtype whose scalars NumPy makes from a pointer: numbers, strings, dates, records.
cdef str PLAIN_KINDS = "biufcSUVmM"


cdef inline int hold(Slot* slot, PyObject* value) except -1:
    """Replace the argument that the slot holds; takes over the reference."""
    cdef PyObject* old = slot.held
    if value == NULL:
        return -1
    slot.held = value
    Py_XDECREF(old)
    return FETCH_DONE


cdef inline int hold_object(Slot* slot, object value) except -1:
    Py_INCREF(value)
    return hold(slot, <PyObject*>value)


cdef inline int fetch_box(Slot* slot, PyTypeObject* box_type, char* data, Py_ssize_t itemsize) except -1:
    cdef PyObject* held = slot.held
    if held != NULL and Py_TYPE(held) == box_type:
        if SOLE_OWNER(held):
            if itemsize == 8:
                (<uint64_t*>BOX_DATA(held))[0] = (<uint64_t*>data)[0]
            else:
                memcpy(BOX_DATA(held), data, itemsize)
            return FETCH_DONE
        # An input that does not move along the inner axis: the same immutable value again.
        if slot.stride == 0 and memcmp(BOX_DATA(held), data, itemsize) == 0:
            return FETCH_DONE
    return hold(slot, box_new(box_type, data, itemsize))


cdef int fetch_column(Slot* slot, Column column) except -1:
    cdef Py_ssize_t index = slot.offset
    cdef int tag
    if column.tag_bytes == NULL:
        raise InvalidValueError("an input column is closed")
    tag = TAG_LOAD(column.tag_bytes, index)
    if tag == TAG_FLOAT:
        return hold_object(slot, PyFloat_FromDouble((<double*>column.cell_bytes)[index]))
    if TAG_FLOAT64 <= tag < TAG_NUMPY_BOOL:
        return fetch_box(slot, tag_box_type(tag), column.cell_bytes + 8 * index, tag_box_size(tag))
    if tag == TAG_ERROR:
        return FETCH_ERROR_ELEMENT
    if tag == TAG_MISSING:
        raise OperationError(f"input element {index} is missing", hint="its stage must run first")
    return hold_object(slot, column.load_value(index, None))


cdef object index_of(Source source, Py_ssize_t* position):
    """Build what ``value[...]`` is indexed with."""
    if len(source.axes) == 1:  # also right for what takes no tuple, such as a list
        return slice(None) if source.axes[0] is None else position[<Py_ssize_t>source.axes[0]]
    return tuple([slice(None) if axis is None else position[<Py_ssize_t>axis] for axis in source.axes])


cdef int fetch(Slot* slot, Py_ssize_t* position) except -1:
    """Make ``slot.held`` the argument of the current element; ``position`` is its multi-index."""
    cdef Source source = <Source>slot.source
    cdef PyObject* value
    if slot.kind == SOURCE_BOX:
        return fetch_box(slot, source.box_type, source.base + slot.offset, source.itemsize)
    if slot.kind == SOURCE_LIST:
        if slot.offset >= PyList_GET_SIZE(source.value):
            raise OutOfBoundsError(
                f"a list was shortened to {len(source.value)} elements while it was mapped over"
            )
        return hold_object(slot, <object>PyList_GET_ITEM(source.value, slot.offset))
    if slot.kind == SOURCE_POINTERS:
        value = (<PyObject**>(source.base + slot.offset))[0]
        return hold_object(slot, None if value == NULL else <object>value)
    if slot.kind == SOURCE_COLUMN:
        return fetch_column(slot, source.column)
    if slot.kind == SOURCE_RANGE:
        return hold_object(slot, PyLong_FromLongLong(source.first + slot.offset * source.step))
    if slot.kind == SOURCE_SCALAR:
        return hold_object(slot, PyArray_ToScalar(source.base + slot.offset, source.value))
    item = source.value[index_of(source, position)]
    return hold_object(slot, item.copy() if source.copied and isinstance(item, np.ndarray) else item)


cdef class Source:
    """Where one argument of an element function comes from; made by the functions below."""

    def __init__(self):
        raise InvalidTypeError("a Source is made by constant(), elements() or slices()")


cdef Source new_source(SourceKind kind, object value, tuple axes, tuple unit_strides, tuple sizes=()):
    cdef Source source = Source.__new__(Source)
    source.kind, source.value, source.axes = kind, value, axes
    source.unit_strides, source.sizes = unit_strides, sizes
    return source


def constant(value):
    """Make a source that gives the same object to each element.

    Parameters
    ----------
    value : object
        The argument.

    Returns
    -------
    Source
    """
    return new_source(SOURCE_CONSTANT, value, (), ())


cdef tuple c_strides(tuple shape):
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


cdef int need_dimensions(tuple axes, Py_ssize_t ndim, str what) except -1:
    if len(axes) != ndim:
        raise InvalidValueError(
            f"axes {axes!r} do not fit {what} of {ndim} dimensions", hint="give one task axis per dimension"
        )
    return 0


cdef Source array_source(cnp.ndarray value, tuple axes):
    cdef Source source
    cdef int number = cnp.PyArray_TYPE(value)
    cdef int tag = type_number_tag(number)
    cdef bint plain = cnp.PyArray_ISALIGNED(value) and cnp.PyArray_ISNOTSWAPPED(value)
    need_dimensions(axes, cnp.PyArray_NDIM(value), "an array")
    if number == cnp.NPY_OBJECT and plain:
        source = new_source(SOURCE_POINTERS, value, axes, (<object>value).strides, (<object>value).shape)
    elif TAG_FLOAT64 <= tag < TAG_NUMPY_BOOL and plain:
        source = new_source(SOURCE_BOX, value, axes, (<object>value).strides, (<object>value).shape)
        source.box_type, source.itemsize = tag_box_type(tag), tag_box_size(tag)
    elif value.dtype.kind in PLAIN_KINDS and not value.dtype.hasobject:
        source = new_source(SOURCE_SCALAR, value, axes, (<object>value).strides, (<object>value).shape)
    else:
        return new_source(SOURCE_INDEXED, value, axes, (0,) * len(axes))
    source.base = cnp.PyArray_BYTES(value)
    return source


def elements(value, axes, shape=None):
    """Make a source that gives ``value[index]``, element by element.

    Parameters
    ----------
    value : ndarray, list, range, Column or object with ``__getitem__``
        The input.
    axes : sequence of int
        The task axis that indexes each dimension of the input.
    shape : sequence of int, optional
        Dimensions of a Column (C order); not used for others.

    Returns
    -------
    Source

    Raises
    ------
    InvalidValueError
        If ``axes`` does not fit the dimensions of the input.
    """
    cdef Source source
    cdef tuple task_axes = tuple(axes)
    if isinstance(value, Column):
        size = tuple(shape) if shape is not None else ((<Column>value).size,)
        need_dimensions(task_axes, len(size), "a column")
        if np.prod(size, dtype=np.int64) != (<Column>value).size:
            raise InvalidValueError(
                f"shape {size!r} does not fit a column of {(<Column>value).size} elements"
            )
        source = new_source(SOURCE_COLUMN, value, task_axes, c_strides(size), size)
        source.column = value
        return source
    if type(value) is np.ndarray or type(value) is np.memmap:
        return array_source(value, task_axes)
    if type(value) is list:
        need_dimensions(task_axes, 1, "a list")
        return new_source(SOURCE_LIST, value, task_axes, (1,), (len(value),))
    if type(value) is range and len(value):
        need_dimensions(task_axes, 1, "a range")
        if max(abs(value.start), abs(value.stop), abs(value.step)) < 2**62:
            source = new_source(SOURCE_RANGE, value, task_axes, (1,), (len(value),))
            source.first, source.step = value.start, value.step
            return source
    return new_source(SOURCE_INDEXED, value, task_axes, (0,) * len(task_axes))


def slices(value, axes, *, copied=False):
    """Make a source that gives ``value[index]`` with whole axes.

    Parameters
    ----------
    value : object with ``__getitem__``
        The input.
    axes : sequence of int or None
        The task axis that indexes each dimension; None where the dimension is taken whole.
    copied : bool, default False
        Give each element a copy of its slice, so that it may write to it.

    Returns
    -------
    Source
    """
    cdef Source source = new_source(SOURCE_INDEXED, value, tuple(axes), (0,) * len(tuple(axes)))
    source.copied = copied
    return source
