"""Wall-clock time by phase."""

import time
from collections.abc import Callable
from typing import Any

import jax


class Timer:
  """Adds up the seconds of each phase, in `seconds`."""

  def __init__(self) -> None:
    self.seconds: dict[str, float] = {}

  def copy(self) -> 'Timer':
    """Returns a timer that goes on from here by itself."""
    timer = Timer()
    timer.seconds.update(self.seconds)
    return timer

  def time(
    self, phase: str, function: Callable[..., Any], *args, **kwargs
  ) -> Any:
    """Calls a function, waits for its arrays and adds the time to a phase."""
    start = time.monotonic()
    result = jax.block_until_ready(function(*args, **kwargs))
    spent = time.monotonic() - start
    self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
    return result
