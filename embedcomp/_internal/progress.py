"""Progress bars for long work."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar('T')


def track(
  iterable: Iterable[T],
  description: str,
  *,
  enabled: bool = True,
  **options: Any,
) -> Iterator[T]:
  """Iterates with a progress bar that vanishes when it is done.

  Args:
    iterable: what to iterate over.
    description: words before the bar.
    enabled: whether to show it.
    **options: passed on to tqdm (`total`, `unit`, `unit_scale`, ...).

  Returns:
    An iterator over the same items.

  Example:
    >>> sum(track([1, 2, 3], 'adding', enabled=False))
    6
  """
  if enabled:
    # Imported here: in notebooks without ipywidgets the import itself warns.
    from tqdm.auto import tqdm

    return iter(tqdm(iterable, desc=description, leave=False, **options))
  return iter(iterable)


def step_bar(start: int, num_steps: int, enabled: bool) -> Any:
  """Makes a bar from the first step on, restarted or not; seldom redrawn.

  Args:
    start: steps that are done already.
    num_steps: of the whole work.
    enabled: whether to show it.

  Returns:
    A bar of tqdm's, to be closed.
  """
  if enabled:
    from tqdm.auto import tqdm
  else:  # spares notebooks without ipywidgets the warning above
    from tqdm.std import tqdm

  return tqdm(
    initial=start,
    total=num_steps,
    unit='step',
    disable=not enabled,
    dynamic_ncols=True,
    mininterval=0.2 if sys.stderr.isatty() else 30.0,
  )
