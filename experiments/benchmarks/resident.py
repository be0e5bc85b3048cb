"""Compact and resident tables beside a dense one: words, scores, gradients."""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import embedcomp
from embedcomp import Group, Scheme, methods
from experiments.benchmarks import minilm, race, record, synthetic
from experiments.benchmarks.record import Job, Row

SEEDS = 2
_FACTOR = 20
_STORAGES = ('int8', 'float16', 'float32')
_ROUNDS = {'lookup': 60, 'logits': 12, 'gradient': 8}
_COUNTS = {'lookup': (1, 128, 4096), 'logits': (1, 64), 'gradient': (128, 4096)}


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """A job for each table and number of cores, in a process of its own.

  Args:
    smoke: whether to use a small table and few rounds.
    seeds: draws of ids and of hidden vectors.
  """
  tables = ('smoke',) if smoke else ('minilm', 'synthetic')
  return [
    Job(
      f'{table}, {cores} cores',
      functools.partial(_run_apart, table, cores, seeds),
    )
    for table in tables
    for cores in range(1, record.num_cores() + 1)
    if cores in (1, 2)
  ]


def summary(rows: Sequence[Row]) -> list[Row]:
  """Times by dense ones: forms side by side, ' / ' between cores."""
  merged: dict[tuple, Row] = {}
  for row in rows:
    scheme, _, form = row['contestant'].rpartition(', ')
    if scheme == 'dense':
      continue
    key = (row['operation'], row['count'], scheme)
    made = merged.setdefault(key, dict(zip(('of', 'count', 'scheme'), key)))
    found = f'{row["time_ratio"]:.2f}'
    made[form] = f'{made[form]} / {found}' if form in made else found
  return list(merged.values())


def _run_apart(table: str, cores: int, seeds: int) -> list[Row]:
  """Rows measured in a fresh process, which prints them as JSON."""
  command = [sys.executable, '-m', 'experiments.benchmarks.resident']
  command += [table, str(cores), str(seeds)]
  result = subprocess.run(command, capture_output=True, text=True)
  if result.returncode:
    raise RuntimeError(f'{table} failed:\n{result.stderr[-2000:]}')
  return json.loads(result.stdout.splitlines()[-1])


def _compressed(table: str) -> tuple[np.ndarray, dict[str, tuple]]:
  """The dense table, and its schemes with their params, made once."""
  if table == 'minilm':
    dense, counts = minilm.load_minilm_table(), minilm.newsgroups_counts()
  else:
    shape = (600, 96) if table == 'smoke' else (100_000, 256)
    dense = np.empty(shape, np.float32)
    synthetic.fill_table(dense)
    counts = synthetic.zipf_counts(len(dense))
  path = Path(tempfile.gettempdir(), f'{table}-{record.commit()}.safetensors')
  if not path.exists():
    found = embedcomp.compress(dense, counts, budget=f'{_FACTOR}x')
    embedcomp.save(path, *found)
  by_hand = _product_codes(*dense.shape)
  return dense, {
    "compress('20x')": embedcomp.load(path),
    'product codes': (by_hand, race.fit(by_hand, dense, counts)),
  }


def _product_codes(num_words: int, features: int) -> Scheme:
  """Groups of unequal codes; their words are in no order."""
  codewords = min(256, num_words // 12)
  sizes = [num_words // 10, 4 * num_words // 10]
  sizes.append(num_words - sum(sizes))
  groups = tuple(
    Group(
      size, methods.ProductQuantization(features // width, codewords, 'int8')
    )
    for size, width in zip(sizes, (4, 8, 16))
  )
  return Scheme(features, groups, 'stored')


def _measure(table: str, seeds: int) -> list[Row]:
  dense, compressed = _compressed(table)
  tables: dict[str, tuple] = {}
  for name, (scheme, params) in compressed.items():
    tables[f'{name}, compact'] = (scheme, params)
    for storage in _STORAGES:
      made = embedcomp.resident(scheme, params, storage)
      tables[f'{name}, resident {storage}'] = made
  names = ['dense, float32', *tables]
  operations = {
    'minilm': ('lookup', 'gradient'),
    'synthetic': ('logits',),
    'smoke': tuple(_ROUNDS),
  }[table]
  rows = []
  for operation in operations:
    make, make_dense = _OPERATIONS[operation]
    fns = [make_dense(jnp.asarray(dense))]
    fns += [make(scheme, params) for scheme, params in tables.values()]
    for count in _COUNTS[operation]:
      inputs = [_input(operation, dense, count, seed) for seed in range(seeds)]
      rounds = 2 if table == 'smoke' else _ROUNDS[operation]
      seconds = race.take_turns(
        fns, inputs, rounds, clock=_clocks, progress=False
      )
      ratios = np.median(seconds / seconds[:1], axis=1)
      times = np.median(seconds[..., 0], axis=1)
      rows += [
        {
          'table': table,
          'cores': record.num_cores(),
          'operation': operation,
          'count': count,
          'contestant': name,
          'time_ratio': float(ratio[0]),
          'cpu_time_ratio': float(ratio[1]),
          'milliseconds': float(1e3 * t),
        }
        for name, ratio, t in zip(names, ratios, times)
      ]
  return rows


def _clocks() -> np.ndarray:
  """Time that has gone by, and the processors' time of this process."""
  return np.array([time.perf_counter(), time.process_time()])


def _input(operation: str, dense: np.ndarray, count: int, seed: int) -> Any:
  rng = np.random.default_rng(seed)
  vectors = rng.standard_normal((count, dense.shape[1]), np.float32)
  if operation == 'logits':
    return jnp.asarray(vectors)
  by_rank = np.random.default_rng(1).permutation(len(dense))
  ids = jnp.asarray(synthetic.zipf_ids(by_rank, count, seed))
  return ids if operation == 'lookup' else (ids, jnp.asarray(vectors))


def _lookup(scheme: Scheme, params: Any) -> Callable:
  read = jax.jit(lambda params, ids: embedcomp.lookup(scheme, params, ids))
  return functools.partial(read, params)


def _dense_lookup(table: jax.Array) -> Callable:
  return functools.partial(
    jax.jit(lambda table, ids: jnp.take(table, ids, axis=0)), table
  )


def _logits(scheme: Scheme, params: Any) -> Callable:
  read = jax.jit(lambda params, x: embedcomp.logits(scheme, params, x))
  return functools.partial(read, params)


def _dense_logits(table: jax.Array) -> Callable:
  return functools.partial(jax.jit(lambda table, x: x @ table.T), table)


def _gradient(scheme: Scheme, params: Any) -> Callable:
  masters = embedcomp.dequantize_params(scheme, params)
  trainable, stored = embedcomp.split_params(masters)

  @jax.jit
  def gradient(trainable, stored, ids, vectors):
    def loss(trainable):
      merged = embedcomp.merge_params(trainable, stored)
      return (embedcomp.lookup(scheme, merged, ids) * vectors).sum()

    return jax.grad(loss)(trainable)

  return lambda x: gradient(trainable, stored, *x)


def _dense_gradient(table: jax.Array) -> Callable:
  @jax.jit
  def gradient(table, ids, vectors):
    def loss(table):
      return (jnp.take(table, ids, axis=0) * vectors).sum()

    return jax.grad(loss)(table)

  return lambda x: gradient(table, *x)


_OPERATIONS = {
  'lookup': (_lookup, _dense_lookup),
  'logits': (_logits, _dense_logits),
  'gradient': (_gradient, _dense_gradient),
}


if __name__ == '__main__':
  if hasattr(os, 'sched_setaffinity'):  # before XLA makes its threads
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[: int(sys.argv[2])])
  print(json.dumps(_measure(sys.argv[1], int(sys.argv[3]))))
