"""Times ways to do the same thing against each other, on an even footing.

All run in one process, in turns after a warm-up, so that a busy moment of the
machine strikes all alike; what counts is the ratio to the first one, taken
round by round. Absolute times on a shared CPU are only an indication.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import embedcomp
from embedcomp import Scheme
from embedcomp._internal.progress import track
from embedcomp.table.group_params import group_name
from embedcomp.table.order import order_from_groups
from experiments.benchmarks.record import Row

_WARM_UP_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Contestant:
  """A way to compute the output.

  Attributes:
    name: what it is.
    fn: pure function of the arrays and the input; is jitted here.
    arrays: pytree of what it keeps.
    num_bytes: of what it keeps once it is written to disk.
    note: what a reader of the row should know.
  """

  name: str
  fn: Callable[[Any, jax.Array], jax.Array]
  arrays: Any
  num_bytes: int
  note: str | None = None


Entry = tuple[str, Callable[[], Contestant]]


def array_bytes(tree: Any) -> int:
  """Bytes of all arrays of a pytree, as they lie in memory."""
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def enter_peers(entries: Sequence[Entry]) -> tuple[list[Contestant], list[Row]]:
  """Builds contestants out of other libraries, which may be absent or fail.

  Args:
    entries: names and functions that build.

  Returns:
    Those that could be built and, for the others, rows that say why not.
  """
  built, failed = [], []
  for name, build in entries:
    try:
      built.append(build())
    except ModuleNotFoundError as error:
      failed.append({'contestant': name, 'note': f'{error.name} is absent'})
    except Exception as error:  # its authors' to mend; the row tells
      note = f'fails: {type(error).__name__}: {error}'
      failed.append({'contestant': name, 'note': note.splitlines()[0][:120]})
  return built, failed


def race(
  contestants: Sequence[Contestant],
  inputs: Sequence[np.ndarray],
  rounds: int,
  *,
  progress: bool = True,
) -> list[Row]:
  """Times contestants, and compares their outputs with the first one's.

  Args:
    contestants: the first one is what the others are measured against.
    inputs: one after the other, of one shape.
    rounds: for each input.
    progress: whether to show a progress bar.

  Returns:
    One row a contestant, in order.
  """
  # The arrays are arguments: as constants XLA would fold them.
  fns = [jax.jit(c.fn) for c in contestants]
  first = jax.numpy.asarray(inputs[0])
  expected = np.asarray(fns[0](contestants[0].arrays, first))
  rows = []
  for contestant, fn in zip(contestants, fns):
    memory = fn.lower(contestant.arrays, first).compile().memory_analysis()
    output = np.asarray(fn(contestant.arrays, first))
    rows.append(
      {
        'contestant': contestant.name,
        'time_ratio': None,
        'milliseconds': None,
        'stored_bytes': contestant.num_bytes,
        'factor': contestants[0].num_bytes / contestant.num_bytes,
        'xla_temporary_bytes': memory.temp_size_in_bytes,
        'xla_argument_bytes': memory.argument_size_in_bytes,
        'max_abs_error': np.abs(output - expected).max(),
        'rounds': rounds * len(inputs),
        'note': contestant.note,
      }
    )
    del output
  seconds = take_turns(
    [functools.partial(fn, c.arrays) for fn, c in zip(fns, contestants)],
    [jax.numpy.asarray(x) for x in inputs],
    rounds,
    progress=progress,
  )
  for row, own in zip(rows, seconds):
    row['time_ratio'] = float(np.median(own / seconds[0]))
    row['milliseconds'] = 1e3 * float(np.median(own))
  return rows


def take_turns(
  fns: Sequence[Callable[[Any], Any]],
  inputs: Sequence[Any],
  rounds: int,
  *,
  clock: Callable[[], Any] = time.perf_counter,
  progress: bool = True,
) -> np.ndarray:
  """Times functions in turns, after a warm-up.

  Args:
    fns: each takes an input; what JAX returns is waited for.
    inputs: one after the other.
    rounds: for each input.
    clock: gives seconds, or several clocks' in an array.
    progress: whether to show a progress bar.

  Returns:
    [functions, rounds of all inputs] seconds, one more axis for several clocks.
  """
  turns = [(x, r) for x in inputs for r in range(-_WARM_UP_ROUNDS, rounds)]
  seconds = np.empty((len(fns), rounds * len(inputs), *np.shape(clock())))
  column, rng = 0, np.random.default_rng(0)
  for x, r in track(turns, 'taking turns', enabled=progress, unit='round'):
    # In another order each time: one that frees much memory slows the next.
    for index in rng.permutation(len(fns)):
      start = clock()
      jax.block_until_ready(fns[index](x))
      if r >= 0:
        seconds[index, column] = clock() - start
    column += r >= 0
  return seconds


def dense_lookup(table: np.ndarray) -> Contestant:
  """`flax.linen.Embed`, the plain way to look words up."""
  import flax.linen as nn

  embed = nn.Embed(*table.shape)
  params = {'params': {'embedding': jax.numpy.asarray(table)}}
  return Contestant('flax nn.Embed, float32', embed.apply, params, table.nbytes)


def dense_logits(table: np.ndarray) -> Contestant:
  """`flax.linen.Embed.attend`, the plain way to score words."""
  import flax.linen as nn

  embed = nn.Embed(*table.shape)

  def attend(params, hidden):
    return embed.apply(params, hidden, method='attend')

  params = {'params': {'embedding': jax.numpy.asarray(table)}}
  return Contestant('flax nn.Embed, float32', attend, params, table.nbytes)


def ours(name: str, scheme: Scheme, params: Any, read: Callable) -> Contestant:
  """A scheme of this library, whose groups the row names.

  Args:
    name: for the row.
    scheme: the scheme.
    params: in stored form.
    read: `embedcomp.lookup` or `embedcomp.logits`.
  """
  note = ', '.join(describe(group) for group in scheme.groups)

  def fn(params, x):
    return read(scheme, params, x)

  return Contestant(f'embedcomp {name}', fn, params, scheme.num_bytes, note)


def describe(group: embedcomp.Group) -> str:
  """A group in few words: its size, its method and the method's values."""
  values = dataclasses.asdict(group.method).values()
  return f'{group.size} {group.method.name} ' + '/'.join(map(str, values))


def fit(scheme: Scheme, table: np.ndarray, counts: np.ndarray) -> Any:
  """Fits a given scheme, words ranked by their counts.

  Args:
    scheme: the scheme.
    table: [V, D] float32.
    counts: [V] by id.

  Returns:
    Params in stored form.
  """
  by_rank = np.argsort(-counts, kind='stable')
  group_of_id = np.empty(len(counts), np.int64)
  params = {}
  for index, (group, shape) in enumerate(zip(scheme.groups, scheme.shapes)):
    ids = np.sort(by_rank[scheme.splits[index] : scheme.splits[index + 1]])
    group_of_id[ids] = index
    fitted = group.method.fit(table[ids], counts[ids] + 1.0, 0)
    stored = group.method.quantize(fitted, shape)
    params[group_name(index)] = stored
  if scheme.order == 'stored':
    order = order_from_groups(group_of_id)
    params['order'] = embedcomp.Stored(jax.numpy.asarray(order))
  return params


def ours_fitted(name, scheme, table, counts, read) -> Contestant:
  """A scheme of this library, fitted; arguments as for `ours` and `fit`."""
  return ours(name, scheme, fit(scheme, table, counts), read)
