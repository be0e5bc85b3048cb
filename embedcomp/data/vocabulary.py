"""Words of raw text, and their ids."""

import collections
import dataclasses
import functools
import json
import os
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from embedcomp._internal.strict_json import unique_fields
from embedcomp.io import files

PADDING, UNKNOWN = 0, 1
SPECIAL_WORDS = ('<pad>', '<unk>')
_FORMAT = {'format': 'embedcomp-vocabulary', 'version': 1}
_WORDS = re.compile(r"<unk>|\w+(?:'\w+)*|[^\w\s]")


def tokenize(text: str) -> list[str]:
  """Splits a text into lower-case words and single punctuation marks.

  Text that is only lower-case letters and spaces is merely split at spaces.

  Args:
    text: any text.

  Returns:
    Its words, none of them empty or with white space.

  Example:
    >>> tokenize("It's GOOD, isn't it?")
    ["it's", 'good', ',', "isn't", 'it', '?']
  """
  if not text.isascii():
    text = unicodedata.normalize('NFC', text).replace('\u2019', "'")
  return _WORDS.findall(text.lower())


@dataclasses.dataclass(frozen=True, eq=False)
class Vocabulary:
  """Words and how often they occur in the training text.

  Attributes:
    words: V words: '<pad>', '<unk>', then the others. `build` puts them by
      falling count, in alphabetical order where counts are equal.
    counts: [V] int64; 0 for padding, and for '<unk>' the number of tokens
      that are not in the vocabulary.

  Raises:
    ValueError: if any of this does not hold.
  """

  words: tuple[str, ...]
  counts: np.ndarray

  def __post_init__(self) -> None:
    words, counts = tuple(self.words), np.array(self.counts)
    if not all(isinstance(word, str) and word for word in words):
      raise ValueError('words must be texts, and none of them empty.')
    if words[:2] != SPECIAL_WORDS:
      raise ValueError(
        f'the first words must be {SPECIAL_WORDS}, got {words[:2]}.'
      )
    if len(set(words)) < len(words):
      (word, times), *_ = collections.Counter(words).most_common(1)
      raise ValueError(f'words must differ, got {word!r} {times} times.')
    is_integer = np.issubdtype(counts.dtype, np.integer)
    if counts.shape != (len(words),) or not is_integer:
      raise ValueError(
        f'counts must be {len(words)} integers, one for each word, '
        f'got {counts.dtype}{list(counts.shape)}.'
      )
    if counts.min() < 0 or counts[PADDING]:
      raise ValueError('counts must not be negative, and 0 for padding.')
    counts = counts.astype(np.int64)
    counts.flags.writeable = False
    object.__setattr__(self, 'words', words)
    object.__setattr__(self, 'counts', counts)

  @classmethod
  def build(
    cls,
    texts: Iterable[str],
    max_size: int | None = None,
    min_count: int = 1,
  ) -> 'Vocabulary':
    """Counts the words of texts and keeps the most frequent.

    Args:
      texts: of the training split.
      max_size: V at most, padding and '<unk>' included; None for no limit.
      min_count: how often a word must occur.

    Returns:
      The vocabulary.

    Raises:
      ValueError: if the limits are too low.

    Example:
      >>> Vocabulary.build(['b a', 'b c'], max_size=4).words
      ('<pad>', '<unk>', 'b', 'a')
    """
    if max_size is not None and max_size < 2:
      raise ValueError(f'max_size must be at least 2, got {max_size}.')
    if min_count < 1:
      raise ValueError(f'min_count must be at least 1, got {min_count}.')
    counter: collections.Counter[str] = collections.Counter()
    for text in texts:
      counter.update(tokenize(text))
    unknown = counter.pop(SPECIAL_WORDS[UNKNOWN], 0)
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    kept = [item for item in ranked if item[1] >= min_count]
    kept = kept if max_size is None else kept[: max_size - 2]
    unknown += sum(count for _, count in ranked[len(kept) :])
    words = (*SPECIAL_WORDS, *(word for word, _ in kept))
    return cls(words, np.array([0, unknown, *(count for _, count in kept)]))

  def reordered(self, order: np.ndarray) -> 'Vocabulary':
    """Gives the same words other ids.

    Args:
      order: [V] integers, the old id of each new one; padding and '<unk>'
        keep theirs.

    Returns:
      The vocabulary.

    Raises:
      ValueError: if it is not an order of all words.

    Example:
      >>> Vocabulary.build(['b b a']).reordered([0, 1, 3, 2]).words
      ('<pad>', '<unk>', 'a', 'b')
    """
    order = np.asarray(order)
    if not np.array_equal(np.sort(order), np.arange(len(self))):
      raise ValueError(
        f'an order of {len(self)} words must hold each id once, got {order}.'
      )
    words = tuple(self.words[id] for id in order.tolist())
    return Vocabulary(words, self.counts[order])

  def __len__(self) -> int:
    return len(self.words)

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    # Padding is no word: text that spells it must not be masked out.
    return {word: id for id, word in enumerate(self.words) if id != PADDING}

  def encode(self, text: str, max_length: int | None = None) -> np.ndarray:
    """Looks up the words of a text.

    Args:
      text: any text.
      max_length: how many words to keep, from the start; None for all.

    Returns:
      [T] int32 ids, `UNKNOWN` for words that are not in the vocabulary.
    """
    words = tokenize(text)[:max_length]
    ids = self._ids
    return np.array([ids.get(word, UNKNOWN) for word in words], np.int32)

  def save(self, path: str | os.PathLike) -> None:
    """Writes the vocabulary as JSON, a line for each word.

    Args:
      path: of the file; a failure leaves an existing one as it was.

    Raises:
      OSError: if the file cannot be written.

    Example:
      >>> import tempfile
      >>> path = f'{tempfile.mkdtemp()}/vocabulary.json'
      >>> Vocabulary.build(['a rose is a rose']).save(path)
      >>> Vocabulary.load(path).counts.tolist()
      [0, 0, 2, 2, 1]
    """
    head = json.dumps(_FORMAT)[:-1]
    lines = [
      f'[{_quote(word)}, {count}]'
      for word, count in zip(self.words, self.counts.tolist())
    ]
    text = f'{head}, "words": [\n' + ',\n'.join(lines) + '\n]}\n'
    files.write_atomically(path, text.encode())

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'Vocabulary':
    """Reads a file that `save` has written.

    Args:
      path: of the file.

    Returns:
      The vocabulary.

    Raises:
      FileNotFoundError: if there is no file.
      ValueError: if it does not hold a vocabulary.
    """
    try:
      with files.open_regular(path) as file:
        words, counts = _parse(file.read())
      return cls(words, counts)
    except (ValueError, RecursionError) as error:
      reason = str(error).encode(errors='backslashreplace').decode()[:400]
      raise ValueError(
        f'{os.fspath(path)} is not a valid vocabulary: {reason}'
      ) from None


def _quote(word: str) -> str:
  """Writes a word as JSON; half a surrogate pair must be escaped."""
  try:
    word.encode()
  except UnicodeEncodeError:
    return json.dumps(word)
  return json.dumps(word, ensure_ascii=False)


def _parse(data: bytes) -> tuple[tuple[str, ...], np.ndarray]:
  """Reads words and counts from the bytes of a file."""
  fields = json.loads(data.decode(), object_pairs_hook=unique_fields)
  if not isinstance(fields, dict) or set(fields) != {*_FORMAT, 'words'}:
    raise ValueError(f'fields must be {[*_FORMAT, "words"]}.')
  for name, value in _FORMAT.items():
    if type(fields[name]) is not type(value) or fields[name] != value:
      raise ValueError(f'{name} must be {value!r}, got {fields[name]!r}.')
  entries = fields['words']
  if not isinstance(entries, list):
    raise ValueError(f'words must be a list, got {type(entries)}.')
  for entry in entries:
    if not isinstance(entry, list) or [type(e) for e in entry] != [str, int]:
      raise ValueError(f'an entry must be a word and a count, got {entry!r}.')
    if not 0 <= entry[1] < 2**63:
      raise ValueError(f'a count must be in [0, 2**63), got {entry!r}.')
  words = tuple(word for word, _ in entries)
  return words, np.array([count for _, count in entries], np.int64)
