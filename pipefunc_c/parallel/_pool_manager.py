"""The inner life of a `WorkerPool`: who works on what, who comes next, who is replaced."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipefunc_c._describe import message_of
from pipefunc_c.exceptions import BrokenPoolError, PipefuncError, WorkerDiedError
from pipefunc_c.parallel._pool_run import Answered, Client, Lost, PoolRun, Refused, Request
from pipefunc_c.parallel._pool_worker import (
    ANSWER,
    ASK,
    BROKEN,
    CALL,
    CLOSE,
    CLOSED,
    END,
    FAILED,
    HEADER,
    OPEN,
    READY,
    REFUSED,
    REPLY,
    RESULT,
    TELL,
)
from pipefunc_c.parallel._starting import signals_held
from pipefunc_c.parallel._whole_lines import flush_shared
from pipefunc_c.parallel._workers import Death, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipefunc_c.parallel._call_marks import CallMarks
    from pipefunc_c.parallel._workers import WorkerGroup

CLOSE_SECONDS = 2.0
ABORT_SECONDS = 0.3
_FUTILE_STARTS = 3  # per worker, one after the other


@dataclass
class _Call:
    future: Future[Any]
    data: bytes
    n_deaths: int = 0  # of workers that had it, but did not begin it


@dataclass
class _State:
    """What is known of a worker."""

    is_ready: bool = False
    client: Client | None = None
    task: _Call | Request | None = None
    told: dict[int, int] = field(default_factory=dict)  # per open run, how many of its news it has
    is_doomed: bool = False  # killed; it may have answered before


class PoolManager:
    """Give the work of several clients to a group of workers, each client in its turn.

    Parameters
    ----------
    group
        The workers; not started yet.
    marks
        Where the workers say that they begin a call.
    on_end
        Called when the last worker has ended.
    """

    def __init__(self, group: WorkerGroup, marks: CallMarks, on_end: Callable[[], None]) -> None:
        self._group = group
        self._marks = marks
        self._on_end = on_end
        self.n_workers = group.n_workers
        self.lock = threading.RLock()
        self._states = [_State() for _ in range(group.n_workers)]
        self._idle: deque[int] = deque()
        self._calls = Client()
        self._turn: deque[Client] = deque()  # clients with something pending
        self._runs: dict[int, PoolRun] = {}
        self._numbers = itertools.count(1)
        self._is_closing = False
        self._broken: BaseException | None = None
        self._why = ""
        self._futile = 0
        self._settled: list[tuple[Future[Any], Any, BaseException | None]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the workers, if that was not done."""
        with self.lock:
            if self._thread is None:
                self._group.start()
                self._thread = threading.Thread(target=self._listen, name="pipefunc_c-pool", daemon=True)
                self._thread.start()

    @property
    def pids(self) -> list[int]:
        """The processes of the workers."""
        with self.lock:
            return [] if self._thread is None else [self._group.pid(slot) for slot in range(self.n_workers)]

    def check(self) -> None:
        """Raise if no more work is taken."""
        if self._broken is not None:
            raise self._broken_error()
        if self._is_closing:
            raise BrokenPoolError("this pool is shut down", hint="make a new one; it takes no more work")

    # -- from any thread -----------------------------------------------------------------------------

    def call(self, data: bytes) -> Future[Any]:
        """Let a worker do a call that was pickled."""
        future: Future[Any] = Future()
        flush_shared()
        with self.lock:
            self.check()
            self.start()
            self.enqueue(self._calls, _Call(future, data))
        return future

    def open_run(self, module: str, name: str, payload: bytes, descriptors: list[int]) -> PoolRun:
        """Begin a run: workers make a handler of it when they first work on it."""
        flush_shared()
        with self.lock:
            self.check()
            self.start()
            run = PoolRun(self, next(self._numbers), (module, name, payload), descriptors)
            self._runs[run.number] = run
        return run

    def enqueue(self, client: Client, task: _Call | Request) -> None:
        """Add to what a client wants."""
        with self.lock, signals_held():
            if not client.pending:
                self._turn.append(client)
            client.pending.append(task)
            if self._broken is None:
                self._dispatch()
            else:  # since the caller looked
                self._refuse_all()

    def end_workers(self, run: PoolRun, *, kill: bool, only: int | None = None) -> None:
        """End the workers that work on a run, or interrupt them."""
        with self.lock, signals_held():
            at_it = [
                slot
                for slot, state in enumerate(self._states)
                if state.client is run.client
                and (only is None or (isinstance(state.task, Request) and state.task.slot == only))
            ]
            if kill:
                for slot in at_it:
                    self._states[slot].is_doomed = True
                    self._group.kill_worker(slot)
            elif at_it:
                self._group.interrupt(at_it)

    def close_run(self, run: PoolRun, *, wait: bool) -> None:
        """End a run; with ``wait`` returns when no worker holds anything of it, or soon after."""
        with self.lock, signals_held():
            self._withdraw(run.client)
            self.end_workers(run, kill=True)
            for slot, state in enumerate(self._states):
                if state.told.pop(run.number, None) is not None:
                    # Also to one that is busy: it reads this, which is short, when it is done.
                    run.unclosed.add(slot)
                    self._group.send(slot, HEADER.pack(CLOSE, run.number))
            if not run.unclosed:
                run.all_closed.set()
        if wait:
            run.all_closed.wait(CLOSE_SECONDS)
        with self.lock:
            self._runs.pop(run.number, None)
            self._group.wake()

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        """Take no more work; the workers end when all is done."""
        with self.lock, signals_held():
            self._is_closing = True
            if cancel_futures:
                for task in self._calls.pending:
                    task.future.cancel()
            started = self._thread is not None
            if not started:
                self._group.kill()
                self._marks.close()
                self._on_end()
        if started and self._thread is not None:
            self._group.wake()
            if wait and threading.current_thread() is not self._thread:
                self._thread.join()

    def abort(self) -> None:
        """Give up what waits, and what is not finished within a moment: this program was interrupted."""
        with self.lock, signals_held():
            if self._thread is None or not self._thread.is_alive():
                return
            self._is_closing = True
            for task in self._calls.pending:
                task.future.cancel()
            for run in self._runs.values():
                self._withdraw(run.client)
        self._thread.join(ABORT_SECONDS)
        with self.lock, signals_held():
            self._break(KeyboardInterrupt("this program was interrupted"))
            for slot in range(self.n_workers):
                self._group.kill_worker(slot)
            self._runs.clear()
        self._group.wake()

    # -- with the lock held --------------------------------------------------------------------------

    def _withdraw(self, client: Client) -> None:
        client.pending.clear()
        with contextlib.suppress(ValueError):
            self._turn.remove(client)

    def _dispatch(self) -> None:
        while self._idle and self._turn:
            client = self._turn.popleft()
            task = client.pending.popleft()
            if client.pending:
                self._turn.append(client)
            if isinstance(task, _Call) and not _starts(task.future):
                continue
            slot = self._idle.popleft()
            state = self._states[slot]
            state.client, state.task = client, task
            if isinstance(task, _Call):
                self._marks.clear(slot)
                self._group.send(slot, HEADER.pack(CALL, 0), task.data)
            else:
                assert client.run is not None
                self._catch_up(slot, client.run)
                self._group.send(slot, HEADER.pack(ASK, client.run.number), task.data)

    def _catch_up(self, slot: int, run: PoolRun) -> None:
        told = self._states[slot].told
        if run.number not in told:
            told[run.number] = 0
            opening = pickle.dumps(run.opening)
            self._group.send(slot, HEADER.pack(OPEN, run.number), opening, descriptors=run.descriptors)
        for message in run.news[told[run.number] :]:
            self._group.send(slot, HEADER.pack(TELL, run.number), message)
        told[run.number] = len(run.news)

    # -- in the thread of the pool -------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # nobody else would answer those who wait
            with self.lock:
                self._break(error)
                settled, self._settled = self._settled, []
            for future, result, failure in settled:
                with contextlib.suppress(InvalidStateError):
                    _settle(future, result, failure)
            self._finish()

    def _serve(self) -> None:
        while True:
            events = self._group.wait()
            with self.lock:
                for event in events:
                    if isinstance(event, Message):
                        self._take(event.worker, memoryview(event.data))
                    else:
                        self._bury(event)
                self._dispatch()
                is_over = self._is_over()
                settled, self._settled = self._settled, []
            for future, result, error in settled:
                _settle(future, result, error)
            if is_over:
                self._finish()
                return

    def _take(self, slot: int, data: memoryview) -> None:
        kind, ends = REPLY.unpack_from(data)
        content = data[REPLY.size :]
        state = self._states[slot]
        if kind == CLOSED:
            self._closed(slot, HEADER.unpack(content)[1])
            return
        if kind == BROKEN:
            self._break(pickle.loads(content).load(), "their initializer raised ")
            return
        self._futile = 0
        client, task = state.client, state.task
        state.client = state.task = None
        if kind == READY:
            state.is_ready = True
        elif isinstance(task, _Call):
            self._settle_call(task.future, kind, content)
        elif client is not None and client.run is not None and task is not None:
            run = client.run
            if kind == ANSWER:
                run.inbox.put(Answered(task.slot, slot, content))
            elif kind == REFUSED:
                run.inbox.put(Refused(task.slot, pickle.loads(content).load()))
        if ends:
            self._renew(slot)
        elif not state.is_doomed:
            self._idle.append(slot)

    def _settle_call(self, future: Future[Any], kind: int, content: memoryview) -> None:
        result, error = None, None
        try:
            if kind == RESULT:
                result = pickle.loads(content)
            elif kind == FAILED:
                error = pickle.loads(content).load()
        except BaseException as unreadable:  # what the classes of the user do
            error = unreadable
        self._settled.append((future, result, error))

    def _closed(self, slot: int, number: int) -> None:
        run = self._runs.get(number)
        if run is not None:
            run.unclosed.discard(slot)
            if not run.unclosed:
                run.all_closed.set()

    def _bury(self, death: Death) -> None:
        slot = death.worker
        state = self._states[slot]
        if isinstance(state.task, _Call):
            self._lose_call(state.task, death)
        elif state.client is not None and state.client.run is not None and state.task is not None:
            state.client.run.inbox.put(Lost(state.task.slot, slot, death))
        if not state.is_ready:
            self._futile += 1
            if self._futile > _FUTILE_STARTS * self.n_workers:
                message = f"{death} before it took any work, like those before it"
                self._break(WorkerDiedError(message, detail=death.exitcode))
        self._renew(slot)

    def _lose_call(self, call: _Call, death: Death) -> None:
        """Give a call to another worker if its own died before it began; else it fails."""
        has_begun = self._marks.has_begun(death.worker)
        if not has_begun and call.n_deaths < _FUTILE_STARTS * self.n_workers:
            call.n_deaths += 1
            if not self._calls.pending:
                self._turn.appendleft(self._calls)
            self._calls.pending.appendleft(call)
            return
        when = "while it did a call" if has_begun else "before it began a call, like those before it"
        error = death.error or WorkerDiedError(
            f"{death} {when}",
            detail=death.exitcode,
            signal=death.signal,
            exitcode=death.exitcode,
            peak_memory=death.peak_memory,
            hint="a function that exits, crashes, runs out of memory or closes files that are not its own "
            "ends its worker",
        )
        self._settled.append((call.future, None, error))

    def _renew(self, slot: int) -> None:
        """Start a worker in the place of one that is dead or ends; runs are opened in it when needed."""
        with contextlib.suppress(ValueError):
            self._idle.remove(slot)
        for run in self._runs.values():
            self._closed(slot, run.number)
        self._states[slot] = _State()
        if self._broken is not None:
            return
        try:
            self._group.replace(slot)
        except Exception as error:  # no more processes, say
            self._break(error)

    def _break(self, error: BaseException, what: str = "") -> None:
        """Take no more work; all that waits fails. ``what`` says where an error of the user came from."""
        if self._broken is None:
            is_ours = not what and isinstance(error, PipefuncError)
            kind = "" if is_ours else f"{what}{type(error).__name__}: "
            self._broken, self._why = error, f"{kind}{message_of(error)}"
            self._refuse_all()

    def _broken_error(self) -> BrokenPoolError:
        error = BrokenPoolError(
            f"the workers of this pool cannot be used: {self._why}",
            hint="see the cause; make a new pool when it is mended",
        )
        error.__cause__ = self._broken
        return error

    def _refuse_all(self) -> None:
        clients = [self._calls, *(run.client for run in self._runs.values())]
        for client in clients:
            tasks = list(client.pending)
            tasks += [state.task for state in self._states if state.client is client and state.task]
            client.pending.clear()
            for task in tasks:
                if isinstance(task, _Call):
                    self._settled.append((task.future, None, self._broken_error()))
                elif client.run is not None:
                    client.run.inbox.put(Refused(task.slot, self._broken_error()))
        self._turn.clear()
        for state in self._states:
            state.client = state.task = None

    def _is_over(self) -> bool:
        if self._broken is not None:
            return not self._runs
        at_work = any(state.task is not None for state in self._states)
        return self._is_closing and not at_work and not self._turn and not self._runs

    def _finish(self) -> None:
        with self.lock:
            for slot in range(self.n_workers):
                self._group.send(slot, HEADER.pack(END, 0))
            if self._broken is None:
                self._group.close()
            else:
                self._group.kill()
            self._marks.close()
            self._on_end()


def _starts(future: Future[Any]) -> bool:
    """Tell whether a call is to run; one that a worker had before, but did not begin, cannot be cancelled."""
    return future.running() or future.set_running_or_notify_cancel()


def _settle(future: Future[Any], result: Any, error: BaseException | None) -> None:
    if not _starts(future):
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
