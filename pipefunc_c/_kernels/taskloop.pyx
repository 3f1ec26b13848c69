"""The element-task loop: fetch arguments, call, store; nothing else happens per element.

One control loop serves two kinds of call. The fast one is a vectorcall of the user's function with keyword
names built once. The general one hands the arguments to ``invoke``, which runs hooks, pickers and the like.
State lives in the call of ``run``, never in the object, so runs may be nested and may overlap in threads.

The clock is read every ``stride`` elements: 1 above a microsecond per element, at most 32 below. At these
moments the deadline and the stop flag are looked at and, every millisecond, signal handlers and waiting
threads get their turn: a loop over a builtin never enters the interpreter's own loop, which sees to that.
"""
cimport numpy as cnp
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyObject_GetItem
from cpython.ref cimport Py_XDECREF
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE

import math
import time

import numpy as np

from pipefunc_c._kernels.cells cimport store_element
from pipefunc_c._kernels.column cimport Column
from pipefunc_c._kernels.index cimport (
    Odometer,
    odometer_advance,
    odometer_close,
    odometer_open,
    odometer_run_length,
    odometer_seek,
)
from pipefunc_c._kernels.source cimport (
    FETCH_ERROR_ELEMENT,
    SOURCE_COLUMN,
    SOURCE_CONSTANT,
    Slot,
    Source,
    fetch,
)

from pipefunc_c._kernels.index import axis_strides, intersect_runs
from pipefunc_c.exceptions import InvalidTypeError, InvalidValueError, OperationError, OutOfBoundsError

cnp.import_array()

cdef extern from *:
    """
    #if defined(_WIN32)
    #include <windows.h>
    static double clock_seconds(void) {
        LARGE_INTEGER now, frequency;
        QueryPerformanceCounter(&now);
        QueryPerformanceFrequency(&frequency);
        return (double)now.QuadPart / (double)frequency.QuadPart;
    }
    #else
    #include <time.h>
    static double clock_seconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }
    #endif
    """
    double clock_seconds() noexcept nogil

cdef extern from "Python.h":
    object PyObject_Vectorcall(PyObject* function, PyObject** arguments, size_t count, PyObject* names)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET

# A function of the interpreter, not of Cython: entering it runs signal handlers and hands the GIL to a thread
# that waits for it. Giving the GIL up from C instead can starve that thread: each release restarts its wait.
cdef object TAKE_TURN = eval("lambda: None")
cdef double YIELD_SECONDS = 0.001
cdef double SLOW_ELEMENT_SECONDS = 1e-6
cdef int MAX_STRIDE = 32


class FailedValue:
    """Returned by ``invoke`` in the place of one value that could not be had.

    Parameters
    ----------
    error : Exception
        What went wrong; it is stored as the error of this output only.
    """

    __slots__ = ("error",)

    def __init__(self, error):
        self.error = error


class InputIsError(Exception):
    """Raised by ``invoke`` for an element that must not be computed because an input of it is an error."""


cdef class Frame:
    """State of one call of ``run``."""
    cdef Odometer odometer
    cdef Slot* slots
    cdef PyObject** arguments            # arguments[0] is scratch space of the vectorcall protocol
    cdef Py_ssize_t n_slots
    cdef Py_ssize_t reached, done, failed, nbytes, max_bytes
    cdef double started, deadline, last_clock, last_yield
    cdef int stride, countdown
    cdef bint stopped, in_element
    cdef const unsigned char[::1] flag
    cdef long long* current              # where the element that runs is told to others; or NULL
    cdef object current_owner

    cdef inline int leave_element(self) except -1:
        self.in_element = False
        self.reached += 1
        self.done += 1
        self.countdown -= 1
        if self.nbytes >= self.max_bytes:
            self.stopped = True
        if self.countdown == 0:
            self.look_at_clock()
        return 0

    cdef int look_at_clock(self) except -1:
        """Adapt the stride, let signals and threads run, see whether the run must return."""
        cdef double now = clock_seconds()
        if now - self.last_clock > SLOW_ELEMENT_SECONDS * self.stride:
            self.stride = 1
        elif self.stride < MAX_STRIDE:
            self.stride *= 2
        self.countdown = self.stride
        if now - self.last_yield > YIELD_SECONDS:
            TAKE_TURN()
            now = self.last_yield = clock_seconds()
        self.last_clock = now
        if now >= self.deadline or (self.flag is not None and self.flag[0]):
            self.stopped = True
        return 0

    def __dealloc__(self):
        cdef Py_ssize_t k
        if self.slots != NULL:
            for k in range(self.n_slots):
                Py_XDECREF(self.slots[k].held)
        PyMem_Free(self.slots)
        PyMem_Free(self.arguments)
        odometer_close(&self.odometer)


cdef class TaskLoop:
    """Run an element function over a range of tasks.

    Parameters
    ----------
    function : callable
        Called once per element.
    parameters : sequence of str
        Names of its parameters, in the order of ``sources``.
    sources : sequence of Source
        Where each argument comes from.
    shape : sequence of int
        Sizes of the task axes.
    columns : sequence of Column
        Where the results go.
    n_positional : int, default 0
        That many leading arguments go by position, the others by keyword.
    unpack : bool, default False
        Index the result by position, one value per column; else it is stored whole.
    runs : ndarray of int64, shape (n_runs, 2), optional
        The requested elements; None for all.
    capture_errors : bool, default False
        Store an ``Exception`` as the error of its element and go on; else it is raised.
    invoke : callable, optional
        ``invoke(index, kwargs) -> sequence``: used instead of ``function``, one value per column.
    propagate : callable, optional
        ``propagate(index)`` gives the error to store for an element one of whose inputs is an error.
    intern_origin : callable, optional
        ``intern_origin(error) -> int``: the number under which it is kept when and where an error happened.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If the parts do not fit together.

    Examples
    --------
    >>> from pipefunc_c._kernels.column import Column
    >>> from pipefunc_c._kernels.source import elements
    >>> squares = Column(3)
    >>> loop = TaskLoop(lambda x: x * x, ["x"], [elements([1, 2, 3], (0,))], (3,), [squares])
    >>> loop.run(0, 3), squares.objects().tolist()
    (3, [1, 4, 9])
    """
    cdef object function, invoke, propagate, intern_origin
    cdef tuple parameters, keyword_names, sources, shape, columns
    cdef list strides
    cdef object runs
    cdef Py_ssize_t size, n_positional
    cdef bint unpack, capture_errors
    cdef readonly Py_ssize_t reached, done, failed
    cdef readonly double seconds

    # Not __init__: a second call of that could change a loop that runs.
    def __cinit__(
        self, function, parameters, sources, shape, columns, *, n_positional=0, unpack=False, runs=None,
        capture_errors=False, invoke=None, propagate=None, intern_origin=None,
    ):
        if not callable(function):
            raise InvalidTypeError(f"{function!r} is not callable")
        self.function = function
        self.parameters, self.sources = tuple(parameters), tuple(sources)
        self.shape, self.columns = tuple(shape), tuple(columns)
        if len(self.parameters) != len(self.sources):
            raise InvalidValueError(f"{len(self.parameters)} parameters but {len(self.sources)} sources")
        if not 0 <= n_positional <= len(self.parameters):
            raise InvalidValueError(
                f"n_positional is {n_positional}, allowed are 0 to {len(self.parameters)}"
            )
        if not unpack and invoke is None and len(self.columns) != 1:
            raise InvalidValueError(f"a result stored whole goes to one column, not to {len(self.columns)}")
        self.size = math.prod(self.shape)
        for column in self.columns:
            if (<Column?>column).size != self.size:
                raise InvalidValueError(f"a column of {column.size} elements does not fit {self.size} tasks")
        self.n_positional = n_positional
        self.keyword_names = self.parameters[n_positional:] or None
        self.unpack, self.capture_errors = unpack, capture_errors
        self.runs = None if runs is None else np.array(runs, dtype=np.int64).reshape(-1, 2)
        self.invoke, self.propagate, self.intern_origin = invoke, propagate, intern_origin
        self.strides = []
        for source in self.sources:
            axes = (<Source?>source).axes
            moving = [(s, a) for s, a in zip((<Source>source).unit_strides, axes) if a is not None]
            for axis in axes:
                if axis is not None and not 0 <= axis < len(self.shape):
                    raise InvalidValueError(f"axis {axis!r} of an input is not in range({len(self.shape)})")
            for axis, size in zip(axes, (<Source>source).sizes):
                length = self.shape[<Py_ssize_t>axis]
                if size < length:
                    raise InvalidValueError(f"an input of size {size} is too short for an axis of {length}")
            self.strides.append(axis_strides([s for s, _ in moving], [a for _, a in moving], len(self.shape)))

    def run(self, start, stop, *, deadline=math.inf, max_bytes=1 << 26, stop_flag=None, current=None):
        """Run the requested tasks of ``[start, stop)``.

        Parameters
        ----------
        start, stop : int
            Range of linear task indices (C order).
        deadline : float, optional
            Moment of ``time.monotonic()``, in seconds, at which the run returns early.
        max_bytes : int, optional
            Bytes of results after which the run returns early.
        stop_flag : writable buffer, optional
            The run returns early once its first byte is not 0.
        current : ndarray of int64, optional
            The index of each element is stored in its first place before the element is computed.

        Returns
        -------
        int
            ``stop`` if all is done, else the first task that is not.

        Raises
        ------
        OutOfBoundsError
            If the range is not inside ``[0, size)``.

        Notes
        -----
        At least one element is done per call unless the flag is set. After an exception the attribute
        ``reached`` is the task that raised.
        """
        cdef Py_ssize_t first = start, last = stop
        cdef Frame frame
        cdef const unsigned char[::1] flag = None
        cdef long long[::1] places
        cdef Py_ssize_t begin, end
        if not 0 <= first <= last <= self.size:
            raise OutOfBoundsError(f"range [{start}, {stop}) is not inside [0, {self.size})")
        if stop_flag is not None:
            flag = np.frombuffer(stop_flag, dtype=np.uint8, count=1)
        frame = self.new_frame(deadline, max_bytes, flag)
        if current is not None:
            places = current
            frame.current, frame.current_owner = &places[0], current
        frame.reached = first
        runs = [(first, last)] if self.runs is None else intersect_runs(self.runs, first, last).tolist()
        try:
            for begin, end in runs:
                frame.reached = begin
                while frame.reached < end and not frame.stopped:
                    try:
                        self.walk(frame, end)
                    except Exception as error:
                        if not frame.in_element:    # raised by a signal handler between two elements
                            raise
                        self.fail(frame, error)
                        frame.leave_element()
                if frame.stopped:
                    break
            else:
                frame.reached = last
        finally:
            self.reached, self.done, self.failed = frame.reached, frame.done, frame.failed
            self.seconds = clock_seconds() - frame.started
        return frame.reached

    def arguments(self, index):
        """Give the arguments of one element as a dict by parameter; errors of inputs included.

        Raises
        ------
        OutOfBoundsError
            If there is no such element.
        """
        cdef Py_ssize_t k
        cdef Frame frame
        cdef dict kwargs = {}
        if not 0 <= index < self.size:
            raise OutOfBoundsError(f"element {index} is not one of {self.size} tasks")
        frame = self.new_frame(math.inf, 1, None)
        odometer_seek(&frame.odometer, index)
        for k in range(frame.n_slots):
            frame.slots[k].offset = frame.odometer.offsets[k]
            if frame.slots[k].kind == SOURCE_COLUMN:
                value = (<Source>frame.slots[k].source).column.load(frame.slots[k].offset)
            elif frame.slots[k].kind == SOURCE_CONSTANT:
                value = <object>frame.arguments[k + 1]
            else:
                fetch(frame.slots + k, frame.odometer.position)
                value = <object>frame.slots[k].held
            kwargs[self.parameters[k]] = value
        return kwargs

    cdef Frame new_frame(self, double deadline, Py_ssize_t max_bytes, const unsigned char[::1] flag):
        cdef Frame frame = Frame.__new__(Frame)
        cdef Py_ssize_t k
        cdef Source source
        cdef double remaining
        frame.n_slots = len(self.sources)
        frame.slots = <Slot*>PyMem_Calloc(frame.n_slots + 1, sizeof(Slot))
        frame.arguments = <PyObject**>PyMem_Calloc(frame.n_slots + 1, sizeof(PyObject*))
        if frame.slots == NULL or frame.arguments == NULL:
            raise MemoryError("no memory for the arguments of an element")
        for k in range(frame.n_slots):
            source = self.sources[k]
            frame.slots[k].kind = source.kind
            frame.slots[k].source = <PyObject*>source
            frame.slots[k].stride = self.strides[k][len(self.shape) - 1] if self.shape else 0
            if source.kind == SOURCE_CONSTANT:
                frame.arguments[k + 1] = <PyObject*>source.value
        odometer_open(&frame.odometer, self.shape, self.strides)
        # The caller's clock may count from another origin than ours. Ours is read last: a thread that has to
        # wait in between ends late, never early.
        remaining = deadline - time.monotonic()
        frame.started = frame.last_clock = frame.last_yield = clock_seconds()
        frame.deadline = frame.started + remaining
        frame.stride = frame.countdown = 1
        frame.max_bytes, frame.flag = max_bytes, flag
        frame.stopped = flag is not None and flag[0] != 0
        return frame

    cdef int walk(self, Frame frame, Py_ssize_t last) except -1:
        """Run from ``frame.reached`` until ``last`` or until stopped."""
        cdef Odometer* odometer = &frame.odometer
        cdef Py_ssize_t inner = odometer.ndim - 1
        cdef Py_ssize_t count, origin, k, step
        cdef Slot* slots = frame.slots
        odometer_seek(odometer, frame.reached)
        while frame.reached < last:
            count = min(odometer_run_length(odometer), last - frame.reached)
            origin = odometer.position[inner]
            for k in range(frame.n_slots):
                slots[k].offset = odometer.offsets[k]
            for step in range(count):
                odometer.position[inner] = origin + step
                if frame.current != NULL:
                    frame.current[0] = frame.reached
                frame.in_element = True
                self.run_element(frame, frame.reached)
                frame.leave_element()
                if frame.stopped:
                    return 0
                for k in range(frame.n_slots):
                    slots[k].offset += slots[k].stride
            odometer.position[inner] = origin
            odometer_advance(odometer, count)
        return 0

    cdef inline int run_element(self, Frame frame, Py_ssize_t index) except -1:
        cdef Slot* slots = frame.slots
        cdef Py_ssize_t k
        for k in range(frame.n_slots):
            if slots[k].kind != SOURCE_CONSTANT:
                if fetch(slots + k, frame.odometer.position) == FETCH_ERROR_ELEMENT:
                    return self.store_propagated(frame, index)
                frame.arguments[k + 1] = slots[k].held
        if self.invoke is not None:
            return self.call_general(frame, index)
        result = PyObject_Vectorcall(
            <PyObject*>self.function,
            frame.arguments + 1,
            self.n_positional | PY_VECTORCALL_ARGUMENTS_OFFSET,
            NULL if self.keyword_names is None else <PyObject*>self.keyword_names,
        )
        if self.unpack:
            return self.store_unpacked(frame, index, result)
        frame.nbytes += store_element(<Column>PyTuple_GET_ITEM(self.columns, 0), index, <PyObject*>result)
        return 0

    cdef int store_unpacked(self, Frame frame, Py_ssize_t index, object result) except -1:
        cdef Py_ssize_t k
        cdef Py_ssize_t n_columns = PyTuple_GET_SIZE(self.columns)
        if PyTuple_CheckExact(result) and PyTuple_GET_SIZE(result) >= n_columns:
            for k in range(n_columns):
                frame.nbytes += store_element(
                    <Column>PyTuple_GET_ITEM(self.columns, k), index, PyTuple_GET_ITEM(result, k)
                )
            return 0
        if PyTuple_CheckExact(result):
            raise OutOfBoundsError(
                f"the function returned {PyTuple_GET_SIZE(result)} values for {n_columns} outputs",
                hint="return one value per output name",
            )
        # All are picked before one is stored. Not result[k]: that would skip the check of the bounds.
        values = [PyObject_GetItem(result, k) for k in range(n_columns)]
        return self.store_values(frame, index, values)

    cdef int store_values(self, Frame frame, Py_ssize_t index, values) except -1:
        if len(values) != len(self.columns):
            raise InvalidValueError(f"{len(values)} values for {len(self.columns)} columns")
        failed = False
        for column, value in zip(self.columns, values):
            if type(value) is FailedValue:
                (<Column>column).store_error_value(index, value.error, self.origin_number(value.error))
                failed = True
            else:
                frame.nbytes += store_element(<Column>column, index, <PyObject*>value)
        frame.failed += failed
        return 0

    cdef int call_general(self, Frame frame, Py_ssize_t index) except -1:
        cdef Py_ssize_t k
        cdef dict kwargs = {}
        for k in range(frame.n_slots):
            kwargs[self.parameters[k]] = <object>frame.arguments[k + 1]
        return self.store_values(frame, index, self.invoke(index, kwargs))

    cdef int store_propagated(self, Frame frame, Py_ssize_t index) except -1:
        if self.propagate is None:
            raise OperationError(f"an input of element {index} is an error")
        error = self.propagate(index)
        number = self.origin_number(error)
        for column in self.columns:
            (<Column>column).store_error_value(index, error, number)
        frame.failed += 1
        return 0

    cdef object origin_number(self, error):
        number = 0 if self.intern_origin is None else self.intern_origin(error)
        if isinstance(error, BaseException):  # a traceback holds the frames, and they hold the arguments
            BaseException.with_traceback(error, None)  # an assignment fails where the class is frozen
        return number

    cdef int fail(self, Frame frame, error) except -1:
        cdef Py_ssize_t index = frame.reached
        cdef long long number
        if self.propagate is not None and isinstance(error, InputIsError):
            return self.store_propagated(frame, index)
        if not self.capture_errors:
            for column in self.columns:
                (<Column>column).take(index)
            raise error
        number = self.origin_number(error)
        for column in self.columns:
            (<Column>column).store_error_value(index, error, number)
        frame.failed += 1
        return 0
