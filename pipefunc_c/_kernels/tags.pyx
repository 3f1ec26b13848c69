"""Tags: one byte that names the exact type of an element, with the tables between types, tags and dtypes."""
cimport numpy as cnp
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_XDECREF

import numpy as np

cnp.import_array()

MISSING, FLOAT, INT, BOOL, NONE = TAG_MISSING, TAG_FLOAT, TAG_INT, TAG_BOOL, TAG_NONE
FLOAT64, FLOAT32, FLOAT16 = TAG_FLOAT64, TAG_FLOAT32, TAG_FLOAT16
INT8, INT16, INT32, INT64 = TAG_INT8, TAG_INT16, TAG_INT32, TAG_INT64
UINT8, UINT16, UINT32, UINT64 = TAG_UINT8, TAG_UINT16, TAG_UINT32, TAG_UINT64
NUMPY_BOOL, COMPLEX, COMPLEX128, COMPLEX64 = TAG_NUMPY_BOOL, TAG_COMPLEX, TAG_COMPLEX128, TAG_COMPLEX64
ARRAY, OBJECT, ERROR = TAG_ARRAY, TAG_OBJECT, TAG_ERROR

# Tables between tags, NumPy scalar types and dtypes; filled once, below.
cdef PyTypeObject* BOX_TYPES[TAG_COUNT]
cdef Py_ssize_t BOX_SIZES[TAG_COUNT]
cdef int TYPE_NUMBER_TAGS[32]
cdef list TAG_DTYPES = [None] * TAG_COUNT     # dtype of the cells with this tag, or None

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


cdef object tag_dtype(int tag):
    """Give the dtype of the cells with this tag, or None."""
    return TAG_DTYPES[tag]


cdef object new_box(int tag, char* data):
    """Make a NumPy scalar from the bytes of its value."""
    cdef PyObject* box = box_new(BOX_TYPES[tag], data, BOX_SIZES[tag])
    result = <object>box
    Py_XDECREF(box)
    return result
