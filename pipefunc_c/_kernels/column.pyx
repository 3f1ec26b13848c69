"""Columns: the array that holds one output, lossless for any mixture of Python values.

Each element has a tag byte that names its exact type and an 8-byte cell that holds its bits. A value is
written first, its tag after it (release), and read in the other order (acquire), so a reader in another
process never sees a half-written element. Types without a tag are kept as the very object.
"""
cimport numpy as cnp
from cpython.bytes cimport PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.complex cimport PyComplex_CheckExact, PyComplex_FromDoubles, PyComplex_ImagAsDouble, PyComplex_RealAsDouble
from cpython.float cimport PyFloat_FromDouble
from cpython.list cimport PyList_CheckExact, PyList_GET_SIZE
from cpython.long cimport PyLong_CheckExact, PyLong_FromLongLong
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_CheckExact, PyUnicode_GET_LENGTH
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError, OutOfBoundsError

cnp.import_array()


cdef Py_ssize_t BLOCK = 4096

MISSING, FLOAT, INT, BOOL, NONE = TAG_MISSING, TAG_FLOAT, TAG_INT, TAG_BOOL, TAG_NONE
FLOAT64, FLOAT32, FLOAT16 = TAG_FLOAT64, TAG_FLOAT32, TAG_FLOAT16
INT8, INT16, INT32, INT64 = TAG_INT8, TAG_INT16, TAG_INT32, TAG_INT64
UINT8, UINT16, UINT32, UINT64 = TAG_UINT8, TAG_UINT16, TAG_UINT32, TAG_UINT64
NUMPY_BOOL, COMPLEX, COMPLEX128, COMPLEX64 = TAG_NUMPY_BOOL, TAG_COMPLEX, TAG_COMPLEX128, TAG_COMPLEX64
ARRAY, OBJECT, ERROR = TAG_ARRAY, TAG_OBJECT, TAG_ERROR

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(PyObject* value, int* overflow) except? -1
    int PyUnicode_KIND(object value)


# Tables between tags, NumPy scalar types and dtypes; filled once, below.
cdef PyTypeObject* BOX_TYPES[TAG_COUNT]
cdef Py_ssize_t BOX_SIZES[TAG_COUNT]
cdef int TYPE_NUMBER_TAGS[32]
cdef list TAG_DTYPES = [None] * TAG_COUNT     # dtype of the cells with this tag, or None
cdef object NUMPY_TRUE = np.True_
cdef object NUMPY_FALSE = np.False_

for _tag, _name in {
    TAG_FLOAT64: "float64", TAG_FLOAT32: "float32", TAG_FLOAT16: "float16",
    TAG_INT8: "int8", TAG_INT16: "int16", TAG_INT32: "int32", TAG_INT64: "int64",
    TAG_UINT8: "uint8", TAG_UINT16: "uint16", TAG_UINT32: "uint32", TAG_UINT64: "uint64",
    TAG_NUMPY_BOOL: "bool", TAG_COMPLEX128: "complex128", TAG_COMPLEX64: "complex64",
}.items():
    _dtype = np.dtype(_name)
    BOX_TYPES[_tag] = <PyTypeObject*><PyObject*>_dtype.type
    BOX_SIZES[_tag] = _dtype.itemsize
    TYPE_NUMBER_TAGS[<int>_dtype.num] = _tag
    TAG_DTYPES[_tag] = _dtype
TAG_DTYPES[TAG_FLOAT] = TAG_DTYPES[TAG_FLOAT64]
TAG_DTYPES[TAG_INT] = TAG_DTYPES[TAG_INT64]
TAG_DTYPES[TAG_BOOL] = TAG_DTYPES[TAG_NUMPY_BOOL]
TAG_DTYPES[TAG_COMPLEX] = TAG_DTYPES[TAG_COMPLEX128]


cdef PyTypeObject* tag_box_type(int tag) noexcept nogil:
    return BOX_TYPES[tag]


cdef Py_ssize_t tag_box_size(int tag) noexcept nogil:
    return BOX_SIZES[tag]


cdef int type_number_tag(int type_number) noexcept nogil:
    """Give the tag of arrays of this type number; TAG_MISSING where there is none."""
    return TYPE_NUMBER_TAGS[type_number] if 0 <= type_number < 32 else TAG_MISSING


cdef int scalar_tag(PyTypeObject* box_type) noexcept nogil:
    cdef int tag
    for tag in range(<int>TAG_FLOAT64, <int>TAG_ARRAY):
        if BOX_TYPES[tag] == box_type:
            return tag
    return TAG_OBJECT


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
    return (<PyTypeObject*>Py_TYPE(<PyObject*>value)).tp_basicsize


class _PrivateMemory:
    """Memory of this process only."""

    @staticmethod
    def allocate(nbytes):
        return np.zeros(nbytes, dtype=np.uint8)


cdef class Column:
    """Hold one output: an 8-byte cell and a tag byte per element.

    Parameters
    ----------
    size : int
        Number of elements.
    home : object with ``allocate(nbytes)``, optional
        Gives zeroed writable buffers; None takes memory of this process.

    Raises
    ------
    InvalidValueError
        If ``size`` is negative.

    Examples
    --------
    >>> column = Column(3)
    >>> column.store(0, 1.5)
    >>> column.store(1, None)
    >>> column.load(0), column.load(1), column.load(2, "missing")
    (1.5, None, 'missing')
    """

    def __cinit__(self, Py_ssize_t size, home=None):
        if size < 0:
            raise InvalidValueError(f"size {size} is negative", hint="give the number of elements")
        self.size = size
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
        cdef PyTypeObject* value_type = Py_TYPE(<PyObject*>value)
        cdef char* cell
        cdef int tag, overflow = 0
        cdef uint64_t bits = 0
        cdef long long integer
        cdef double parts[2]
        if self.tag_bytes == NULL:
            raise InvalidValueError("the column is closed")
        cell = self.cell_bytes + 8 * index
        if self.tag_bytes[index] >= TAG_OBJECT:
            self.clear_value(index)
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
            self.need_complex()
            parts[0] = PyComplex_RealAsDouble(value)
            parts[1] = PyComplex_ImagAsDouble(value)
            memcpy(self.complex_bytes + 16 * index, parts, 16)
            tag = TAG_COMPLEX
        elif cnp.PyArray_CheckExact(value):
            return self.store_array(index, value)
        else:
            tag = scalar_tag(value_type)
            if tag == TAG_OBJECT:
                return self.store_object(index, value, TAG_OBJECT)
            if tag == TAG_NUMPY_BOOL:
                (<uint64_t*>cell)[0] = 1 if value is NUMPY_TRUE else 0
            elif tag >= TAG_COMPLEX128:
                self.need_complex()
                memset(self.complex_bytes + 16 * index, 0, 16)
                memcpy(self.complex_bytes + 16 * index, BOX_DATA(<PyObject*>value), BOX_SIZES[tag])
            else:
                memcpy(&bits, BOX_DATA(<PyObject*>value), BOX_SIZES[tag])
                (<uint64_t*>cell)[0] = bits
        TAG_STORE(self.tag_bytes, index, tag)
        return 16 if TAG_COMPLEX <= tag <= TAG_COMPLEX64 else 8

    cdef Py_ssize_t store_array(self, Py_ssize_t index, cnp.ndarray value) except -1:
        cdef int axis
        if self.slab_bytes == NULL or <PyObject*>cnp.PyArray_DESCR(value) != <PyObject*>self.slab_dtype:
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
        TAG_STORE(self.tag_bytes, index, tag)
        return object_size(value)

    cdef int store_error_value(self, Py_ssize_t index, object error, long long traceback_id) except -1:
        self.clear_value(index)
        (<long long*>self.cell_bytes)[index] = traceback_id
        self.store_object(index, error, TAG_ERROR)
        return 0

    cdef object stored_object(self, Py_ssize_t index):
        cdef list block
        if self.blocks is not None:
            block = self.blocks[index // BLOCK]
            if block is not None:
                return block[index % BLOCK]
        raise OperationError(f"element {index} is an object of another process")

    cdef int clear_value(self, Py_ssize_t index) except -1:
        cdef int tag
        cdef object dropped = None
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
                # Held until the column is consistent again: its destructor may run any code.
                dropped = block[index % BLOCK]
                block[index % BLOCK] = None
        return 0

    cdef object load_value(self, Py_ssize_t index, object default):
        cdef int tag
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
            return PyComplex_FromDoubles(
                (<double*>(self.complex_bytes + 16 * index))[0], (<double*>(self.complex_bytes + 16 * index))[1]
            )
        if tag < TAG_ARRAY:
            return new_box(tag, self.complex_bytes + 16 * index)
        if tag == TAG_ARRAY:
            # Not self.slab()[index]: a layout of no dimensions must come back as an array.
            result = np.empty(self.slab_shape, dtype=self.slab_dtype)
            memcpy(cnp.PyArray_DATA(result), self.slab_bytes + index * self.slab_itemsize, self.slab_itemsize)
            return result
        if tag == TAG_ERROR and self.read_error is not None:
            return self.read_error(index, self.stored_object(index), (<long long*>cell)[0])
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
        self.clear_value(index)

    def store_error(self, Py_ssize_t index, error, long long traceback_id=0):
        """Store what went wrong for one element, with the number of its traceback."""
        self.check_index(index)
        self.store_error_value(index, error, traceback_id)

    def load_error(self, Py_ssize_t index):
        """Give what ``store_error`` was given."""
        self.check_index(index)
        if TAG_LOAD(self.tag_bytes, index) != TAG_ERROR:
            raise InvalidValueError(f"element {index} is not an error")
        return self.stored_object(index), (<long long*>self.cell_bytes)[index]

    # -- layout --------------------------------------------------------------------------------------

    cdef int need_complex(self) except -1:
        if self.complex_bytes == NULL:
            region = self._allocate(16 * self.size)
            # Another thread may have run meanwhile and made it.
            if self.complex_bytes == NULL:
                self.complex_region, self.complex_bytes = region, cnp.PyArray_BYTES(region)
        return 0

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
                f"arrays of dtype {fixed!r} cannot be laid out in a slab", hint="use a numeric dtype in native byte order"
            )
        size = tuple(int(each) for each in shape)
        itemsize = fixed.itemsize * int(np.prod(size, dtype=np.int64))
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
        blocks = 0 if self.blocks is None else sum(8 * len(block) for block in self.blocks if block is not None)
        regions = (self.tag_region, self.cell_region, self.complex_region, self.slab_region)
        return blocks + sum(region.nbytes for region in regions if region is not None)

    # -- many elements -------------------------------------------------------------------------------

    cdef tuple span(self, start, stop):
        if self.tag_bytes == NULL:
            raise InvalidValueError("the column is closed")
        last = self.size if stop is None else stop
        if not 0 <= start <= last <= self.size:
            raise OutOfBoundsError(f"range [{start}, {last}) is not inside [0, {self.size})")
        return start, last

    def tag_set(self, start=0, stop=None):
        """Give a bit mask of the tags that occur in a range: bit ``t`` for tag ``t``."""
        cdef Py_ssize_t first, last, index
        cdef unsigned int seen = 0
        cdef unsigned char* tags
        first, last = self.span(start, stop)
        region = self.tag_region          # stays mapped while the loop runs without the GIL
        tags = <unsigned char*>cnp.PyArray_DATA(region)
        with nogil:
            for index in range(first, last):
                seen |= 1u << tags[index]
        return seen

    def count(self, int tag, start=0, stop=None):
        """Count the elements of a range that have this tag."""
        cdef Py_ssize_t first, last, index, found = 0
        cdef unsigned char* tags
        first, last = self.span(start, stop)
        region = self.tag_region          # stays mapped while the loop runs without the GIL
        tags = <unsigned char*>cnp.PyArray_DATA(region)
        with nogil:
            for index in range(first, last):
                found += tags[index] == tag
        return found

    @property
    def tags(self):
        """ndarray of uint8, shape (size,): read-only view of the tags."""
        self.span(0, 0)
        return read_only(self.tag_region[: self.size])

    @property
    def cells(self):
        """ndarray of uint64, shape (size,): read-only view of the cells."""
        self.span(0, 0)
        return read_only(self.cell_region[: 8 * self.size].view(np.uint64))

    def typed(self):
        """Give the values as one typed, read-only array without a copy, or None where types differ."""
        cdef unsigned int seen = self.tag_set() & ~(1u << TAG_MISSING)
        dtypes = {TAG_DTYPES[tag] for tag in range(TAG_COUNT) if seen >> tag & 1}
        if len(dtypes) != 1 or None in dtypes:
            return None
        dtype = dtypes.pop()
        if dtype.kind == "c":
            cells, width = self.complex_region, 16
        else:
            cells, width = self.cell_region, 8
        rows = cells[: width * self.size].reshape(self.size, width)
        return read_only(rows[:, : dtype.itemsize].view(dtype)[:, 0])

    def slab(self):
        """Give the array elements as one read-only array without a copy, or None if others are among them."""
        cdef unsigned int seen = self.tag_set() & ~(1u << TAG_MISSING)
        if seen != 1u << TAG_ARRAY:
            return None
        rows = self.slab_region[: self.slab_itemsize * self.size].view(self.slab_dtype)
        return read_only(rows.reshape((self.size, *self.slab_shape)))

    def objects(self, start=0, stop=None, default=None):
        """Give the elements of a range as a fresh object array, each as ``load`` gives it."""
        cdef Py_ssize_t first, last, index
        cdef PyObject** out
        cdef PyObject* old
        first, last = self.span(start, stop)
        result = np.empty(last - first, dtype=object)
        out = <PyObject**>cnp.PyArray_DATA(result)
        for index in range(first, last):
            value = self.load_value(index, default)
            Py_INCREF(value)
            old = out[index - first]
            out[index - first] = <PyObject*>value
            Py_XDECREF(old)
        return result

    def close(self):
        """Drop the regions and objects. May be called twice; views that were handed out stay valid."""
        self.tag_bytes = NULL
        self.tag_region = self.cell_region = self.complex_region = self.slab_region = None
        self.cell_bytes = self.complex_bytes = self.slab_bytes = NULL
        self.blocks, dropped = None, self.blocks
        del dropped


cdef object new_box(int tag, char* data):
    cdef PyObject* box = box_new(BOX_TYPES[tag], data, BOX_SIZES[tag])
    result = <object>box
    Py_XDECREF(box)
    return result


cdef object read_only(view):
    view.flags.writeable = False
    return view
