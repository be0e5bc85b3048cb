"""Threads for host work made of many independent NumPy calls."""

import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar('T')
R = TypeVar('R')


def map_threads(fn: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
  """Applies a function to all items, on one thread a core.

  BLAS threads of its own only get in the way of these, most of all on a busy
  machine, and are switched off meanwhile.

  Args:
    fn: spends its time in NumPy, which lets other threads run.
    items: arguments.

  Yields:
    The results in the order of the items.

  Example:
    >>> list(map_threads(abs, [-1, 2, -3]))
    [1, 2, 3]
  """
  num_threads = os.cpu_count() or 1
  with (
    threadpool_limits(1),
    concurrent.futures.ThreadPoolExecutor(num_threads) as pool,
  ):
    yield from pool.map(fn, items)
