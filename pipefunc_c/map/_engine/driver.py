"""The sequential driver: feeds the scheduler in this process and does what it says."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from pipefunc_c.map._engine.cancel import CancelToken
from pipefunc_c.map._engine.lease_run import LeaseRun
from pipefunc_c.map._engine.scheduler import FinishRun, FinishStage, GrantLease, PrepareStage

if TYPE_CHECKING:
    from pipefunc_c.map._engine.plan import Plan
    from pipefunc_c.map._engine.scheduler import Action
    from pipefunc_c.map._progress.progress import Progress

INLINE = "inline"


def run_inline(plan: Plan, progress: Progress, token: CancelToken | None = None) -> None:
    """Run a plan in this thread.

    Parameters
    ----------
    plan
        What to run.
    progress
        Told of each lease that returns.
    token
        Stops the run from another thread.

    Raises
    ------
    Exception
        What the first failing element raised, with a note that names it, unless the run goes on after errors.
    RunCancelledError
        If it was told to stop.
    """
    token = CancelToken() if token is None else token
    scheduler = plan.make_scheduler()
    actions: deque[Action] = deque([*scheduler.add_worker(INLINE), *scheduler.start()])
    failure: Exception | None = None
    while actions:
        if failure is None:
            token.check()
        action = actions.popleft()
        if isinstance(action, PrepareStage):
            requested = plan.stages[action.stage].prepare()
            progress.set_total(action.stage, len(requested))
            actions.extend(scheduler.stage_prepared(action.stage, requested))
        elif isinstance(action, GrantLease):
            lease, stage = action.lease, plan.stages[action.lease.stage]
            progress.granted(lease.stage, scheduler.running(lease.stage))
            started = time.monotonic()
            lease_run = LeaseRun(stage, lease)
            try:
                lease_run.run(started + action.seconds, token.flag)
            except Exception as error:
                failure = error
                if lease_run.is_to_blame:
                    stage.record(error, lease_run.reached)
                    progress.raised(lease.stage)
                actions.extend(scheduler.lease_failed(INLINE, lease_run.reached))
            else:
                seconds = time.monotonic() - started
                actions.extend(scheduler.lease_returned(INLINE, lease_run.reached, seconds))
            stage.failed += lease_run.failed
            progress.update(
                lease.stage, scheduler.done(lease.stage), stage.failed, scheduler.running(lease.stage)
            )
        elif isinstance(action, FinishStage):
            plan.stages[action.stage].finish()
        else:
            assert isinstance(action, FinishRun)
    if failure is not None:
        raise failure
