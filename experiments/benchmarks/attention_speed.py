"""Attention over long inputs: time, work and memory.

Contestants of a length take turns in one process. Windows read as many keys as
the recursive attention that they are named after. On a GPU all is in bfloat16,
beside cuDNN's flash attention. What would take more memory than `_MAX_BYTES` is
compiled, but not run.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from embedcomp._internal.progress import track
from embedcomp.attention.dot_product import dense_attention
from embedcomp.attention.recursive import recursive_attention
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import Bert
from embedcomp.nn.sparse_attention import (
  ChunkedAttention,
  RecursiveAttention,
  SlidingWindowAttention,
)
from experiments.benchmarks import race
from experiments.benchmarks.minilm import minilm_sizes
from experiments.benchmarks.record import Job, Row, num_cores

_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
_HEADS, _FEATURES = 4, 64  # of the inputs of attentions alone
_MAX_BYTES = 9 * 2**30
_BLOCK = 16  # keys that sliding windows are made of


@dataclasses.dataclass(frozen=True)
class _Entry:
  """A way to attend.

  Attributes:
    name: what it is.
    attention_fn: see `embedcomp.attention`.
    keys: that a query reads.
  """

  name: str
  attention_fn: Callable[..., jax.Array]
  keys: int


class AttentionSpeed:
  """A race of attentions (see `record`), a job for each length.

  Attributes:
    SEEDS: draws of inputs, if the command does not say.
  """

  SEEDS = 1

  def __init__(self, in_bert: bool):
    """Computes nothing yet.

    Args:
      in_bert: whether attentions are those of a BERT, or alone.
    """
    where = "in a BERT of MiniLM-L6's sizes" if in_bert else 'alone'
    self.__doc__ = (
      f'Attention over long inputs: time, work and memory, {where}.'
    )
    self._in_bert = in_bert

  def jobs(self, *, smoke: bool, seeds: int) -> Sequence[Job]:
    """A race for each length."""
    lengths = (64,) if smoke else _LENGTHS
    return [
      Job(f'{length}', functools.partial(self._run, smoke, length, seeds))
      for length in lengths
    ]

  def _run(self, smoke: bool, length: int, seeds: int) -> list[Row]:
    entries = _entries(length, (8,) if smoke else (256, 128))
    if self._in_bert:
      sizes = minilm_sizes(smoke) | {'max_position_embeddings': length}
      make = functools.partial(_bert, sizes)
      inputs = _texts(length, seeds, sizes)
    else:
      make, inputs = _alone, [_arrays(length, seed) for seed in range(seeds)]
    rounds = 2 if smoke else max(3, min(15, 32_768 // length))
    rows = []
    for step in (False, True):
      named = {
        'what': 'step' if step else 'forward',
        'tokens': length,
        'rounds': rounds * seeds,
        'cores': num_cores(),
      }
      found = _race(entries, functools.partial(make, step), inputs, rounds)
      rows += [{**named, **row} for row in found]
    return rows

  def summary(self, rows: Sequence[Row]) -> list[Row]:
    """Returns the speed of each over dense attention, by length."""
    found = {}
    for row in rows:
      line = found.setdefault(
        (row['what'], row['contestant']),
        {'what': row['what'], 'attention': row['contestant']},
      )
      speedup = row.get('speedup')
      line[f'{row["tokens"]:,}'] = '-' if speedup is None else f'{speedup:.2f}'
    return [line for (_, name), line in found.items() if name != 'dense']


def window_like(attention: RecursiveAttention, length: int):
  """The sliding window whose queries read as many keys, or a few more.

  Args:
    attention: to be compared with.
    length: tokens of a text.
  """
  chunk_size = -(-attention.pattern.num_keys(length) // 3)
  return SlidingWindowAttention(-(-chunk_size // _BLOCK) * _BLOCK)


def _entries(length: int, chunk_sizes: Sequence[int]) -> list[_Entry]:
  """All ways to attend to so many tokens, the dense one first."""
  entries = [
    _Entry('dense', dense_attention, length),
    _Entry('jax.nn.dot_product_attention', _stock_attention, length),
  ]
  if jax.default_backend() == 'gpu':
    flash = functools.partial(_stock_attention, implementation='cudnn')
    entries.append(_Entry('cuDNN flash attention', flash, length))
  for chunk_size in chunk_sizes:
    recursive = RecursiveAttention(
      chunk_size, num_summaries=min(16, chunk_size // 2)
    )
    window = window_like(recursive, length)
    for name, attention_fn in (
      (f'recursive, C = {chunk_size}', recursive),
      (f'window like C = {chunk_size}', window),
    ):
      keys = attention_fn.pattern.num_keys(length)
      entries.append(_Entry(name, attention_fn, keys))
  return entries


def _stock_attention(
  query, key, value, mask=None, *, implementation='xla', **dropout
):
  del dropout  # turned off here
  mask = None if mask is None else mask[:, None, None, :]
  return jax.nn.dot_product_attention(
    query, key, value, mask=mask, implementation=implementation
  )


def _race(entries, make, inputs, rounds) -> list[Row]:
  """Compiles all, and times those whose memory suffices."""
  rows, fns = [], []
  for entry in track(entries, 'compiling', unit='contestant'):
    start = time.process_time()
    compiled = jax.jit(make(entry.attention_fn)).lower(inputs[0]).compile()
    seconds = time.process_time() - start
    num_bytes = compiled.memory_analysis().temp_size_in_bytes
    fns.append(compiled if num_bytes <= _MAX_BYTES else None)
    rows.append(
      {
        'contestant': entry.name,
        'keys': entry.keys,
        'flops': _flops(make, entry.attention_fn, inputs[0]),
        'xla_temporary_bytes': num_bytes,
        'compile_core_seconds': seconds,
      }
    )
  ran = [index for index, fn in enumerate(fns) if fn is not None]
  times = race.take_turns([fns[index] for index in ran], inputs, rounds)
  seconds = {rows[i]['contestant']: own for i, own in zip(ran, times)}
  for row in rows:
    own = seconds.get(row['contestant'])
    row.update(_compared(row['contestant'], own, seconds))
  return rows


def _compared(name: str, own: np.ndarray | None, seconds) -> Row:
  """Compares the seconds of a contestant with the others'."""
  if own is None:
    return {'note': 'compiled only: it takes too much memory'}
  found = {'milliseconds': 1e3 * float(np.median(own))}
  if 'dense' in seconds:
    found['speedup'] = float(np.median(seconds['dense'] / own))
  window = seconds.get(name.replace('recursive,', 'window like'))
  if name.startswith('recursive') and window is not None:
    found['over_window'] = float(np.median(own / window))
  return found


def _flops(make, attention_fn, inputs) -> float:
  """Of one call, by XLA, which counts what is in a loop only once."""
  if isinstance(attention_fn, ChunkedAttention):
    attention_fn = functools.partial(_at_once, attention_fn)
  lowered = jax.jit(make(attention_fn)).lower(inputs)
  return float(lowered.cost_analysis()['flops'])


def _at_once(attention_fn, query, key, value, mask=None, **dropout):
  return recursive_attention(
    query,
    key,
    value,
    mask,
    **attention_fn.sizes(),
    chunks_per_step=query.size,
    **dropout,
  )


def _dtype() -> Any:
  return jnp.bfloat16 if jax.default_backend() == 'gpu' else jnp.float32


def _arrays(length: int, seed: int) -> jax.Array:
  """Queries, keys and values of one text, [3, 1, T, N, H]."""
  shape = 3, 1, length, _HEADS, _FEATURES
  return jax.random.normal(jax.random.key(seed), shape, _dtype())


def _alone(is_step: bool, attention_fn) -> Callable[[jax.Array], Any]:
  """Attention of arrays, or its gradients by all three."""
  if not is_step:
    return lambda arrays: attention_fn(*arrays)

  def loss(arrays):
    return jnp.square(attention_fn(*arrays).astype(jnp.float32)).mean()

  return jax.grad(loss)


def _bert(sizes: Row, is_step: bool, attention_fn) -> Callable[..., Any]:
  """Hidden states of ids, or gradients of their squares' mean by all params."""
  model = Bert(BertConfig(**sizes), attention_fn=attention_fn, dtype=_dtype())

  def hidden(params, ids):
    return model.apply({'params': params}, ids).last_hidden_state

  def loss(params, ids):
    return jnp.square(hidden(params, ids).astype(jnp.float32)).mean()

  fn = jax.grad(loss) if is_step else hidden
  return lambda inputs: fn(*inputs)


def _texts(length: int, seeds: int, sizes: Row) -> list[tuple[Any, jax.Array]]:
  """The params of a model, the same each time, and ids [1, T] of a text."""
  shape, model = (1, length), Bert(BertConfig(**sizes))
  keys = jax.random.split(jax.random.key(0), seeds + 1)
  params = jax.jit(model.init)(keys[0], jnp.zeros((1, 8), jnp.int32))['params']
  return [
    (params, jax.random.randint(key, shape, 1, sizes['vocab_size'], jnp.int32))
    for key in keys[1:]
  ]
