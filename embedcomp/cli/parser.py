"""Commands and options of `embedcomp`, read and checked without JAX."""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# As the modules say that are too heavy to ask (a test compares them).
TASKS = ('classification', 'regression', 'similarity')
HEADS = ('encoder', 'classification', 'token_classification', 'masked_lm')
WEIGHTS = ('float32', 'int8')


def make_parser() -> argparse.ArgumentParser:
  """Makes the parser of all commands; results name theirs as `command`."""
  root = argparse.ArgumentParser(
    prog='embedcomp',
    description='Makes the word embeddings of models like BERT smaller.',
    epilog='"embedcomp COMMAND --help" says more. In Python: '
    'embedcomp.compress_model, and embedcomp.workflows.',
    allow_abbrev=False,
  )
  commands = root.add_subparsers(
    dest='command', metavar='COMMAND', required=True
  )
  _add(commands, 'info', 'Says how large a model and its parts are.')
  made = _add(
    commands,
    'compress',
    'Makes the table of word embeddings smaller, without training.',
  )
  _add_output(made)
  _add_compression(made)
  _add_measuring(
    _add(commands, 'evaluate', 'Measures a model on labelled texts.')
  )
  _add_comparison(
    _add(
      commands,
      'fidelity',
      'Measures how close a compressed model stays to the one it was.',
    )
  )
  made = _add(
    commands,
    'export',
    'Writes a model with a dense table, as transformers reads it.',
  )
  _add_output(made)
  return root


def _add_compression(made: argparse.ArgumentParser) -> None:
  """Adds options of how a model is made smaller."""
  made.add_argument(
    '--budget',
    required=True,
    type=_budget,
    help='largest size of the table: a factor (40x), a share (0.025) or bytes',
  )
  for flag, text in (
    ('--text', 'plain text, a line each, like what the model will read'),
    ('--wide-text', 'likewise of other kinds, the more mixed the better'),
  ):
    made.add_argument(
      flag,
      nargs='+',
      type=Path,
      metavar='FILE',
      help=f'{text}; says which words are frequent, as the order of the '
      'vocabulary does if not given',
    )
  made.add_argument(
    '--keep-ids',
    action='store_true',
    help='leave the tokenizer as it is and store an order of the words',
  )
  made.add_argument(
    '--weights',
    choices=WEIGHTS,
    help='how the weights of all layers are stored; as they are if not given',
  )
  made.add_argument(
    '--seed',
    type=_integer(0),
    default=0,
    metavar='NUMBER',
    help='of what is random (default: 0)',
  )


def _add_measuring(made: argparse.ArgumentParser) -> None:
  """Adds options of what a model is measured on."""
  made.add_argument(
    'data',
    metavar='DATA',
    help='a file (.csv, .tsv, .jsonl), a folder with train and test, or a name '
    'of TensorFlow Datasets',
  )
  made.add_argument(
    '--task',
    choices=TASKS,
    required=True,
    help='accuracy of labels; or how well numbers, or cosines of two texts, '
    'agree with given ones',
  )
  made.add_argument(
    '--split', help='test if not given; of a single file all there is'
  )
  made.add_argument(
    '--text-field',
    metavar='FIELD',
    help='name of the texts, or number of a column from 0 on (default: text)',
  )
  for flag, text in (
    ('--pair-field', 'of second texts, where there are any'),
    ('--label-field', '(default: label)'),
  ):
    made.add_argument(flag, metavar='FIELD', help=f'likewise {text}')
  made.add_argument(
    '--label-scale',
    type=_positive,
    default=1.0,
    metavar='NUMBER',
    help='what numbers were divided by in training (default: 1)',
  )
  _add_max_length(made)


def _add_comparison(made: argparse.ArgumentParser) -> None:
  """Adds options of what two models are compared on."""
  made.add_argument(
    'compressed',
    type=Path,
    metavar='COMPRESSED',
    help='a directory likewise, of what MODEL has become',
  )
  made.add_argument(
    '--text',
    nargs='+',
    type=Path,
    required=True,
    metavar='FILE',
    help='held-out plain text, a line each; every file is a source by itself',
  )
  _add_max_length(made)


def _add_max_length(made: argparse.ArgumentParser) -> None:
  made.add_argument(
    '--max-length',
    type=_integer(1),
    default=128,
    metavar='TOKENS',
    help='longer texts are cut (default: 128)',
  )


def _add(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
  """Adds a command."""
  added: argparse.ArgumentParser = commands.add_parser(
    name, help=text, description=text, allow_abbrev=False
  )
  added.add_argument(
    'model',
    type=Path,
    metavar='MODEL',
    help='a directory with config.json and model.safetensors',
  )
  return added


def _add_output(command: argparse.ArgumentParser) -> None:
  """Adds options of all commands that write a model."""
  command.add_argument(
    'output', type=Path, metavar='OUTPUT', help='a directory to be made'
  )
  command.add_argument(
    '--head',
    metavar='HEAD',
    choices=HEADS,
    help='to keep: %(choices)s; what config.json names if not given',
  )


def _budget(text: str) -> float | int | str:
  """Reads a budget as `embedcomp.compress` takes it."""
  from embedcomp.compression.budget import parse_budget

  budget: float | int | str = text
  for kind in (float, int):
    with contextlib.suppress(ValueError):
      budget = kind(text)
  try:
    parse_budget(budget, sys.maxsize)  # the table has not been read
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from None
  return budget


def _positive(text: str) -> float:
  """Reads a number that is positive and finite."""
  try:
    number = float(text)
  except ValueError:
    number = math.nan
  if not 0 < number < math.inf:
    raise argparse.ArgumentTypeError(
      f'must be a positive number, got {text!r}.'
    )
  return number


def _integer(least: int) -> Callable[[str], int]:
  """Makes what reads an integer that is not below `least`."""

  def read(text: str) -> int:
    try:
      number = int(text)
    except ValueError:
      number = least - 1
    if number < least:
      raise argparse.ArgumentTypeError(
        f'must be an integer from {least} on, got {text!r}.'
      )
    return number

  return read
