# Tags: the exact type of an element, and how NumPy scalars of these types are boxed.
from cpython.object cimport PyObject, PyTypeObject


cdef extern from *:
    """
    #define TAG_STORE(tags, index, tag) \\
        __atomic_store_n((tags) + (index), (unsigned char)(tag), __ATOMIC_RELEASE)
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


cdef PyTypeObject* tag_box_type(int tag) noexcept nogil
cdef Py_ssize_t tag_box_size(int tag) noexcept nogil
cdef int type_number_tag(int type_number) noexcept nogil
cdef int scalar_tag(PyTypeObject* box_type) noexcept nogil
cdef object tag_dtype(int tag)
cdef object new_box(int tag, char* data)
