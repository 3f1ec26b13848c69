"""Columns: the array that holds one output, lossless for any mixture of Python values."""
cimport numpy as cnp
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint64_t

from pipefunc_c._kernels.cells cimport BLOCK
from pipefunc_c._kernels.tags cimport (
    TAG_ARRAY,
    TAG_COMPLEX,
    TAG_COMPLEX64,
    TAG_COUNT,
    TAG_ERROR,
    TAG_MISSING,
    TAG_OBJECT,
    tag_dtype,
)

import numpy as np

from pipefunc_c.exceptions import InvalidValueError

cnp.import_array()


cdef class Column(Cells):
    """Hold one output: an 8-byte cell and a tag byte per element.

    Parameters
    ----------
    size : int
        Number of elements.
    home : object with ``allocate(nbytes)``, optional
        Gives zeroed writable buffers; None takes memory of this process.
    grows : bool, default True
        Take memory for complex numbers when the first is stored; else they are kept as objects until
        ``add_complex`` is called.

    Attributes
    ----------
    read_error : callable or None
        ``read_error(index, stored, origin_id)``: what ``load`` gives for an element that is an error.
    read_object : callable or None
        ``read_object(index)``: gives an object that was stored in another process or run.

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
        return shown(self.tag_region)[: self.size]

    @property
    def cells(self):
        """ndarray of uint64, shape (size,): read-only view of the cells."""
        self.span(0, 0)
        return shown(self.cell_region)[: 8 * self.size].view(np.uint64)

    def typed(self):
        """Give the values as one typed, read-only array without a copy, or None where types differ."""
        cdef unsigned int seen = self.tag_set() & ~(1u << TAG_MISSING)
        dtypes = {tag_dtype(tag) for tag in range(TAG_COUNT) if seen >> tag & 1}
        if len(dtypes) != 1 or None in dtypes:
            return None
        dtype = dtypes.pop()
        if dtype.kind == "c":
            cells, width = self.complex_region, 16
        else:
            cells, width = self.cell_region, 8
        rows = shown(cells)[: width * self.size].reshape(self.size, width)
        return rows[:, : dtype.itemsize].view(dtype)[:, 0]

    def slab(self):
        """Give the array elements as one read-only array without a copy, or None if others are among them."""
        cdef unsigned int seen = self.tag_set() & ~(1u << TAG_MISSING)
        if seen != 1u << TAG_ARRAY:
            return None
        rows = shown(self.slab_region)[: self.slab_itemsize * self.size].view(self.slab_dtype)
        return rows.reshape((self.size, *self.slab_shape))

    def __reduce__(self):
        """Pickle the elements; the copy lives in memory of its own process."""
        tags = np.array(self.tags)
        kept = [(index, *self._kept(index)) for index in np.flatnonzero(tags >= TAG_OBJECT).tolist()]
        tags[tags >= TAG_OBJECT] = TAG_MISSING
        arrays = None
        if self.layout is not None:
            arrays = self.slab_region[: self.slab_itemsize * self.size].view(self.slab_dtype)
            arrays = arrays.reshape((self.size, *self.slab_shape))
        return _restore_column, (self.size, tags, np.array(self.cells), self.complexes, arrays, kept)

    def _kept(self, index):
        if self.tag(index) == TAG_ERROR:
            # What users see of it: the means to build that stay in this process.
            return (self.load(index), 0) if self.read_error is not None else self.load_error(index)
        return self.load(index), -1

    def copy_range(self, start, tags, cells, complexes=None, arrays=None):
        """Write packed elements, tags last; objects are left to ``read_object``.

        Parameters
        ----------
        start : int
            First element.
        tags : ndarray of uint8, shape (n,)
            Tags; elements whose tag is MISSING are left as they are.
        cells : ndarray of uint64, shape (n,)
        complexes : ndarray of complex128, shape (n,), optional
        arrays : ndarray, shape (n, *layout shape), optional

        Raises
        ------
        InvalidValueError
            If there are array elements and the layout differs, or the column is closed.
        OutOfBoundsError
            If the range is not inside the column.
        """
        given = np.ascontiguousarray(tags, dtype=np.uint8)
        first, last = self.span(start, start + len(given))
        present = given != TAG_MISSING
        own_tags = self.tag_region[first:last]
        for index in np.flatnonzero(present & (own_tags >= TAG_COMPLEX)).tolist():
            self.clear_value(first + index)
        own_cells = self.cell_region[8 * first : 8 * last].view(np.uint64)
        own_cells[present] = np.asarray(cells, dtype=np.uint64)[present]
        is_complex = (given >= TAG_COMPLEX) & (given <= TAG_COMPLEX64)
        if is_complex.any():
            self.add_complex()
            own = self.complex_region[16 * first : 16 * last].view(np.complex128)
            own[is_complex] = np.asarray(complexes, dtype=np.complex128)[is_complex]
        is_array = given == TAG_ARRAY
        if is_array.any():
            if self.slab_bytes == NULL:
                self.fix_layout(arrays.dtype, arrays.shape[1:])
            if (arrays.dtype, arrays.shape[1:]) != self.layout:
                raise InvalidValueError(
                    f"arrays of {arrays.dtype!r} {arrays.shape[1:]!r} do not fit the layout {self.layout!r}"
                )
            own = self.slab_region[self.slab_itemsize * first : self.slab_itemsize * last]
            own = own.view(self.slab_dtype).reshape((last - first, *self.slab_shape))
            own[is_array] = arrays[is_array]
        own_tags[present] = given[present]

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

    def let_go(self, start=0, stop=None):
        """Drop the objects and errors of a range; ``read_object`` gives them from now on."""
        cdef Py_ssize_t first, last, index, number, begin, end
        cdef list block
        cdef list dropped = []
        first, last = self.span(start, stop)
        for index in range(first, last):
            if self.tag_bytes[index] >= TAG_OBJECT:
                (<uint64_t*>self.cell_bytes)[index] = 0
        if self.blocks is None or first == last:
            return
        for number in range(first // BLOCK, (last - 1) // BLOCK + 1):
            block = self.blocks[number]
            if block is None:
                continue
            begin, end = max(first - number * BLOCK, 0), min(last - number * BLOCK, len(block))
            dropped.append(block[begin:end])
            block[begin:end] = [None] * (end - begin)
            if all(each is None for each in block):
                self.blocks[number] = None
        # What their destructors run finds a consistent column.
        block = None
        dropped.clear()

    @property
    def complexes(self):
        """ndarray of complex128, shape (size,), read-only view; None without memory for complex numbers."""
        self.span(0, 0)
        if self.complex_bytes == NULL:
            return None
        return shown(self.complex_region)[: 16 * self.size].view(np.complex128)


cdef object shown(region):
    """Give a view of a region that cannot be made writable."""
    return np.frombuffer(memoryview(region).toreadonly(), dtype=np.uint8)


def _restore_column(size, tags, cells, complexes, arrays, kept):
    column = Column(size)
    column.copy_range(0, tags, cells, complexes, arrays)
    if arrays is not None and column.layout is None:
        column.fix_layout(arrays.dtype, arrays.shape[1:])
    for index, value, number in kept:
        if number < 0:
            column.store(index, value)
        else:
            column.store_error(index, value, number)
    return column
