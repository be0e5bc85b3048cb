"""Loop of a run: steps, metrics, evaluations, checkpoints, resuming.

A run is a function of its first state and its batches. Killed at any moment
and started again, it ends with the same state and the same metrics, to the
bit, but for their times.
"""

import concurrent.futures
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal.progress import step_bar
from embedcomp.training.data_parallel import CompiledStep
from embedcomp.training.state import Best, TrainState, with_best

if TYPE_CHECKING:  # orbax is not needed without checkpoints
  from embedcomp.training.checkpoints import Checkpoints

# Batches that are made ahead, and steps that are handed to the devices ahead:
# enough to keep them busy, and few enough to hold little memory.
NUM_AHEAD = 2


class NonFiniteLossError(FloatingPointError):
  """Error for a loss or params that became infinite or not a number."""


@dataclass(frozen=True)
class Cadence:
  """Steps between log lines, checkpoints and evaluations.

  All of these happen after the last step as well.

  Attributes:
    num_steps: length of the run.
    log_every: steps that one line of metrics averages over.
    checkpoint_every: a multiple of `log_every`, so that no line is half
      before a checkpoint and half after it.
    evaluate_every: likewise for evaluations; None for the last step alone.
  """

  num_steps: int
  log_every: int = 100
  checkpoint_every: int = 1000
  evaluate_every: int | None = None

  def __post_init__(self) -> None:
    for name in ('log_every', 'checkpoint_every', 'evaluate_every'):
      every = getattr(self, name)
      if every is not None and (every < 1 or every % max(self.log_every, 1)):
        raise ValueError(
          f'{name} must be a positive multiple of log_every '
          f'({self.log_every}), got {every}.'
        )
    if self.num_steps < 0:
      raise ValueError(f'num_steps must not be negative, got {self.num_steps}.')

  def is_due(self, step: int, every: int | None) -> bool:
    """True if it is time for something that happens every so many steps."""
    return step == self.num_steps or (every is not None and step % every == 0)


@dataclass(frozen=True, eq=False)
class Evaluation:
  """Evaluations in the course of a run.

  Attributes:
    measure: takes a state to metrics; must not donate it.
    keep_best: name of one of these, and 'max' or 'min'; the state that was best
      by it is kept in `state.best`. None keeps the last state alone.

  Raises:
    ValueError: if it is neither 'max' nor 'min'.
  """

  measure: Callable[[TrainState], dict[str, float]]
  keep_best: tuple[str, str] | None = None

  def __post_init__(self) -> None:
    if self.keep_best is not None and self.keep_best[1] not in ('max', 'min'):
      raise ValueError(
        f"keep_best must say 'max' or 'min', got {self.keep_best}."
      )


class Log(Protocol):
  """Log that a run writes to, such as a `MetricsLog`."""

  def resume(self, step: int) -> None:
    """Forgets what was logged after a step."""

  def write(self, step: int, metrics: dict[str, float]) -> None:
    """Appends the metrics of a step."""


def in_words(metrics: dict[str, float]) -> str:
  """Writes metrics as words for a progress bar."""
  return ', '.join(f'{name} {value:.4g}' for name, value in metrics.items())


def run(
  step_fn: CompiledStep,
  state: TrainState,
  batch_at: Callable[[int], tuple[Any, ...]],
  cadence: Cadence,
  *,
  checkpoints: 'Checkpoints | None' = None,
  log: Log | None = None,
  evaluation: Evaluation | None = None,
  describe: Callable[[dict[str, float]], str] | None = in_words,
) -> TrainState:
  """Takes the steps that are still to be taken.

  Args:
    step_fn: a wrapped step; its metrics are scalars, 'loss' among them.
    state: the first one; it stays usable. What `checkpoints` holds goes first.
    batch_at: gives the batches of the step after so many steps, those of this
      host; called on a thread, ahead of time.
    cadence: when to log, evaluate, save and stop.
    checkpoints: where the run goes on from, and is saved.
    log: gets means of metrics, and evaluations as 'validation_...'.
    evaluation: what `cadence` evaluates; None for nothing.
    describe: takes the latest metrics to words beside the progress bar; None
      shows no bar.

  Returns:
    The state after the last step.

  Raises:
    NonFiniteLossError: naming the step and the last good checkpoint. No
      checkpoint ever holds params that are not finite.
    OSError: if the disk is full or fails.
    ValueError: for checkpoints that do not fit, or an unknown metric.
  """
  if evaluation is not None and evaluation.keep_best is not None:
    worst = -math.inf if evaluation.keep_best[1] == 'max' else math.inf
    state = with_best(state, worst)
  state, seconds = _resume(state, checkpoints, log)
  best, state = state.best, step_fn.place(state.replace(best=None))
  start, window = int(state.step), []

  def load(step):
    return [step_fn.shard(batch) for batch in batch_at(step)]

  with step_bar(start, cadence.num_steps, describe is not None) as bar:
    report = _Report(log, bar, describe, seconds)
    batches = _made_ahead(load, range(start, cadence.num_steps))
    for step, batch in enumerate(batches, start + 1):
      state, metrics = step_fn(state, *batch)
      window.append(metrics)
      jax.block_until_ready(window[-NUM_AHEAD:][0])
      bar.update()
      if cadence.is_due(step, cadence.log_every):
        report.write(step, _means(window))
        _check_losses(window, step, checkpoints)
        window.clear()
      if evaluation and cadence.is_due(step, cadence.evaluate_every):
        values = evaluation.measure(state)
        report.write(step, {f'validation_{k}': v for k, v in values.items()})
        best = _better(best, state, values, evaluation.keep_best)
      if checkpoints and cadence.is_due(step, cadence.checkpoint_every):
        _check_params(state, step, checkpoints)
        whole = state.replace(best=best)
        checkpoints.save(step, whole, {'seconds': report.seconds()})
  return state.replace(best=best)


class _Report:
  """Reporter of metrics to the log and beside the progress bar."""

  def __init__(
    self,
    log: Log | None,
    bar: Any,
    describe: Callable[[dict[str, float]], str] | None,
    seconds: float,
  ):
    self._log, self._bar, self._describe = log, bar, describe
    self._latest: dict[str, float] = {}
    self._start = time.monotonic() - seconds

  def seconds(self) -> float:
    """Returns the seconds of the run, those before restarts included."""
    return time.monotonic() - self._start

  def write(self, step: int, metrics: dict[str, float]) -> None:
    if self._log is not None:
      self._log.write(step, {'seconds': self.seconds(), **metrics})
    self._latest |= metrics
    if self._describe is not None:
      self._bar.set_postfix_str(self._describe(self._latest))


def _resume(
  state: TrainState, checkpoints: 'Checkpoints | None', log: Log | None
) -> tuple[TrainState, float]:
  """Returns the state to go on from and its seconds; cuts the log there."""
  seconds = 0.0
  restored = checkpoints.restore(state) if checkpoints else None
  if restored is not None:
    state, seconds = restored.state, restored.metadata['seconds']
  if log is not None:
    log.resume(int(state.step))
  return state, seconds


def _made_ahead(
  load: Callable[[int], Any], steps: Iterable[int]
) -> Iterator[Any]:
  """Yields `load(step)` for every step; a thread is some steps ahead."""
  pending: deque[concurrent.futures.Future[Any]] = deque()
  pool = concurrent.futures.ThreadPoolExecutor(1, 'batches')
  try:
    for step in steps:
      pending.append(pool.submit(load, step))
      if len(pending) > NUM_AHEAD:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)


def _means(window: list[dict[str, jax.Array]]) -> dict[str, float]:
  """Computes means over steps, in float64."""
  steps = jax.device_get(window)
  with np.errstate(invalid='ignore'):  # opposite infinities
    return {
      name: float(np.mean([step[name] for step in steps], dtype=np.float64))
      for name in steps[0]
    }


def _better(
  best: Best | None,
  state: TrainState,
  values: dict[str, float],
  keep_best: tuple[str, str] | None,
) -> Best | None:
  """Returns the better of the best state and a new one; the older if equal."""
  if keep_best is None or best is None:
    return None
  name, mode = keep_best
  if name not in values:
    raise ValueError(f'keep_best must name one of {list(values)}, got {name}.')
  value = float(np.float32(values[name]))
  if value > best.value if mode == 'max' else value < best.value:
    return with_best(state, value).best
  return best


def _check_losses(
  window: list[dict[str, jax.Array]],
  step: int,
  checkpoints: 'Checkpoints | None',
) -> None:
  """Raises NonFiniteLossError for the first bad loss among the latest steps."""
  losses = jax.device_get([metrics['loss'] for metrics in window])
  for number, loss in enumerate(losses, step - len(losses) + 1):
    if not np.isfinite(loss):
      raise _non_finite(f'the loss became {loss}', number, checkpoints)


@jax.jit
def _all_finite(params: Any) -> jax.Array:
  return jnp.stack(
    [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]
  ).all()


def _check_params(
  state: TrainState, step: int, checkpoints: 'Checkpoints'
) -> None:
  """Raises NonFiniteLossError rather than have broken params saved."""
  if not _all_finite(state.params):
    raise _non_finite('params became infinite or NaN', step, checkpoints)


def _non_finite(
  what: str, step: int, checkpoints: 'Checkpoints | None'
) -> NonFiniteLossError:
  kept = checkpoints.latest_step() if checkpoints else None
  where = 'no checkpoint had been written yet'
  if checkpoints and kept is not None:
    where = f'the last good state is checkpoint {kept} in {checkpoints.folder}'
  return NonFiniteLossError(
    f'{what} in step {step}; {where}. Try a lower learning rate, a longer '
    'warm-up or clipped gradients (optax.clip_by_global_norm), in a new '
    'workdir; and see whether the batch of that step is sound.'
  )
