# The column: one output of a stage. An 8-byte cell and a tag byte per element; complex numbers, arrays of
# one layout and Python objects have sides of their own, made when the first such element is stored.
cimport numpy as cnp
from cpython.object cimport PyObject


from pipefunc_c._kernels.tags cimport (
    BOX_DATA,
    TAG_COMPLEX,
    TAG_FLOAT,
    TAG_FLOAT64,
    TAG_STORE,
    Py_TYPE,
    PyDoubleArrType_Type,
    PyFloat_AS_DOUBLE,
    PyFloat_CheckExact,
)


cdef enum:
    BLOCK = 4096                         # objects per list


cdef class Cells:
    cdef readonly Py_ssize_t size
    cdef unsigned char* tag_bytes        # [size]; NULL once closed
    cdef char* cell_bytes                # [size * 8]
    cdef char* complex_bytes             # [size * 16] or NULL
    cdef char* slab_bytes                # [size * slab_itemsize] or NULL
    cdef Py_ssize_t slab_itemsize        # bytes of one array element
    cdef object home                     # gives the memory
    cdef object tag_region, cell_region, complex_region, slab_region
    cdef cnp.dtype slab_dtype
    cdef tuple slab_shape
    cdef list blocks                     # lists of BLOCK objects each, or None
    cdef readonly str wanted             # the region that the home is asked for
    cdef public bint refused_complex     # whether a complex number became an object for want of memory
    cdef bint grows                      # whether regions may be added on demand
    cdef public object read_error, read_object

    cdef int check_index(self, Py_ssize_t index) except -1
    cdef bint need_complex(self) except -1
    cdef tuple span(self, start, stop)
    cdef bint has_slab_dtype(self, cnp.ndarray value) except -1
    cdef Py_ssize_t store_array(self, Py_ssize_t index, cnp.ndarray value) except -1
    cdef Py_ssize_t store_object(self, Py_ssize_t index, object value, int tag) except -1
    cdef object stored_object(self, Py_ssize_t index)
    cdef Py_ssize_t store_value(self, Py_ssize_t index, object value) except -1
    cdef object load_value(self, Py_ssize_t index, object default)
    cdef int store_error_value(self, Py_ssize_t index, object error, long long origin_id) except -1
    cdef object take(self, Py_ssize_t index)


cdef inline Py_ssize_t store_element(Cells column, Py_ssize_t index, PyObject* value) except -1:
    """Store one result; return its size in bytes. Floats are stored here, all else by the column."""
    if column.tag_bytes != NULL and column.tag_bytes[index] < TAG_COMPLEX:
        if PyFloat_CheckExact(value):
            (<double*>column.cell_bytes)[index] = PyFloat_AS_DOUBLE(value)
            TAG_STORE(column.tag_bytes, index, TAG_FLOAT)
            return 8
        if Py_TYPE(value) == &PyDoubleArrType_Type:
            (<double*>column.cell_bytes)[index] = (<double*>BOX_DATA(value))[0]
            TAG_STORE(column.tag_bytes, index, TAG_FLOAT64)
            return 8
    return column.store_value(index, <object>value)
