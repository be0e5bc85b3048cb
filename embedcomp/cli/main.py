"""The command `embedcomp`: models of the BERT family, directory to directory.

  embedcomp info MODEL
  embedcomp compress MODEL OUTPUT --budget=40x --text FILE ...
  embedcomp evaluate MODEL DATA --task=similarity --pair-field=sentence2
  embedcomp fidelity MODEL COMPRESSED --text FILE ...
  embedcomp export MODEL OUTPUT

MODEL is a directory that `embedcomp.from_pretrained` reads. Commands import
what they run, so that help and usage errors need not wait for JAX.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embedcomp.cli import parser
from embedcomp.io import files


def main(arguments: Sequence[str] | None = None) -> None:
  """Runs the command.

  Args:
    arguments: of the command line; those of the process if not given.

  Raises:
    SystemExit: with status 2 for wrong usage, and with a message of one line
      for what goes wrong later.
  """
  options = parser.make_parser().parse_args(arguments)
  with warnings.catch_warnings():
    warnings.showwarning = _show_warning
    try:
      _check_paths(options)
      _COMMANDS[options.command](options)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
      sys.exit(f'embedcomp: {error}')


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
  print(f'embedcomp: {message}', file=sys.stderr)


def _check_paths(options: argparse.Namespace) -> None:
  """Refuses files and folders before anything is loaded."""
  if not options.model.is_dir():
    raise ValueError(f'MODEL must be a directory, got {options.model}.')
  if 'compressed' in options and not options.compressed.is_dir():
    raise ValueError(
      f'COMPRESSED must be a directory, got {options.compressed}.'
    )
  if 'output' in options:
    files.check_new_folder(options.output, 'OUTPUT')
  for name in ('text', 'wide_text'):
    for path in getattr(options, name, None) or ():
      if not path.is_file():
        flag = name.replace('_', '-')
        raise ValueError(f'--{flag} must name files, got {path}.')


def _info(options: argparse.Namespace) -> None:
  from embedcomp.workflows.model_info import model_info

  info = model_info(options.model)
  config = info.config
  print(
    f'{config.model_type}: {config.num_hidden_layers} layers, '
    f'{config.hidden_size} features, {config.vocab_size:,} word pieces'
  )
  print('attention:', info.attention)
  print('weights:', info.weight_dtype)
  if info.labels is not None:
    print(f'labels: {", ".join(info.labels)}')
  for name, size in (
    ('word embeddings', info.table_bytes),
    ('everything else', info.other_bytes),
    ('whole model', info.model_bytes),
  ):
    print(f'{name:<16}{size:>14,} bytes')
  if info.scheme is not None:
    factor = info.dense_table_bytes / info.table_bytes
    print(f'The table is {factor:.1f} times smaller than a dense one:')
    print(info.scheme.summary())


def _compress(options: argparse.Namespace) -> None:
  from embedcomp.workflows.compress_model import compress_model

  info = compress_model(
    options.model,
    options.output,
    budget=options.budget,
    texts=_lines(options.text),
    wide_texts=_lines(options.wide_text),
    head=options.head,
    weights=options.weights,
    keep_ids=options.keep_ids,
    seed=options.seed,
  )
  assert info.scheme is not None  # it has just been compressed
  print(info.scheme.summary())
  print(
    f'{options.output}: the table takes {info.table_bytes:,} bytes instead of '
    f'{info.dense_table_bytes:,}.'
  )


def _lines(paths: Sequence[Path] | None) -> Iterator[str] | None:
  """The lines of files, but for blank ones; None without files."""
  return None if paths is None else _lines_of(paths)


def _lines_of(paths: Sequence[Path]) -> Iterator[str]:
  for path in paths:
    with path.open(encoding='utf-8', errors='replace') as file:
      yield from filter(str.strip, file)


def _evaluate(options: argparse.Namespace) -> None:
  from embedcomp.workflows.evaluate import LabelledTexts, evaluate_model

  data = LabelledTexts(
    options.data,
    options.split,
    options.text_field,
    options.pair_field,
    options.label_field,
    options.label_scale,
  )
  found = evaluate_model(
    options.model, data, options.task, max_length=options.max_length
  )
  for name, value in found.items():
    print(f'{name:<12}{value:.4f}')


def _fidelity(options: argparse.Namespace) -> None:
  from embedcomp.workflows.compare_models import compare_models

  found = compare_models(
    options.model,
    options.compressed,
    {str(path): list(_lines_of([path])) for path in options.text},
    max_length=options.max_length,
  )
  rows = [
    (name, one.num_texts, one.damage, one.similarity_rms)
    for name, one in found.by_source.items()
  ]
  total = sum(num_texts for _, num_texts, *_ in rows)
  rows.append(('all', total, found.damage, found.similarity_rms))
  width = max(len(name) for name, *_ in rows) + 2
  print(f'{"":<{width}}{"texts":>8}  {"damage":>10}  similarity_rms')
  for name, num_texts, damage, rms in rows:
    print(f'{name:<{width}}{num_texts:>8,}  {damage:>10.6f}  {rms:>14.6f}')


def _export(options: argparse.Namespace) -> None:
  from embedcomp.workflows.export_model import export_model

  export_model(options.model, options.output, head=options.head)
  print(f'{options.output}: a dense model, as transformers reads it.')


_COMMANDS = {
  'info': _info,
  'compress': _compress,
  'evaluate': _evaluate,
  'export': _export,
  'fidelity': _fidelity,
}
