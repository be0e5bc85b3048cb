"""The command `embedcomp`: models of the BERT family, directory to directory.

  embedcomp info MODEL
  embedcomp compress MODEL OUTPUT --budget=40x --text FILE ...
  embedcomp evaluate MODEL DATA --task=similarity --pair-field=sentence2
  embedcomp export MODEL OUTPUT

MODEL is a directory that `embedcomp.from_pretrained` reads. To train with the
table, see `python -m experiments.main --config=configs/bert_compress.py`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import optax

from embedcomp import data as data_lib
from embedcomp.compress import compress as compress_table
from embedcomp.io.huggingface import from_pretrained, save_pretrained
from embedcomp.nn.embedding import GroupedEmbed
from embedcomp.training import steps, tasks
from embedcomp.training.parallel import jit_step
from embedcomp.training.state import TrainState
from embedcomp.trees import partition

_BATCH_SIZE = 64
_HEADS = {
  tasks.SIMILARITY: 'sentence',
  tasks.CLASSIFICATION: 'classification',
  tasks.REGRESSION: 'classification',
}


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs the command; what goes wrong is one line, and exit status 1."""
  options = _parser().parse_args(arguments)
  try:
    options.run(options)
  except (ImportError, OSError, ValueError) as error:
    sys.exit(f'embedcomp: {error}')


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='embedcomp',
    description='Compresses the word embeddings of BERTs.',
    allow_abbrev=False,
  )
  commands = parser.add_subparsers(metavar='COMMAND', required=True)

  def command(run: Callable, text: str) -> argparse.ArgumentParser:
    name = run.__name__.strip('_')
    added = commands.add_parser(
      name, help=text, description=text, allow_abbrev=False
    )
    added.add_argument('model', type=Path, metavar='MODEL', help='a directory')
    added.set_defaults(run=run)
    return added

  command(_info, 'Says how large a model and its parts are.')
  made = command(_compress, 'Compresses the table of a model.')
  made.add_argument('output', type=Path, metavar='OUTPUT', help='a directory')
  made.add_argument(
    '--budget',
    required=True,
    type=_budget,
    help='largest size of the table: 40x, a share (0.025) or bytes',
  )
  made.add_argument(
    '--text',
    nargs='+',
    type=Path,
    required=True,
    metavar='FILE',
    help='plain text, whose words say which are frequent',
  )
  made.add_argument('--seed', type=int, default=0, help='of what is random')
  made = command(_evaluate, 'Measures a model on labelled texts.')
  made.add_argument('data', metavar='DATA', help='a folder, file or data set')
  made.add_argument('--task', choices=sorted(_HEADS), required=True)
  made.add_argument('--split', default='test', help='test if not given')
  made.add_argument('--text-field', help='a name, or the number of a column')
  made.add_argument('--pair-field', help='likewise, of second texts')
  made.add_argument('--label-field', help='likewise')
  made.add_argument('--max-length', type=int, default=128, help='tokens')
  made = command(_export, 'Writes a model as transformers reads it.')
  made.add_argument('output', type=Path, metavar='OUTPUT', help='a directory')
  made.add_argument(
    '--head',
    choices=('classification', 'token_classification', 'masked_lm'),
    help='to write besides the encoder',
  )
  return parser


def _budget(text: str) -> float | int | str:
  """A budget as `embedcomp.compress` takes it."""
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      continue
  return text


def _info(options: argparse.Namespace) -> None:
  model, params = from_pretrained(options.model)
  config = model.config
  print(
    f'{config.model_type}: {config.num_hidden_layers} layers, '
    f'{config.hidden_size} features, {config.vocab_size:,} word pieces'
  )
  scheme = getattr(model.embedder, 'scheme', None)
  dense = 4 * config.vocab_size * config.hidden_size
  table = dense if scheme is None else scheme.num_bytes
  others = sum(
    4 * leaf.size
    for name, part in params.items()
    if name != 'embedder'
    for leaf in jax.tree.leaves(part)
  )
  for name, size in (
    ('word embeddings', table),
    ('everything else', others),
    ('whole model', table + others),
  ):
    print(f'{name:<16}{size:>14,} bytes')
  if scheme is not None:
    print(f'The table is {dense / table:.1f} times smaller than a dense one:')
    print(scheme.summary())


def _compress(options: argparse.Namespace) -> None:
  model, params = from_pretrained(options.model)
  if isinstance(model.embedder, GroupedEmbed):
    raise ValueError(
      f'{options.model} is compressed already: start from the dense model.'
    )
  tokenizer = data_lib.SubwordTokenizer.load(options.model)
  table = np.asarray(params['embedder']['embedding'])
  counts = np.zeros(len(table), np.int64)
  found = tokenizer.count(_lines(options.text))
  if len(found) > len(counts):
    raise ValueError(
      f'the tokenizer has {len(found)} pieces and the table {len(counts)} '
      'rows: they are not of one model.'
    )
  counts[: len(found)] = found
  scheme, grouped = compress_table(
    table,
    counts,
    importance=np.sqrt(counts + 1.0),
    budget=options.budget,
    seed=options.seed,
  )
  packed = model.clone(embedder=GroupedEmbed(scheme), parent=None)
  save_pretrained(
    options.output,
    packed,
    {**params, 'embedder': grouped},
    tokenizer_from=options.model,
  )
  print(scheme.summary())
  print(
    f'{options.output}: the table takes {scheme.num_bytes:,} bytes instead of '
    f'{table.nbytes:,}.'
  )


def _lines(paths: Sequence[Path]):
  for path in paths:
    with path.open(encoding='utf-8', errors='replace') as file:
      yield from file


def _evaluate(options: argparse.Namespace) -> None:
  model, params = from_pretrained(options.model, head=_HEADS[options.task])
  tokenizer = data_lib.SubwordTokenizer.load(options.model)
  dataset = data_lib.load(
    options.data,
    text_field=options.text_field,
    pair_field=options.pair_field,
    label_field=options.label_field,
    real_labels=options.task != tasks.CLASSIFICATION,
  )
  if options.split not in dataset.splits:
    raise ValueError(
      f'{options.data} has no split {options.split!r}, only '
      f'{sorted(dataset.splits)}.'
    )
  batches = _batches(options, model, tokenizer, dataset.splits[options.split])
  task = tasks.Task(options.task, model)
  floats, codes = partition(params)
  state = TrainState.create(
    floats, optax.identity(), jax.random.key(0), buffers={'buffers': codes}
  )
  step = jit_step(steps.make_eval_step(task.loss_fn), donate=False)
  means = steps.evaluate(step, step.place(state), batches.for_evaluation())
  for name, value in task.summarise({**means, 'weight': 1.0}).items():
    print(f'{name:<12}{value:.4f}')


def _batches(options, model, tokenizer, documents) -> data_lib.TokenBatches:
  length = min(options.max_length, model.config.longest_input)
  pairs, apart = documents.pairs, options.task == tasks.SIMILARITY
  if apart and pairs is None:
    raise ValueError('a similarity needs second texts: give --pair-field.')
  together = None if apart else pairs
  return data_lib.TokenBatches(
    tokenizer.encode(documents.texts, together, max_length=length),
    documents.labels,
    _BATCH_SIZE,
    pairs=tokenizer.encode(pairs, max_length=length) if apart else None,
    padding=tokenizer.pad_id,
    buckets=[size for size in (16, 32, 64) if size < length] + [length],
  )


def _export(options: argparse.Namespace) -> None:
  model, params = from_pretrained(options.model, head=options.head)
  save_pretrained(
    options.output, model, params, dense=True, tokenizer_from=options.model
  )
  print(f'{options.output}: a dense model, as transformers reads it.')
