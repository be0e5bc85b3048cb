"""Time, memory and error of fitting product codes at 32x, beside faiss.

Each contestant runs in a process of its own, so that its peak memory is its
own; the baseline is the process once the table is loaded and the libraries are
imported. All count bytes alike: codes packed to the bit, codebooks and scales
as stored (float32 in the plain product codes, whose size is the least one at or
above 32x; `compress` stays below). faiss weighs all words alike, for its
quantizer takes no weights. On a busy machine seconds of the clock mean little;
seconds of the processor count threads that wait in a loop, too.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedcomp.data import cache_folder
from experiments.benchmarks import minilm, synthetic
from experiments.benchmarks.record import Job, Row

SEEDS = 3
_FACTOR = 32
CONTESTANTS = (
  'faiss PQ',
  'embedcomp PQ',
  f"embedcomp compress('{_FACTOR}x')",
)


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job a table and contestant, the median of several runs.

  Args:
    smoke: whether to fit only a small synthetic table.
    seeds: runs of each.
  """
  tables = (
    ('synthetic-600x24',) if smoke else ('minilm', 'synthetic-1000000x300')
  )

  def job(table, contestant):
    return Job(
      f'{table}, {contestant}', lambda: [_median_row(table, contestant, seeds)]
    )

  return [job(t, c) for t in tables for c in CONTESTANTS]


def _median_row(table: str, contestant: str, seeds: int) -> Row:
  _prepare(table)
  rows = [_run_apart(table, contestant, seed) for seed in range(seeds)]
  if 'note' in rows[0]:
    return rows[0]
  varying = [k for k, v in rows[0].items() if isinstance(v, (int, float))]
  medians = {k: float(np.median([row[k] for row in rows])) for k in varying}
  whole = {k: int(v) for k, v in medians.items() if k.endswith('bytes')}
  return {**rows[0], **medians, **whole, 'runs': seeds}


def _run_apart(table: str, contestant: str, seed: int) -> Row:
  """One run in a fresh process, which prints its row as JSON."""
  command = [sys.executable, '-m', 'experiments.benchmarks.fit']
  command += [table, contestant, str(seed)]
  result = subprocess.run(command, capture_output=True, text=True)
  if result.returncode:
    raise RuntimeError(
      f'{contestant} failed on {table}:\n{result.stderr[-2000:]}'
    )
  return json.loads(result.stdout.splitlines()[-1])


def _paths(table: str) -> tuple[Path, Path]:
  folder = cache_folder() / 'tables'
  return folder / f'{table}.npy', folder / f'{table}-counts.npy'


def _prepare(table: str) -> None:
  """Writes the table and its counts, unless they are there."""
  table_path, counts_path = _paths(table)
  if counts_path.exists():
    return
  table_path.parent.mkdir(parents=True, exist_ok=True)
  if table == 'minilm':
    np.save(table_path, minilm.load_minilm_table())
    counts = minilm.newsgroups_counts()
  else:
    size = table.removeprefix('synthetic-').split('x')
    num_words, features = map(int, size)
    rows = np.lib.format.open_memmap(
      table_path, 'w+', np.float32, (num_words, features)
    )
    synthetic.fill_table(rows)
    rows.flush()
    counts = synthetic.zipf_counts(num_words)
  np.save(counts_path, counts)  # last: it marks the pair as whole


def same_size_config(num_words: int, features: int) -> tuple[int, int]:
  """Books and bits a code of a plain product code, at least the budget's size.

  Among the configs that take no more than 5 % above the budget, or else the
  smallest one above it, the one with most codewords.
  """
  budget = 4 * num_words * features / _FACTOR
  sizes = {
    (books, bits): _plain_bytes(num_words, features, books, bits)
    for books in range(1, features + 1)
    for bits in range(2, 9)
    if features % books == 0 and 2**bits <= num_words
  }
  above = {config: size for config, size in sizes.items() if size >= budget}
  limit = max(1.05 * budget, min(above.values()))
  near = [config for config, size in above.items() if size <= limit]
  return max(near, key=lambda config: config[1])


def _plain_bytes(num_words, features, books, bits) -> int:
  """Codes packed to the bit and float32 codebooks, as faiss has them."""
  return -(-num_words * books * bits // 8) + 4 * 2**bits * features


def _fit_faiss(table, counts, seed):
  import faiss

  num_words, features = table.shape
  books, bits = same_size_config(num_words, features)
  start = time.perf_counter()
  quantizer = faiss.ProductQuantizer(features, books, bits)
  quantizer.cp.seed = seed + 1
  quantizer.train(table)
  codes = quantizer.compute_codes(table)
  seconds = time.perf_counter() - start
  return (
    seconds,
    _plain_bytes(num_words, features, books, bits),
    f'{books} books of {2**bits}',
    lambda rows: quantizer.decode(codes[rows]),
  )


def _fit_pq(table, counts, seed):
  import embedcomp
  from embedcomp import methods

  num_words, features = table.shape
  books, bits = same_size_config(num_words, features)
  method = methods.ProductQuantization(books, 2**bits)
  scheme = embedcomp.Scheme(features, (embedcomp.Group(num_words, method),))
  start = time.perf_counter()
  fitted = method.fit(table, counts + 1.0, seed)
  params = embedcomp.quantize_params(scheme, {'group_0': fitted})
  return _ours(start, scheme, params)


def _fit_compress(table, counts, seed):
  import embedcomp

  start = time.perf_counter()
  scheme, params = embedcomp.compress(
    table, counts, budget=f'{_FACTOR}x', seed=seed, progress=False
  )
  return _ours(start, scheme, params)


def _ours(start, scheme, params):
  import jax

  import embedcomp
  from experiments.benchmarks import race

  jax.block_until_ready(params)
  seconds = time.perf_counter() - start
  groups = [race.describe(group) for group in scheme.groups]
  return (
    seconds,
    scheme.num_bytes,
    ', '.join(groups),
    lambda rows: np.asarray(embedcomp.lookup(scheme, params, rows)),
  )


def _relative_error(table, decode, weights) -> float:
  """As `embedcomp.relative_error`, for any decoder."""
  lost = total = 0.0
  for start in range(0, len(table), 4096):
    rows = np.arange(start, min(start + 4096, len(table)))
    vectors = table[rows].astype(np.float64)
    lost += weights[rows] @ np.square(vectors - decode(rows)).sum(axis=1)
    total += weights[rows] @ np.square(vectors).sum(axis=1)
  return float(np.sqrt(lost / total))


def _memory_bytes(field: str) -> int | None:
  """VmRSS (now) or VmHWM (peak) of this process, on Linux.

  Not `ru_maxrss`: a process that is started by a larger one inherits that
  one's peak, and would seem to need no memory at all.
  """
  try:
    lines = Path('/proc/self/status').read_text().splitlines()
  except OSError:
    return None
  (line,) = (line for line in lines if line.startswith(f'{field}:'))
  return int(line.split()[1]) * 1024


def _forget_peak() -> None:
  """Lets the peak start again from the memory in use, on Linux."""
  path = Path('/proc/self/clear_refs')
  if path.exists():
    path.write_text('5')


def measure(table_name: str, contestant: str, seed: int) -> Row:
  """One run in this process.

  Args:
    table_name: one of the prepared tables.
    contestant: one of `CONTESTANTS`.
    seed: of the fit.

  Returns:
    Its row; with a note instead of figures if the library is absent.
  """
  label = {'table': table_name, 'contestant': contestant}
  fits = dict(zip(CONTESTANTS, (_fit_faiss, _fit_pq, _fit_compress)))
  try:
    if contestant == 'faiss PQ':
      import faiss  # noqa: F401
    else:
      import embedcomp  # noqa: F401
  except ModuleNotFoundError as error:
    return {**label, 'note': f'{error.name} is absent'}
  table_path, counts_path = _paths(table_name)
  table, counts = np.load(table_path), np.load(counts_path)
  _forget_peak()
  before, cpu_before = _memory_bytes('VmRSS'), time.process_time()
  seconds, num_bytes, what, decode = fits[contestant](table, counts, seed)
  cpu_seconds = time.process_time() - cpu_before
  peak = _memory_bytes('VmHWM')
  extra = None if peak is None else peak - before
  return {
    **label,
    'seconds': seconds,
    'cpu_seconds': cpu_seconds,
    'weighted_error': _relative_error(table, decode, counts + 1.0),
    'plain_error': _relative_error(table, decode, np.ones(len(table))),
    'stored_bytes': num_bytes,
    'factor': table.nbytes / num_bytes,
    'fit_memory_bytes': extra,
    'peak_memory_over_table': None
    if extra is None
    else 1 + extra / table.nbytes,
    'scheme': what,
  }


def main() -> None:
  """Prints the row of one run as JSON."""
  parser = argparse.ArgumentParser(description='One run of one contestant.')
  parser.add_argument('table')
  parser.add_argument('contestant', choices=CONTESTANTS)
  parser.add_argument('seed', type=int)
  args = parser.parse_args()
  print(json.dumps(measure(args.table, args.contestant, args.seed)))


if __name__ == '__main__':
  main()
