r"""Measures the library beside its peers; every figure of the README is here.

  python -m experiments.benchmark NAME [--smoke] [--seeds=N] [--output=FILE]
  python -m experiments.benchmark NAME --markdown     # the table of a result

A result is one JSON file, by default `results/NAME.json`, with the command, the
commit, the hardware and the versions beside the rows. An interrupted run
continues where it was; to start anew, delete the `.jsonl` beside the result.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks import (
  attention_error,
  bert_fidelity,
  bert_speed,
  bert_table,
  distilled_attention,
  distilled_tasks,
  fit,
  foreign_text,
  logits,
  long_documents,
  long_needle,
  lookup,
  multilingual,
  record,
  resident,
  search_cost,
  table_error,
  tables,
)
from experiments.benchmarks.attention_speed import AttentionSpeed
from experiments.benchmarks.comparison import Comparison, Sizes
from experiments.benchmarks.distilled_table import (
  BY_DEPTH,
  BY_LOSS,
  BY_SIZE,
  DistilledTable,
)
from experiments.benchmarks.long_training import LongTraining

BENCHMARKS: dict[str, record.Benchmark] = {
  'attention_error': attention_error,
  'attention_speed': AttentionSpeed(in_bert=False),
  'attention_speed_bert': AttentionSpeed(in_bert=True),
  'bert_fidelity': bert_fidelity,
  'bert_speed': bert_speed,
  'bert_sst2': Comparison(
    'bert_compress',
    'sst2',
    Sizes((1 / 40, 1 / 80), few=(1 / 40,)),
    labels=('dense', 'search', 'compress', 'pq'),
    data='sst2',
  ),
  'bert_table': bert_table,
  'distilled_attention': distilled_attention,
  'distilled_layers': DistilledTable(BY_DEPTH, 'depths'),
  'distilled_losses': DistilledTable(BY_LOSS, 'losses'),
  'distilled_table': DistilledTable(BY_SIZE, 'sizes'),
  'distilled_tasks': distilled_tasks,
  'fit': fit,
  'foreign_text': foreign_text,
  'logits': logits,
  'long_documents': long_documents,
  'long_listops': LongTraining('listops', (512, 2048), generated=True),
  'long_needle': long_needle,
  'long_newsgroups': LongTraining('newsgroups', (512, 1024, 2048, 4096)),
  'lookup': lookup,
  'multilingual': multilingual,
  'resident': resident,
  'search_cost': search_cost,
  'search_language_model': Comparison(
    'language_model',
    'newsgroups',
    Sizes(
      (0.02, 0.05, 0.1, 0.2),
      few=(0.05,),
      rank_shares=(1 / 8, 1 / 4, 1 / 2, 3 / 4, 1),
    ),
    labels=(
      'dense',
      'low rank, from dense',
      'search',
      'compress',
      'dense, int8',
      'dense, int4',
    ),
  ),
  'search_newsgroups': Comparison(
    'classify',
    'newsgroups',
    Sizes(
      (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08),
      few=(0.005,),
      in_float32=(0.05, 0.2),
    ),
  ),
  'search_r52': Comparison(
    'classify',
    'r52',
    Sizes((0.0025, 0.005, 0.01, 0.02, 0.04), few=(0.005,)),
    ablations=True,
  ),
  'table_error': table_error,
}


def _parser() -> argparse.ArgumentParser:
  width = max(map(len, BENCHMARKS)) + 2
  listed = '\n'.join(
    f'  {name:<{width}}{module.__doc__.splitlines()[0]}'
    for name, module in BENCHMARKS.items()
  )
  parser = argparse.ArgumentParser(
    prog='python -m experiments.benchmark',
    description='Measures the library beside its peers.',
    epilog=f'benchmarks:\n{listed}',
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('name', choices=BENCHMARKS, metavar='NAME')
  parser.add_argument(
    '--smoke', action='store_true', help='small sizes, to see that all runs'
  )
  parser.add_argument(
    '--seeds',
    type=_positive,
    metavar='N',
    help='tables, draws or repeats to measure',
  )
  parser.add_argument(
    '--output',
    type=_json_path,
    help='the result (results/NAME.json; results/smoke/NAME.json if smoke)',
  )
  parser.add_argument(
    '--markdown',
    action='store_true',
    help='print and draw an earlier result, measure nothing',
  )
  return parser


def _positive(text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f'must be at least 1, got {text!r}')
  return int(text)


def _json_path(text: str) -> Path:
  if not text.endswith('.json'):
    raise argparse.ArgumentTypeError(f'must end in .json, got {text!r}')
  return Path(text)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs one benchmark as the command line says."""
  argv = sys.argv[1:] if argv is None else list(argv)
  args = _parser().parse_args(argv)
  folder = Path('results/smoke' if args.smoke else 'results')
  output = args.output or folder / f'{args.name}.json'
  if args.markdown:
    rows = record.read_result(output)['rows']
    summary = getattr(BENCHMARKS[args.name], 'summary', list)
    print(tables.markdown_table(summary(rows)))
    _save_picture(BENCHMARKS[args.name], rows, output)
    return
  benchmark = BENCHMARKS[args.name]
  seeds = args.seeds or (1 if args.smoke else benchmark.SEEDS)
  setting = {'smoke': args.smoke, 'seeds': seeds}
  jobs = benchmark.jobs(**setting)
  rows, commits = record.run_jobs(jobs, output, setting)
  result = {
    'benchmark': args.name,
    'command': ' '.join(
      [*_settings(), 'python -m experiments.benchmark', *argv]
    ),
    'commit': commits,
    **setting,
    **record.provenance(),
    'rows': rows,
  }
  record.write_result(output, result, setting)
  print(tables.text_table(rows))
  _save_picture(benchmark, rows, output)
  print(f'\n{output}')


def _settings() -> list[str]:
  """Variables that change how memory is allocated, as a shell writes them."""
  return [
    f'{name}={value}'
    for name, value in sorted(os.environ.items())
    if name.startswith('MALLOC_') or name == 'GLIBC_TUNABLES'
  ]


def _save_picture(
  benchmark: record.Benchmark, rows: Sequence[record.Row], output: Path
) -> None:
  """Draws what a benchmark has a picture of, beside its result."""
  if not hasattr(benchmark, 'plot'):
    return
  from matplotlib import pyplot

  figure = benchmark.plot(rows).figure
  figure.savefig(output.with_suffix('.png'), dpi=120, bbox_inches='tight')
  pyplot.close(figure)


if __name__ == '__main__':
  main()
