# Where one argument of an element function comes from.
from cpython.object cimport PyObject, PyTypeObject

from pipefunc_c._kernels.column cimport Column


cdef enum SourceKind:
    SOURCE_CONSTANT    # the same object for each element
    SOURCE_BOX         # aligned native numbers: boxed as NumPy scalars, the box reused where nobody kept it
    SOURCE_POINTERS    # object array
    SOURCE_LIST
    SOURCE_RANGE
    SOURCE_COLUMN      # an output of an earlier stage
    SOURCE_SCALAR      # any other plain dtype: boxed by NumPy
    SOURCE_INDEXED     # anything else: value[index]


cdef class Source:
    cdef SourceKind kind
    cdef object value            # what is indexed; keeps the memory alive
    cdef tuple axes              # per dimension: the task axis that indexes it, None = whole
    cdef tuple sizes             # per dimension; empty where the value checks its own bounds
    cdef tuple unit_strides      # per dimension: bytes for arrays, elements for lists, ranges and columns
    cdef char* base
    cdef PyTypeObject* box_type
    cdef Py_ssize_t itemsize
    cdef long long first, step   # of a range
    cdef Column column
    cdef bint copied             # a slice of an array goes out as a copy


cdef struct Slot:
    SourceKind kind
    PyObject* source             # borrowed Source
    PyObject* held               # the argument of the current element, owned
    Py_ssize_t offset            # of the current element
    Py_ssize_t stride            # to the next element of the innermost axis


cdef enum Fetch:
    FETCH_FAILED = -1
    FETCH_DONE = 0
    FETCH_ERROR_ELEMENT = 1      # the input element is an error of an earlier stage


cdef int fetch(Slot* slot, Py_ssize_t* position) except -1
