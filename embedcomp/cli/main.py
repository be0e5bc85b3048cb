"""The command `embedcomp`: models of the BERT family, directory to directory.

  embedcomp info MODEL
  embedcomp compress MODEL OUTPUT --budget=40x --text FILE ...
  embedcomp evaluate MODEL DATA --task=similarity --pair-field=sentence2
  embedcomp export MODEL OUTPUT

MODEL is a directory that `embedcomp.from_pretrained` reads.
"""

import argparse
import dataclasses
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from embedcomp import data as data_lib
from embedcomp.cli import parser
from embedcomp.compression import frequency
from embedcomp.compression.post_training import CONTEXTUAL_METHODS
from embedcomp.compression.post_training import compress as compress_table
from embedcomp.io.bert import attention_json, config_json
from embedcomp.io.bert.pretrained import (
  CONFIG_FILE,
  from_pretrained,
  save_pretrained,
)
from embedcomp.nn.bert.int8 import dequantize_encoder, quantize_encoder
from embedcomp.nn.embedding import GroupedEmbed
from embedcomp.types import Params
from embedcomp.workflows import evaluate

_CONVERSIONS = {
  None: lambda model, params: (model, params),
  'int8': quantize_encoder,
  'float32': dequantize_encoder,
}


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs the command; what goes wrong is one line, and exit status 1."""
  commands = [_info, _compress, _evaluate, _export]
  options = parser.parser(*commands).parse_args(arguments)
  with warnings.catch_warnings():
    warnings.showwarning = _show_warning
    try:
      _check_folders(options)
      options.run(options)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
      sys.exit(f'embedcomp: {error}')


def _show_warning(message: Warning | str, *_: Any) -> None:
  print(f'embedcomp: {message}', file=sys.stderr)


def _check_folders(options: argparse.Namespace) -> None:
  """Refuses folders before any work is done."""
  if not options.model.is_dir():
    raise ValueError(f'MODEL must be a directory, got {options.model}.')
  output = getattr(options, 'output', None)
  if output is None or not output.exists():
    return
  if not output.is_dir() or any(output.iterdir()):
    raise ValueError(
      f'OUTPUT must be a new or an empty directory, got {output}: nothing is '
      'overwritten.'
    )


class _Source(NamedTuple):
  """What a directory holds.

  Attributes:
    model: as `from_pretrained` reads it.
    params: of the model.
    labels: names of a classifier's labels; None without one.
  """

  model: nn.Module
  params: Params
  labels: list[str] | None


def _read(folder: Path, head: str | None = None) -> _Source:
  """Reads a model, by default with the head that its config names.

  Raises:
    ValueError: also if the head has not been trained.
  """
  with (folder / CONFIG_FILE).open('rb') as file:
    fields = config_json.parse_fields(file.read())
  if head is None:
    head = config_json.find_head(fields)
  elif head == parser.ENCODER:
    head = None
  with warnings.catch_warnings():
    warnings.filterwarnings('error', message='.* start from noise')
    try:
      model, params = from_pretrained(folder, head=head)
    except UserWarning as warning:
      raise ValueError(warning) from None
  labels = None
  if hasattr(model, 'num_labels'):
    labels = config_json.label_names(fields)
  return _Source(model, params, labels)


def _info(options: argparse.Namespace) -> None:
  model, params, labels = _read(options.model)
  config = model.config
  print(
    f'{config.model_type}: {config.num_hidden_layers} layers, '
    f'{config.hidden_size} features, {config.vocab_size:,} word pieces'
  )
  print('attention:', attention_json.describe(model.attention_fn))
  print('weights:', model.weights)
  if labels is not None:
    print(f'labels: {", ".join(labels)}')
  scheme = getattr(model.embedder, 'scheme', None)
  dense = 4 * config.vocab_size * config.hidden_size
  table = dense if scheme is None else scheme.num_bytes
  others = sum(
    leaf.nbytes
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
  model, params, labels = _read(options.model, options.head)
  if isinstance(model.embedder, GroupedEmbed):
    raise ValueError(
      f'{options.model} is compressed already: start from the dense model.'
    )
  tokenizer = data_lib.SubwordTokenizer.load(options.model)
  table = np.asarray(params['embedder']['embedding'])
  if len(tokenizer) > len(table):
    raise ValueError(
      f'the tokenizer has {len(tokenizer)} pieces and the table {len(table)} '
      'rows: they are not of one model.'
    )
  counts = np.zeros(len(table), np.int64)
  counts[: len(tokenizer)] = tokenizer.count(_lines(options.text), special=True)
  if not options.keep_ids:
    # Rows without a piece stay where the tokenizer has none.
    fixed = [*tokenizer.fixed_ids, *range(len(tokenizer), len(table))]
    order = frequency.rank_order_around(counts, fixed)
    tokenizer = _reordered(tokenizer, order[: len(tokenizer)])
    table, counts = table[order], counts[order]
    if 'bias' in params:  # of a masked language model, one for each word
      params = {**params, 'bias': params['bias'][order]}
    # Fixed ids count for as much as what comes after them, so that ids are in
    # order and none is stored.
    counts = np.maximum.accumulate(counts[::-1])[::-1]
  scheme, grouped = compress_table(
    table,
    importance=frequency.contextual_importance(counts),
    budget=options.budget,
    methods=CONTEXTUAL_METHODS,
    seed=options.seed,
  )
  model, params = _CONVERSIONS[options.weights](model, params)
  packed = model.clone(embedder=GroupedEmbed(scheme), parent=None)
  with tempfile.TemporaryDirectory() as folder:
    if not options.keep_ids:
      tokenizer.save(folder)
    save_pretrained(
      options.output,
      packed,
      {**params, 'embedder': grouped},
      labels=labels,
      tokenizer_from=options.model if options.keep_ids else folder,
    )
  print(scheme.summary())
  print(
    f'{options.output}: the table takes {scheme.num_bytes:,} bytes instead of '
    f'{table.nbytes:,}.'
  )


def _lines(paths: Sequence[Path]):
  for path in paths:
    with path.open(encoding='utf-8', errors='replace') as file:
      yield from filter(str.strip, file)


def _reordered(
  tokenizer: data_lib.SubwordTokenizer, order: np.ndarray
) -> data_lib.SubwordTokenizer:
  try:
    return tokenizer.reordered(order)
  except ValueError as error:
    raise ValueError(f'{error} Or give --keep-ids.') from None


def _evaluate(options: argparse.Namespace) -> None:
  model, params, labels = _read(options.model, parser.HEADS[options.task])
  tokenizer = data_lib.SubwordTokenizer.load(options.model)
  found = evaluate.evaluate(
    options.task,
    model,
    params,
    tokenizer,
    _documents(options, labels),
    max_length=options.max_length,
  )
  for name, value in found.items():
    print(f'{name:<12}{value:.4f}')


def _documents(
  options: argparse.Namespace, labels: Sequence[str] | None
) -> data_lib.Documents:
  """The texts to measure on, their labels as the model has them."""
  is_class = options.task == 'classification'
  dataset = data_lib.load(
    options.data,
    data_lib.Fields(
      text_field=options.text_field,
      pair_field=options.pair_field,
      label_field=options.label_field,
      real_labels=not is_class,
    ),
  )
  splits, split = dataset.splits, options.split
  if split is None and Path(options.data).expanduser().is_file():
    documents = evaluate.joined([splits['train'], splits['test']])
  elif (split or 'test') in splits:
    documents = splits[split or 'test']
  else:
    raise ValueError(
      f'{options.data} has no split {split!r}, only {sorted(splits)}.'
    )
  if options.task == 'similarity' and documents.pairs is None:
    raise ValueError('a similarity needs second texts: give --pair-field.')
  found = documents.labels
  if found is None:
    raise ValueError(f'{options.data} has no labels: give --label-field.')
  if is_class:
    found = evaluate.renumbered(found, dataset.label_names, labels)
  elif not options.label_scale > 0:
    raise ValueError(
      f'--label-scale must be positive, got {options.label_scale}.'
    )
  else:
    found = found / options.label_scale
  return dataclasses.replace(documents, labels=found)


def _export(options: argparse.Namespace) -> None:
  model, params, labels = _read(options.model, options.head)
  save_pretrained(
    options.output,
    model,
    params,
    dense=True,
    labels=labels,
    tokenizer_from=options.model,
  )
  print(f'{options.output}: a dense model, as transformers reads it.')
