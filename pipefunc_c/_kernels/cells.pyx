"""Cells: the elements of a column one at a time, lossless for any mixture of Python values.

Each element has a tag byte that names its exact type and an 8-byte cell that holds its bits. A value is
written first, its tag after it (release), and read in the other order (acquire), so a reader in another
process never sees a half-written element. Types without a tag are kept as the very object.
"""
cimport numpy as cnp
from cpython.bytes cimport PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.complex cimport (
    PyComplex_CheckExact,
    PyComplex_FromDoubles,
    PyComplex_ImagAsDouble,
    PyComplex_RealAsDouble,
)
from cpython.float cimport PyFloat_FromDouble
from cpython.list cimport PyList_CheckExact, PyList_GET_SIZE
from cpython.long cimport PyLong_CheckExact, PyLong_FromLongLong
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_GET_LENGTH
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from pipefunc_c._kernels.tags cimport (
    TAG_ARRAY,
    TAG_BOOL,
    TAG_COMPLEX,
    TAG_COMPLEX64,
    TAG_COMPLEX128,
    TAG_ERROR,
    TAG_FLOAT,
    TAG_INT,
    TAG_LOAD,
    TAG_MISSING,
    TAG_NONE,
    TAG_NUMPY_BOOL,
    TAG_OBJECT,
    TAG_STORE,
    BOX_DATA,
    PyFloat_AS_DOUBLE,
    PyFloat_CheckExact,
    Py_TYPE,
    new_box,
    scalar_tag,
    tag_box_size,
)

import operator
import os

import numpy as np

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError, OutOfBoundsError

cnp.import_array()

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(PyObject* value, int* overflow) except? -1
    int PyUnicode_KIND(object value)

cdef object NUMPY_TRUE = np.True_
cdef object NUMPY_FALSE = np.False_
# Marks who stored an object: the tags of a shared column are seen by all, the objects by one process and by
# those forked from it later. Each fork gives both sides a new mark.
cdef long long MARK = 0
cdef set KNOWN_MARKS = set()
cdef long long TRACEBACK_MASK = 0xFFFFFFFF


def _new_mark():
    global MARK
    MARK = (os.getpid() & 0x3FFFFF) << 9 | ((MARK + 1) & 0x1FF)
    KNOWN_MARKS.add(MARK)


_new_mark()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_new_mark, after_in_child=_new_mark)


cdef Py_ssize_t object_size(object value):
    """Estimate the bytes of an object, shallowly and without calling into it."""
    if PyBytes_CheckExact(value):
        return PyBytes_GET_SIZE(value)
    if PyUnicode_CheckExact(value):
        return PyUnicode_GET_LENGTH(value) * PyUnicode_KIND(value)
    if cnp.PyArray_Check(value):
        return cnp.PyArray_NBYTES(value)
    if PyList_CheckExact(value):
        return 8 * PyList_GET_SIZE(value)
    return Py_TYPE(<PyObject*>value).tp_basicsize


class _PrivateMemory:
    """Memory of this process only."""

    @staticmethod
    def allocate(nbytes):
        return np.zeros(nbytes, dtype=np.uint8)


cdef class Cells:
    """Hold the elements of one output, one at a time; Column adds what concerns many."""

    def __cinit__(self, Py_ssize_t size, home=None, *, grows=True):
        if size < 0:
            raise InvalidValueError(f"size {size} is negative", hint="give the number of elements")
        self.size, self.grows = size, grows
        self.home = _PrivateMemory if home is None else home
        self.tag_region, self.tag_bytes = None, NULL
        self.tag_region = self._allocate(size)
        self.cell_region = self._allocate(8 * size)
        self.tag_bytes = <unsigned char*>cnp.PyArray_DATA(self.tag_region)
        self.cell_bytes = cnp.PyArray_BYTES(self.cell_region)

    def _allocate(self, nbytes):
        return np.frombuffer(self.home.allocate(max(nbytes, 1)), dtype=np.uint8)

    cdef int check_index(self, Py_ssize_t index) except -1:
        if self.tag_bytes == NULL:
            raise InvalidValueError("the column is closed")
        if not 0 <= index < self.size:
            raise OutOfBoundsError(f"element {index} is not in a column of {self.size}")
        return 0

    # -- one element ---------------------------------------------------------------------------------

    cdef Py_ssize_t store_value(self, Py_ssize_t index, object value) except -1:
        cdef char* cell
        cdef int tag, overflow = 0
        cdef uint64_t bits = 0
        cdef long long integer
        cdef double parts[2]
        if self.tag_bytes == NULL:
            raise InvalidValueError("the column is closed")
        _dropped = self.take(index) if self.tag_bytes[index] >= TAG_COMPLEX else None
        cell = self.cell_bytes + 8 * index
        if PyFloat_CheckExact(<PyObject*>value):
            (<double*>cell)[0] = PyFloat_AS_DOUBLE(<PyObject*>value)
            tag = TAG_FLOAT
        elif PyLong_CheckExact(value):
            integer = PyLong_AsLongLongAndOverflow(<PyObject*>value, &overflow)
            if overflow:
                return self.store_object(index, value, TAG_OBJECT)
            (<long long*>cell)[0] = integer
            tag = TAG_INT
        elif value is True or value is False:
            (<uint64_t*>cell)[0] = 1 if value is True else 0
            tag = TAG_BOOL
        elif value is None:
            (<uint64_t*>cell)[0] = 0
            tag = TAG_NONE
        elif PyComplex_CheckExact(value):
            if not self.need_complex():
                return self.store_object(index, value, TAG_OBJECT)
            parts[0] = PyComplex_RealAsDouble(value)
            parts[1] = PyComplex_ImagAsDouble(value)
            memcpy(self.complex_bytes + 16 * index, parts, 16)
            tag = TAG_COMPLEX
        elif cnp.PyArray_CheckExact(value):
            return self.store_array(index, value)
        else:
            tag = scalar_tag(Py_TYPE(<PyObject*>value))
            if tag == TAG_OBJECT:
                return self.store_object(index, value, TAG_OBJECT)
            if tag == TAG_NUMPY_BOOL:
                (<uint64_t*>cell)[0] = 1 if value is NUMPY_TRUE else 0
            elif tag >= TAG_COMPLEX128:
                if not self.need_complex():
                    return self.store_object(index, value, TAG_OBJECT)
                memset(self.complex_bytes + 16 * index, 0, 16)
                memcpy(self.complex_bytes + 16 * index, BOX_DATA(<PyObject*>value), tag_box_size(tag))
            else:
                memcpy(&bits, BOX_DATA(<PyObject*>value), tag_box_size(tag))
                (<uint64_t*>cell)[0] = bits
        TAG_STORE(self.tag_bytes, index, tag)
        return 16 if TAG_COMPLEX <= tag <= TAG_COMPLEX64 else 8

    cdef bint has_slab_dtype(self, cnp.ndarray value) except -1:
        """Tell whether an array has exactly the dtype of the slab; not every such array shares the object."""
        if <PyObject*>cnp.PyArray_DESCR(value) == <PyObject*>self.slab_dtype:
            return True
        if cnp.PyArray_TYPE(value) != self.slab_dtype.type_num or not cnp.PyArray_ISNOTSWAPPED(value):
            return False
        return (<object>value).dtype.metadata is None

    cdef Py_ssize_t store_array(self, Py_ssize_t index, cnp.ndarray value) except -1:
        cdef int axis
        if self.slab_bytes == NULL or not self.has_slab_dtype(value):
            return self.store_object(index, value, TAG_OBJECT)
        if cnp.PyArray_NDIM(value) != len(self.slab_shape):
            return self.store_object(index, value, TAG_OBJECT)
        for axis in range(cnp.PyArray_NDIM(value)):
            if cnp.PyArray_DIM(value, axis) != <Py_ssize_t>self.slab_shape[axis]:
                return self.store_object(index, value, TAG_OBJECT)
        if not (cnp.PyArray_IS_C_CONTIGUOUS(value) and cnp.PyArray_ISALIGNED(value)):
            value = np.array(value, order="C")
        memcpy(self.slab_bytes + index * self.slab_itemsize, cnp.PyArray_DATA(value), self.slab_itemsize)
        TAG_STORE(self.tag_bytes, index, TAG_ARRAY)
        return self.slab_itemsize

    cdef Py_ssize_t store_object(self, Py_ssize_t index, object value, int tag) except -1:
        cdef list block
        # Another thread may run while a list is made, so each is looked for again.
        if self.blocks is None:
            made = [None] * ((self.size + BLOCK - 1) // BLOCK)
            if self.blocks is None:
                self.blocks = made
        block = self.blocks[index // BLOCK]
        if block is None:
            made = [None] * min(BLOCK, self.size - index // BLOCK * BLOCK)
            block = self.blocks[index // BLOCK]
            if block is None:
                block = self.blocks[index // BLOCK] = made
        block[index % BLOCK] = value
        if tag == TAG_OBJECT:
            (<long long*>self.cell_bytes)[index] = MARK
        TAG_STORE(self.tag_bytes, index, tag)
        return object_size(value)

    cdef int store_error_value(self, Py_ssize_t index, object error, long long origin_id) except -1:
        dropped = self.take(index)
        (<long long*>self.cell_bytes)[index] = MARK << 32 | origin_id
        self.store_object(index, error, TAG_ERROR)
        del dropped
        return 0

    cdef object stored_object(self, Py_ssize_t index):
        cdef list block
        cdef long long owner = (<long long*>self.cell_bytes)[index]
        if self.tag_bytes[index] == TAG_ERROR:
            owner >>= 32
        if self.blocks is not None and (owner == MARK or owner in KNOWN_MARKS):
            block = self.blocks[index // BLOCK]
            if block is not None:
                return block[index % BLOCK]
        if self.read_object is not None:
            return self.read_object(index)
        raise OperationError(f"element {index} is an object of another process")

    cdef object take(self, Py_ssize_t index):
        """Make one element missing; give its object, which the caller drops when the column is consistent.

        Its destructor may run any code, closing the column included.
        """
        cdef int tag
        cdef list block
        if self.tag_bytes == NULL:
            raise InvalidValueError("the column is closed")
        tag = self.tag_bytes[index]
        TAG_STORE(self.tag_bytes, index, TAG_MISSING)
        (<uint64_t*>self.cell_bytes)[index] = 0
        if TAG_COMPLEX <= tag <= TAG_COMPLEX64:
            memset(self.complex_bytes + 16 * index, 0, 16)
        elif tag == TAG_ARRAY:
            memset(self.slab_bytes + index * self.slab_itemsize, 0, self.slab_itemsize)
        elif tag >= TAG_OBJECT and self.blocks is not None:
            block = self.blocks[index // BLOCK]
            if block is not None:
                dropped = block[index % BLOCK]
                block[index % BLOCK] = None
                return dropped
        return None

    cdef object load_value(self, Py_ssize_t index, object default):
        cdef int tag
        cdef double parts[2]
        cdef char* cell
        if self.tag_bytes == NULL:
            raise InvalidValueError("the column is closed")
        tag = TAG_LOAD(self.tag_bytes, index)
        cell = self.cell_bytes + 8 * index
        if tag == TAG_FLOAT:
            return PyFloat_FromDouble((<double*>cell)[0])
        if tag == TAG_INT:
            return PyLong_FromLongLong((<long long*>cell)[0])
        if tag == TAG_BOOL:
            return True if cell[0] else False
        if tag == TAG_NONE:
            return None
        if tag == TAG_MISSING:
            return default
        if tag == TAG_NUMPY_BOOL:
            return NUMPY_TRUE if cell[0] else NUMPY_FALSE
        if tag < TAG_NUMPY_BOOL:
            return new_box(tag, cell)
        if tag == TAG_COMPLEX:
            memcpy(parts, self.complex_bytes + 16 * index, 16)
            return PyComplex_FromDoubles(parts[0], parts[1])
        if tag < TAG_ARRAY:
            return new_box(tag, self.complex_bytes + 16 * index)
        if tag == TAG_ARRAY:
            # Not self.slab()[index]: a layout of no dimensions must come back as an array.
            result = np.empty(self.slab_shape, dtype=self.slab_dtype)
            memcpy(cnp.PyArray_DATA(result), self.slab_bytes + index * self.slab_itemsize, self.slab_itemsize)
            return result
        if tag == TAG_ERROR and self.read_error is not None:
            return self.read_error(index, self.stored_object(index), (<long long*>cell)[0] & TRACEBACK_MASK)
        return self.stored_object(index)

    def store(self, Py_ssize_t index, value):
        """Store one value, whatever its type."""
        self.check_index(index)
        store_element(self, index, <PyObject*>value)

    def load(self, Py_ssize_t index, default=None):
        """Give exactly the value that was stored; ``default`` where nothing was."""
        self.check_index(index)
        return self.load_value(index, default)

    def tag(self, Py_ssize_t index):
        """Give the tag of one element."""
        self.check_index(index)
        return TAG_LOAD(self.tag_bytes, index)

    def clear(self, Py_ssize_t index):
        """Make one element missing and drop its object."""
        self.check_index(index)
        self.take(index)

    def store_error(self, Py_ssize_t index, error, long long origin_id=0):
        """Store what went wrong for one element, with the number of its traceback."""
        self.check_index(index)
        self.store_error_value(index, error, origin_id)

    def load_error(self, Py_ssize_t index):
        """Give what ``store_error`` was given."""
        self.check_index(index)
        if TAG_LOAD(self.tag_bytes, index) != TAG_ERROR:
            raise InvalidValueError(f"element {index} is not an error")
        return self.stored_object(index), (<long long*>self.cell_bytes)[index] & TRACEBACK_MASK

    # -- layout --------------------------------------------------------------------------------------

    cdef bint need_complex(self) except -1:
        """Tell whether there is memory for complex numbers; take it where that is allowed."""
        if self.complex_bytes == NULL and self.grows:
            self.wanted = "complex"
            try:
                region = self._allocate(16 * self.size)
            except OperationError:      # only the process that made the home appends to it
                return False
            # Another thread may have run meanwhile and made it.
            if self.complex_bytes == NULL:
                self.complex_region, self.complex_bytes = region, cnp.PyArray_BYTES(region)
        if self.complex_bytes == NULL:
            self.refused_complex = True
        return self.complex_bytes != NULL

    def add_complex(self):
        """Take memory for complex numbers from the home now. May be called twice."""
        self.span(0, 0)
        self.grows = True
        self.need_complex()

    @property
    def has_complex(self):
        """Whether there is memory for complex numbers."""
        return self.complex_bytes != NULL

    def fix_layout(self, dtype, shape):
        """Reserve a slab: from now on arrays of this dtype and shape are stored in it.

        Raises
        ------
        OperationError
            If a layout is fixed already, or the column is closed.
        InvalidTypeError
            If the dtype is not numeric in native byte order.
        OutOfMemoryError
            If the home has no room.
        """
        fixed = np.dtype(dtype)
        if self.tag_bytes == NULL:
            raise InvalidValueError("the column is closed")
        if self.slab_bytes != NULL:
            raise InvalidValueError(f"the layout is fixed already: {self.layout!r}")
        if fixed.kind not in "biufc" or not fixed.isnative:
            raise InvalidTypeError(
                f"arrays of dtype {fixed!r} cannot be laid out in a slab",
                hint="use a numeric dtype in native byte order",
            )
        size = tuple(operator.index(each) for each in shape)
        if any(each < 0 for each in size):
            raise InvalidValueError(f"the shape {size!r} has a negative size")
        itemsize = fixed.itemsize * int(np.prod(size, dtype=np.int64))
        self.wanted = "slab"
        region = self._allocate(itemsize * self.size)
        if self.slab_bytes != NULL:
            raise InvalidValueError(f"the layout is fixed already: {self.layout!r}")
        # The singleton of the dtype: results are compared by identity.
        self.slab_dtype, self.slab_shape = np.dtype(fixed.type), size
        self.slab_region, self.slab_itemsize = region, itemsize
        self.slab_bytes = cnp.PyArray_BYTES(region)

    @property
    def layout(self):
        """dtype and shape of array elements, or None while not fixed."""
        return None if self.slab_dtype is None else (self.slab_dtype, self.slab_shape)

    @property
    def nbytes(self):
        """Bytes of all regions; the objects themselves are not counted."""
        blocks = sum(8 * len(block) for block in self.blocks or () if block is not None)
        regions = (self.tag_region, self.cell_region, self.complex_region, self.slab_region)
        return blocks + sum(region.nbytes for region in regions if region is not None)

    cdef tuple span(self, start, stop):
        if self.tag_bytes == NULL:
            raise InvalidValueError("the column is closed")
        last = self.size if stop is None else stop
        if not 0 <= start <= last <= self.size:
            raise OutOfBoundsError(f"range [{start}, {last}) is not inside [0, {self.size})")
        return start, last

    def close(self):
        """Drop the regions and objects. May be called twice; views that were handed out stay valid."""
        self.tag_bytes = NULL
        self.tag_region = self.cell_region = self.complex_region = self.slab_region = None
        self.cell_bytes = self.complex_bytes = self.slab_bytes = NULL
        self.blocks, dropped = None, self.blocks
        del dropped
