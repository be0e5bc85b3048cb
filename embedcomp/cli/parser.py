"""What the command `embedcomp` may be called with."""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embedcomp.io.bert import config_json
from embedcomp.nn.bert.int8 import WEIGHTS

Command = Callable[[argparse.Namespace], Any]

# By task: the head that is measured.
HEADS = {
  'classification': 'classification',
  'regression': 'classification',
  'similarity': 'sentence',
}
ENCODER = 'encoder'


def parser(
  info: Command, compress: Command, evaluate: Command, export: Command
) -> argparse.ArgumentParser:
  """The parser of all commands.

  Args:
    info: what runs the command of this name, and so on.
    compress: likewise.
    evaluate: likewise.
    export: likewise.

  Returns:
    The parser, whose results have the command to call as `run`.
  """
  root = argparse.ArgumentParser(
    prog='embedcomp',
    description='Makes the word embeddings of models like BERT smaller.',
    epilog='"embedcomp COMMAND --help" says more. In Python: '
    'embedcomp.from_pretrained, compress, save_pretrained.',
    allow_abbrev=False,
  )
  commands = root.add_subparsers(metavar='COMMAND', required=True)
  _add(commands, info, 'Says how large a model and its parts are.')
  made = _add(
    commands,
    compress,
    'Makes the table of word embeddings smaller, without training.',
  )
  _add_output(made)
  _add_compression(made)
  _add_measuring(
    _add(commands, evaluate, 'Measures a model on labelled texts.')
  )
  made = _add(
    commands,
    export,
    'Writes a model with a dense table, as transformers reads it.',
  )
  _add_output(made)
  return root


def _add_compression(made: argparse.ArgumentParser) -> None:
  """Adds what says how a model is made smaller."""
  made.add_argument(
    '--budget',
    required=True,
    type=_budget,
    help='largest size of the table: a factor (40x), a share (0.025) or bytes',
  )
  made.add_argument(
    '--text',
    nargs='+',
    type=Path,
    required=True,
    metavar='FILE',
    help='plain text, a line each, whose words say which are frequent',
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
    '--seed', type=int, default=0, help='of what is random (default: 0)'
  )


def _add_measuring(made: argparse.ArgumentParser) -> None:
  """Adds what says on what a model is measured."""
  made.add_argument(
    'data',
    metavar='DATA',
    help='a file (.csv, .tsv, .jsonl), a folder with train and test, or a name '
    'of TensorFlow Datasets',
  )
  made.add_argument(
    '--task',
    choices=sorted(HEADS),
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
    type=float,
    default=1.0,
    metavar='NUMBER',
    help='what numbers were divided by in training (default: 1)',
  )
  made.add_argument(
    '--max-length',
    type=int,
    default=128,
    metavar='TOKENS',
    help='longer texts are cut (default: 128)',
  )


def _add(commands, run: Command, text: str) -> argparse.ArgumentParser:
  """Adds a command that is called like its function."""
  added = commands.add_parser(
    run.__name__.strip('_'), help=text, description=text, allow_abbrev=False
  )
  added.add_argument(
    'model',
    type=Path,
    metavar='MODEL',
    help='a directory with config.json and model.safetensors',
  )
  added.set_defaults(run=run)
  return added


def _add_output(command: argparse.ArgumentParser) -> None:
  """Adds what commands that write a model have in common."""
  command.add_argument(
    'output', type=Path, metavar='OUTPUT', help='a directory to be made'
  )
  command.add_argument(
    '--head',
    metavar='HEAD',
    choices=(ENCODER, *config_json.HEADS),
    help='to keep: %(choices)s; what config.json names if not given',
  )


def _budget(text: str) -> float | int | str:
  """A budget as `embedcomp.compress` takes it."""
  for kind in (int, float):
    with contextlib.suppress(ValueError):
      return kind(text)
  return text
