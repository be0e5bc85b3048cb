"""Progress bars for long work (tqdm, from the extra `embedcomp[fit]`)."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')


def track(
  iterable: Iterable[T], description: str, *, enabled: bool = True, **options
) -> Iterator[T]:
  """Iterates with a progress bar that vanishes when it is done.

  Args:
    iterable: what to iterate over.
    description: words before the bar.
    enabled: whether to show it; without tqdm nothing is shown.
    **options: passed on to tqdm (`total`, `unit`, `unit_scale`, ...).

  Returns:
    An iterator over the same items.

  Example:
    >>> sum(track([1, 2, 3], 'adding', enabled=False))
    6
  """
  if enabled:
    try:
      from tqdm.auto import tqdm
    except ImportError:
      return iter(iterable)
    return iter(tqdm(iterable, desc=description, leave=False, **options))
  return iter(iterable)
