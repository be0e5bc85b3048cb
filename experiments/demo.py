r"""Compresses the word embeddings of a text classifier, and shows how it went.

  python -m experiments.demo [--workdir=demo]

On Reuters R52: a dense model, uniform low rank of several sizes, groups split
by hand, and the learned search; a table of all, and a page with pictures. The
same command goes on with what was interrupted.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from configs import classify
from embedcomp.io.files import write_atomically
from experiments import launch, report
from experiments.benchmark import BENCHMARKS
from experiments.benchmarks import record, tables

_LABELS = (
  'dense',
  'low_rank',
  'low rank, from dense',
  'hand-split, int8',
  'search',
)


def main() -> None:
  """Runs all of it."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.demo',
    description='Learns how to compress the word embeddings of a classifier.',
    allow_abbrev=False,
  )
  parser.add_argument('--workdir', type=Path, default=Path('demo'))
  parser.add_argument(
    '--smoke', action='store_true', help='small sizes, to see that all runs'
  )
  args = parser.parse_args()
  page, summary = run(args.workdir, smoke=args.smoke)
  print(tables.text_table(summary))
  print(f'\nPictures and all details: {page.resolve()}')


def run(workdir: Path, *, smoke: bool) -> tuple[Path, list[record.Row]]:
  """Runs the comparison and one whole search.

  Args:
    workdir: where files go.
    smoke: small sizes.

  Returns:
    The path of the report and the rows of the table.
  """
  config = classify.get_config('smoke' if smoke else 'r52')
  launch.run(config, workdir)
  comparison = BENCHMARKS['search_r52']
  jobs = [
    job
    for job in comparison.jobs(smoke=smoke, seeds=1)
    if job.name.rsplit(' ', 1)[0] in _LABELS
  ]
  output = workdir / 'comparison.json'
  rows, _ = record.run_jobs(jobs, output, {'smoke': smoke})
  dense = [row['value'] for row in rows if row['label'] == 'dense']
  content = {
    'rows': rows,
    'higher_is_better': rows[0]['higher_is_better'],
    'dense_value': float(np.mean(dense)),
    'dense_std': float(np.std(dense)),
  }
  write_atomically(output, json.dumps(content, indent=2).encode())
  return report.write_report(workdir), comparison.summary(rows)


if __name__ == '__main__':
  main()
