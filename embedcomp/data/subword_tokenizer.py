"""Subwords of raw text, by the tokenizer that a model came with.

Embedding tables are stored best with the most frequent subwords first. Where
the tokenizer is ours to write, its ids can follow: `reordered` gives every
subword the rank that its row has, and no order map is stored.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers

from embedcomp.data import tokenizer_files
from embedcomp.io import files

# Texts that are counted at once, so that few are held as subwords.
_CHUNK = 1024
_UNUSED = re.compile(r'\[unused\d+\]')


class Encoded(NamedTuple):
  """Text, or pair of texts, as a model of the BERT family takes it.

  Attributes:
    ids: [T] int32 subwords, special tokens among them.
    token_types: [T] int32, which of the two texts a subword is of.
  """

  ids: np.ndarray
  token_types: np.ndarray


class SubwordTokenizer:
  """Tokenizer of the `tokenizers` library: WordPiece, BPE or Unigram.

  Made by `load`. What a file says of padding and truncation does not count
  here, but is kept for other readers.

  Attributes:
    vocab_size: V, one more than the largest id.
    special_ids: ids of all special tokens, rising.
  """

  def __init__(
    self, serialized: str, settings: Mapping[str, Mapping[str, Any]]
  ):
    self._tokenizer = tokenizers.Tokenizer.from_str(serialized)
    self._serialized = self._tokenizer.to_str()
    self._settings = {name: dict(fields) for name, fields in settings.items()}
    self._tokenizer.no_padding()
    self._tokenizer.no_truncation()
    self._vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
    self.vocab_size: int = max(self._vocabulary.values()) + 1
    added = self._tokenizer.get_added_tokens_decoder().items()
    special = {id for id, token in added if token.special}
    named = map(self._special, tokenizer_files.SPECIAL_TOKENS)
    special.update(id for id in named if id is not None)
    self.special_ids: tuple[int, ...] = tuple(sorted(special))

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'SubwordTokenizer':
    """Reads the tokenizer of a model directory.

    Args:
      path: of a folder with `tokenizer.json`, or with `vocab.txt` (WordPiece,
        lower-cased as `tokenizer_config.json` says), or with `vocab.json` and
        `merges.txt` (byte-level BPE).

    Returns:
      The tokenizer.

    Raises:
      FileNotFoundError: if there is no folder.
      ValueError: if the folder has no tokenizer, or a malformed one.
    """
    tokenizer, settings = tokenizer_files.read(Path(path))
    if not tokenizer.get_vocab_size():
      raise ValueError(f'the tokenizer in {path} has no tokens.')
    return cls(tokenizer.to_str(), settings)

  def __len__(self) -> int:
    return self.vocab_size

  @property
  def pad_id(self) -> int:
    """Id of padding."""
    return self._required('pad')

  @property
  def unk_id(self) -> int:
    """Id of what has no subwords."""
    return self._required('unk')

  @property
  def cls_id(self) -> int:
    """Id of the first token of a text."""
    return self._required('cls')

  @property
  def sep_id(self) -> int:
    """Id of the token that ends a text."""
    return self._required('sep')

  @property
  def mask_id(self) -> int:
    """Id of the token in place of one that is to be guessed."""
    return self._required('mask')

  @property
  def num_fixed(self) -> int:
    """Number of first subwords that should keep their ids in another order.

    Padding and all before it, which configs name by number; and special tokens
    at the start, which readers of XLM-R's know by their positions.
    """
    special = set(self.special_ids)
    first = next(id for id in itertools.count() if id not in special)
    return max(first, self.pad_id + 1)

  @property
  def fixed_ids(self) -> list[int]:
    """Ids that should stay: the `num_fixed` first ones.

    Where several special tokens are among them, all of the others, too.
    """
    first = set(range(self.num_fixed))
    special = set(self.special_ids)
    return sorted(first | special if len(first & special) > 1 else first)

  @property
  def tokens(self) -> tuple[str, ...]:
    """[V] subwords by id, special tokens among them; '' for unused ids."""
    found = [''] * self.vocab_size
    for subword, id in self._vocabulary.items():
      found[id] = subword
    return tuple(found)

  @property
  def word_ids(self) -> np.ndarray:
    """[N] int64 ids that texts can have: neither special nor unused ones.

    Ids that BERT keeps for tokens to come are called '[unused7]'.
    """
    special = set(self.special_ids)
    return np.array(
      [
        id
        for subword, id in sorted(self._vocabulary.items(), key=lambda x: x[1])
        if id not in special and not _UNUSED.fullmatch(subword)
      ]
    )

  def encode(
    self,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    max_length: int | None = None,
  ) -> list[Encoded]:
    """Divides texts into subwords, with special tokens around them.

    Args:
      texts: N texts.
      pairs: N second texts, each to follow its first one.
      max_length: tokens at most, special ones included; of a pair the longer
        text is cut first. None cuts nothing.

    Returns:
      N encoded texts or pairs.

    Raises:
      ValueError: if texts are not str or do not pair up, or if the length
        leaves no room.
    """
    if isinstance(texts, str) or (pairs is not None and isinstance(pairs, str)):
      raise ValueError('texts must be a sequence of str, got a str.')
    inputs: Sequence[Any] = list(texts)
    if pairs is not None:
      if len(pairs) != len(inputs):
        raise ValueError(
          f'each of {len(inputs)} texts must have a second one, '
          f'got {len(pairs)}.'
        )
      inputs = list(zip(inputs, pairs))
    self._cut_to(max_length, pairs is not None)
    return [
      Encoded(np.array(e.ids, np.int32), np.array(e.type_ids, np.int32))
      for e in self._encode_batch(inputs, add_special_tokens=True)
    ]

  def count(self, texts: Iterable[str], *, special: bool = False) -> np.ndarray:
    """Counts the subwords of texts.

    Args:
      texts: any number.
      special: whether to count the special tokens around each text as well.

    Returns:
      [V] int64.

    Raises:
      ValueError: if texts are not str.
    """
    counts = np.zeros(self.vocab_size, np.int64)
    for ids in self._ids(texts, special):
      np.add.at(counts, ids, 1)
    return counts

  def subwords(self, texts: Iterable[str]) -> Iterable[np.ndarray]:
    """Yields the subwords of each text, without special tokens around it.

    Args:
      texts: any number.

    Yields:
      [T] int32 for each text.

    Raises:
      ValueError: if texts are not str.
    """
    yield from self._ids(texts, special=False)

  def reordered(self, order: np.ndarray) -> 'SubwordTokenizer':
    """Gives the same subwords other ids.

    Models that read the ids of special tokens from a config of their own want
    these to stay: let `order` hold `special_ids` where they are.

    Args:
      order: [V] integers, the old id of each new one.

    Returns:
      A tokenizer that gives `np.argsort(order)[ids]` where this gives `ids`.

    Raises:
      ValueError: if it is not an order of all ids.
    """
    order = np.asarray(order)
    if not np.array_equal(np.sort(order), np.arange(self.vocab_size)):
      raise ValueError(
        f'an order of {self.vocab_size} subwords must hold each id once, '
        f'got {order}.'
      )
    fields = json.loads(self._serialized)
    fields = tokenizer_files.renumbered(fields, order.tolist())
    return SubwordTokenizer(
      json.dumps(fields, ensure_ascii=False),
      tokenizer_files.renumbered_settings(self._settings, order.tolist()),
    )

  def ids_in(self, other: 'SubwordTokenizer') -> np.ndarray:
    """Finds the same subwords in another tokenizer.

    Args:
      other: with the same subwords.

    Returns:
      [V] int64, the id in `other` of each one here.

    Raises:
      ValueError: if it has other subwords.
    """
    if self._vocabulary.keys() != other._vocabulary.keys():
      odd = self._vocabulary.keys() ^ other._vocabulary.keys()
      raise ValueError(
        f'the tokenizers must have the same subwords, but {len(odd)} are of '
        f'one alone, such as {min(odd)!r}.'
      )
    ids = np.arange(self.vocab_size)  # of ids that no subword has
    for subword, own in self._vocabulary.items():
      ids[own] = other._vocabulary[subword]
    return ids

  def save(self, path: str | os.PathLike) -> None:
    """Writes the tokenizer for `load` and for other readers.

    These are `tokenizer.json`, for WordPiece also `vocab.txt`, and the
    settings that came with it.

    Args:
      path: of a folder, which is made if need be.

    Raises:
      OSError: if a file cannot be written.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {'tokenizer.json': self._serialized}
    for name, fields in self._settings.items():
      contents[name] = json.dumps(fields, indent=2, ensure_ascii=False) + '\n'
    model = json.loads(self._serialized)['model']
    if model['type'] == 'WordPiece':
      lines = [''] * (max(model['vocab'].values()) + 1)
      for subword, id in model['vocab'].items():
        lines[id] = subword  # ids without a subword are empty lines
      contents['vocab.txt'] = ''.join(f'{line}\n' for line in lines)
    for name, text in contents.items():
      files.write_atomically(folder / name, text.encode())

  def _special(self, use: str) -> int | None:
    """Returns the id of a special token; None without one."""
    token = tokenizer_files.find_special(use, self._settings, self._vocabulary)
    return None if token is None else self._vocabulary[token]

  def _required(self, use: str) -> int:
    id = self._special(use)
    if id is None:
      usual = ' or '.join(tokenizer_files.SPECIAL_TOKENS[use])
      raise ValueError(
        f'the tokenizer has no {use} token: neither {usual} nor a '
        f'{use}_token in its settings.'
      )
    return id

  def _cut_to(self, max_length: int | None, is_pair: bool) -> None:
    """Limits the length of what is encoded next."""
    num_special = self._tokenizer.num_special_tokens_to_add(is_pair)
    if max_length is None:
      self._tokenizer.no_truncation()
      return
    if max_length <= num_special:
      raise ValueError(
        f'max_length must leave room beside {num_special} special tokens, '
        f'got {max_length}.'
      )
    self._tokenizer.enable_truncation(max_length, strategy='longest_first')

  def _ids(self, texts: Iterable[str], special: bool) -> Iterable[np.ndarray]:
    """Yields [T] int32 of each text, with special tokens around it or not."""
    if isinstance(texts, str):
      raise ValueError('texts must be several str, got one.')
    texts = iter(texts)
    while chunk := list(itertools.islice(texts, _CHUNK)):
      self._cut_to(None, is_pair=False)
      for encoding in self._encode_batch(chunk, add_special_tokens=special):
        yield np.array(encoding.ids, np.int32)

  def _encode_batch(self, inputs, add_special_tokens):
    try:
      return self._tokenizer.encode_batch_fast(
        inputs, add_special_tokens=add_special_tokens
      )
    except TypeError:
      raise ValueError(
        'texts must be str, without halves of surrogate pairs.'
      ) from None
