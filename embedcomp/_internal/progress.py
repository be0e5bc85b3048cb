"""Progress bars for long work."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm.auto import tqdm

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
    return iter(tqdm(iterable, desc=description, leave=False, **options))
  return iter(iterable)
