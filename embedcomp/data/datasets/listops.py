"""ListOps: nested lists of digits to be worked out, of a wanted length.

  [MAX 2 9 [MIN 4 7 ] 0 ] is 9,  [MED 1 3 8 ] is 3,  [SM 4 9 ] is 13 modulo 10

The whole is an operator; any other item is one with probability 1/4, or else a
digit. An operator takes 2 to 10 items; all on level 10 are digits. That is the
grammar of Long Range Arena, which draws lists and keeps those of a length that
is wanted. So does this module, but for hundreds of lists at once.

References:
  Nangia and Bowman, ListOps, NAACL Student Research Workshop, 2018.
  Tay et al., Long Range Arena, ICLR 2021.
"""

from collections.abc import Sequence

import numpy as np

from embedcomp.data.documents import Documents

OPERATORS = ('[MAX', '[MIN', '[MED', '[SM')
LABELS = tuple('0123456789')
LENGTH_RANGE = (500, 2000)  # of Long Range Arena
NUM_DOCUMENTS = (10_000, 1_000, 1_000)  # of training, validation and test
_TOKENS = np.array([*LABELS, *OPERATORS, ']'])
_FIRST_OPERATOR, _END = 10, 14  # among _TOKENS
_OPERATOR_CHANCE = 0.25
_FEWEST_ARGS = 2
_SHORTEST = 2 + _FEWEST_ARGS  # an operator, digits and the end
_ROUND = 512  # lists that are drawn at once
_MAX_ROUNDS = 200  # without any that is kept

# Lists, level by level: how many arguments each item of a level has, 0 for a
# digit. The arguments of an item follow each other on the next level.
_Levels = list[np.ndarray]


def listops_documents(
  num: int,
  length_range: tuple[int, int] = LENGTH_RANGE,
  *,
  seed: int | Sequence[int] = 0,
  max_depth: int = 10,
  max_args: int = 10,
) -> Documents:
  """Draws lists and works them out.

  Args:
    num: how many.
    length_range: tokens of the shortest and of the longest list.
    seed: the same seed draws the same lists.
    max_depth: levels; the whole list is on the first one.
    max_args: of an operator.

  Returns:
    Texts of tokens with spaces between them, and labels, positions in `LABELS`.

  Raises:
    ValueError: for an argument out of range, or lengths that no list has
      (hardly any are above 8,000).

  Example:
    >>> listops_documents(1, (8, 12)).texts
    ('[MED 2 [MED 2 6 7 ] ]',)
  """
  _check(num, length_range, max_depth, max_args)
  least, most = length_range
  rng = np.random.default_rng(seed)
  texts: list[str] = []
  values: list[int] = []
  fruitless = 0
  while len(texts) < num:
    levels = _grow(rng, max_depth, max_args)
    sizes = _sizes(levels)
    kept = (least <= sizes[0]) & (sizes[0] <= most)
    fruitless = 0 if kept.any() else fruitless + 1
    if fruitless == _MAX_ROUNDS:
      raise ValueError(
        f'length_range must be of lengths that lists have, got {length_range}: '
        f'none of {_ROUND * _MAX_ROUNDS} lists is so long. Allow others.'
      )
    if kept.any():
      tokens, results = _write(rng, *_select(levels, sizes, kept))
      texts += tokens
      values += results
  return Documents(tuple(texts[:num]), np.array(values[:num]))


def _check(num, length_range, max_depth, max_args) -> None:
  for name, value, least in (
    ('num', num, 1),
    ('max_depth', max_depth, 2),
    ('max_args', max_args, _FEWEST_ARGS),
  ):
    if value < least:
      raise ValueError(f'{name} must be at least {least}, got {value}.')
  if not _SHORTEST <= length_range[0] <= length_range[1]:
    raise ValueError(
      f'length_range must be two numbers that rise from {_SHORTEST} on, '
      f'got {length_range}.'
    )


def _grow(rng: np.random.Generator, max_depth: int, max_args: int) -> _Levels:
  """Draws lists of all lengths."""

  def draw_args(num):
    return rng.integers(_FEWEST_ARGS, max_args + 1, num)

  levels = [draw_args(_ROUND)]  # a digit alone is no list
  for _ in range(max_depth - 2):
    num = levels[-1].sum()
    is_operator = rng.random(num) < _OPERATOR_CHANCE
    levels.append(np.where(is_operator, draw_args(num), 0))
  return [*levels, np.zeros(levels[-1].sum(), int)]


def _first_args(args: np.ndarray) -> np.ndarray:
  """Finds the starts of the arguments of operators with so many each."""
  return np.cumsum(args) - args


def _sizes(levels: _Levels) -> list[np.ndarray]:
  """Counts the tokens of each item, by level."""
  sizes = [np.ones_like(levels[-1])]
  for args in levels[-2::-1]:
    own = np.ones_like(args)
    is_operator = args > 0
    if is_operator.any():
      starts = _first_args(args[is_operator])
      own[is_operator] = 2 + np.add.reduceat(sizes[0], starts)
    sizes.insert(0, own)
  return sizes


def _select(levels: _Levels, sizes, kept: np.ndarray):
  """Selects the levels and sizes of some lists."""
  chosen = []
  for args, tokens in zip(levels, sizes):
    chosen.append((args[kept], tokens[kept]))
    kept = np.repeat(kept, args)
  return tuple(map(list, zip(*chosen)))


def _write(
  rng: np.random.Generator, levels: _Levels, sizes: list[np.ndarray]
) -> tuple[list[str], list[int]]:
  """Draws operators and digits; returns the texts of lists and their values."""
  values = rng.integers(0, 10, len(levels[-1]))
  codes = [values]
  for args in levels[-2::-1]:
    own = rng.integers(0, 10, len(args))
    code = own.copy()
    is_operator = args > 0
    if is_operator.any():
      operators = rng.integers(0, len(OPERATORS), is_operator.sum())
      code[is_operator] = _FIRST_OPERATOR + operators
      own[is_operator] = _apply(operators, args[is_operator], values)
    values = own
    codes.insert(0, code)
  tokens = _lay_out(levels, sizes, codes)
  ends = np.cumsum(sizes[0])
  texts = [
    ' '.join(tokens[end - size : end])
    for end, size in zip(ends.tolist(), sizes[0].tolist())
  ]
  return texts, values.tolist()


def _apply(operators, args: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Applies operators to their arguments.

  Args:
    operators: [N] positions in `OPERATORS`.
    args: [N] how many each has.
    values: [sum(args)] of the arguments, those of the first operator first.

  Returns:
    [N].
  """
  starts = _first_args(args)
  owners = np.repeat(np.arange(len(args)), args)
  rising = values[np.lexsort((values, owners))]
  medians = rising[starts + (args - 1) // 2] + rising[starts + args // 2]
  results = [
    rising[starts + args - 1],
    rising[starts],
    medians // 2,
    np.add.reduceat(values, starts) % 10,
  ]
  return np.choose(operators, results)


def _lay_out(levels: _Levels, sizes, codes) -> list[str]:
  """Writes the tokens of all lists, one after another."""
  flat = np.empty(sizes[0].sum(), int)
  positions = np.cumsum(sizes[0]) - sizes[0]
  for level, args in enumerate(levels):
    flat[positions] = codes[level]
    is_operator = args > 0
    last = positions + sizes[level] - 1
    flat[last[is_operator]] = _END
    if level + 1 < len(levels):
      args = args[is_operator]
      before = np.cumsum(sizes[level + 1]) - sizes[level + 1]
      # Arguments follow their operator; `before` also counts other ones'.
      shift = positions[is_operator] + 1 - before[_first_args(args)]
      positions = before + np.repeat(shift, args)
  return _TOKENS[flat].tolist()
