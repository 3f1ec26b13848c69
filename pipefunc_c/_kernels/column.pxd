# The column: the cells of one output, and what concerns many of them.
from pipefunc_c._kernels.cells cimport Cells


cdef class Column(Cells):
    pass
