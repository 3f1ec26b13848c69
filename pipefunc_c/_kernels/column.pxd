# The column: one output of a stage. An 8-byte cell and a tag byte per element; complex numbers, arrays of
# one layout and Python objects have sides of their own, made when the first such element is stored.
cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject


cdef extern from *:
    """
    #define TAG_STORE(tags, index, tag) __atomic_store_n((tags) + (index), (unsigned char)(tag), __ATOMIC_RELEASE)
    #define TAG_LOAD(tags, index) __atomic_load_n((tags) + (index), __ATOMIC_ACQUIRE)
    #define BOX_DATA(box) ((char *)(box) + sizeof(PyObject))
    static inline PyObject *box_new(PyTypeObject *type, const char *data, Py_ssize_t itemsize) {
        PyObject *box = type->tp_alloc(type, 0);
        if (box != NULL) memcpy(BOX_DATA(box), data, (size_t)itemsize);
        return box;
    }
    """
    void TAG_STORE(unsigned char* tags, Py_ssize_t index, int tag) noexcept nogil
    int TAG_LOAD(unsigned char* tags, Py_ssize_t index) noexcept nogil
    char* BOX_DATA(PyObject* box) noexcept nogil
    PyObject* box_new(PyTypeObject* type, const char* data, Py_ssize_t itemsize) except NULL


cdef extern from "Python.h":
    PyTypeObject* Py_TYPE(PyObject* value) noexcept nogil
    bint PyFloat_CheckExact(PyObject* value) noexcept nogil
    double PyFloat_AS_DOUBLE(PyObject* value) noexcept nogil


cdef extern from "numpy/arrayobject.h":
    PyTypeObject PyDoubleArrType_Type


cdef enum Tag:
    TAG_MISSING = 0
    TAG_FLOAT = 1
    TAG_INT = 2
    TAG_BOOL = 3
    TAG_NONE = 4
    TAG_FLOAT64 = 5
    TAG_FLOAT32 = 6
    TAG_FLOAT16 = 7
    TAG_INT8 = 8
    TAG_INT16 = 9
    TAG_INT32 = 10
    TAG_INT64 = 11
    TAG_UINT8 = 12
    TAG_UINT16 = 13
    TAG_UINT32 = 14
    TAG_UINT64 = 15
    TAG_NUMPY_BOOL = 16
    TAG_COMPLEX = 17
    TAG_COMPLEX128 = 18
    TAG_COMPLEX64 = 19
    TAG_ARRAY = 20
    TAG_OBJECT = 21   # from here on the value lives on the object side
    TAG_ERROR = 22
    TAG_COUNT = 23


cdef class Column:
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
    cdef public object read_error

    cdef int check_index(self, Py_ssize_t index) except -1
    cdef int need_complex(self) except -1
    cdef tuple span(self, start, stop)
    cdef Py_ssize_t store_array(self, Py_ssize_t index, cnp.ndarray value) except -1
    cdef Py_ssize_t store_object(self, Py_ssize_t index, object value, int tag) except -1
    cdef object stored_object(self, Py_ssize_t index)
    cdef Py_ssize_t store_value(self, Py_ssize_t index, object value) except -1
    cdef object load_value(self, Py_ssize_t index, object default)
    cdef int store_error_value(self, Py_ssize_t index, object error, long long traceback_id) except -1
    cdef int clear_value(self, Py_ssize_t index) except -1


cdef PyTypeObject* tag_box_type(int tag) noexcept nogil
cdef Py_ssize_t tag_box_size(int tag) noexcept nogil
cdef int type_number_tag(int type_number) noexcept nogil


cdef inline Py_ssize_t store_element(Column column, Py_ssize_t index, PyObject* value) except -1:
    """Store one result; return its size in bytes. Floats are stored here, all else by the column."""
    if column.tag_bytes != NULL and column.tag_bytes[index] < TAG_OBJECT:
        if PyFloat_CheckExact(value):
            (<double*>column.cell_bytes)[index] = PyFloat_AS_DOUBLE(value)
            TAG_STORE(column.tag_bytes, index, TAG_FLOAT)
            return 8
        if Py_TYPE(value) == &PyDoubleArrType_Type:
            (<double*>column.cell_bytes)[index] = (<double*>BOX_DATA(value))[0]
            TAG_STORE(column.tag_bytes, index, TAG_FLOAT64)
            return 8
    return column.store_value(index, <object>value)
