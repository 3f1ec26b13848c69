# Walks over a task shape in C order, by odometer: positions advance by one addition per input.


cdef struct Odometer:
    Py_ssize_t ndim          # task axes, at least one
    Py_ssize_t n_inputs
    Py_ssize_t* shape        # [ndim] sizes of the task axes
    Py_ssize_t* position     # [ndim] current multi-index
    Py_ssize_t* strides      # [n_inputs * ndim] stride of each input along each task axis
    Py_ssize_t* offsets      # [n_inputs] current offset of each input


cdef int odometer_open(Odometer* odometer, tuple shape, list strides) except -1
cdef void odometer_close(Odometer* odometer) noexcept nogil
cdef void odometer_seek(Odometer* odometer, Py_ssize_t linear) noexcept nogil


cdef inline Py_ssize_t odometer_run_length(Odometer* odometer) noexcept nogil:
    """Number of tasks before the next carry."""
    return odometer.shape[odometer.ndim - 1] - odometer.position[odometer.ndim - 1]


cdef void odometer_advance(Odometer* odometer, Py_ssize_t steps) noexcept nogil
