"""A small BERT of random weights; as it comes, training it takes seconds."""

import collections
import dataclasses
import hashlib
import itertools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

import embedcomp
from embedcomp import data as data_lib
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.heads import BertMaskedLM

_VOCAB_SIZE = 500
_MAX_LETTERS = 100
_SPECIAL_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']


def folder(
  texts: Sequence[str],
  *,
  hidden_size: int = 16,
  num_layers: int = 1,
  max_length: int = 128,
  whole_words: bool = False,
) -> Path:
  """A directory with such a model and word pieces of some texts.

  Args:
    texts: that the tokenizer has its pieces from.
    hidden_size: D.
    num_layers: L.
    max_length: positions.
    whole_words: whether each word between spaces is a piece, as suits texts
      that are generated from few words.

  Returns:
    The directory, in the cache, written the first time.
  """
  sizes = _config(_VOCAB_SIZE, hidden_size, num_layers, max_length)
  kind = 'words' if whole_words else f'words and {_MAX_LETTERS} letters'
  content = '\0'.join([str(sizes), kind, *texts])
  digest = hashlib.sha256(content.encode()).hexdigest()[:16]
  path = data_lib.cache_folder() / f'tiny-bert-{digest}'
  if not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
      whole = Path(temporary, 'whole')
      _write(whole, texts, sizes, whole_words)
      try:
        os.replace(whole, path)
      except OSError:
        if not path.exists():  # else another process was faster
          raise
  return path


def _config(
  vocab_size: int, hidden_size: int, num_layers: int, max_length: int
) -> BertConfig:
  """Sizes that compile fast, and weights large enough to learn at once."""
  return BertConfig(
    vocab_size=vocab_size,
    hidden_size=hidden_size,
    num_hidden_layers=num_layers,
    num_attention_heads=max(2, hidden_size // 32),
    intermediate_size=2 * hidden_size,
    max_position_embeddings=max_length,
    attention_probs_dropout_prob=0.0,
    initializer_range=hidden_size**-0.5,
  )


def _write(
  path: Path, texts: Sequence[str], sizes: BertConfig, whole_words: bool
) -> None:
  make = _word_tokenizer if whole_words else _piece_tokenizer
  tokenizer = make(texts)
  sizes = dataclasses.replace(sizes, vocab_size=tokenizer.get_vocab_size())
  model = BertMaskedLM(sizes)
  ids = jnp.ones((1, 4), jnp.int32)
  params = jax.jit(model.init)(jax.random.key(0), ids)['params']
  embedcomp.save_pretrained(path, model, params)
  tokenizer.save(str(path / 'tokenizer.json'))


def _piece_tokenizer(texts: Sequence[str]):
  """BERT's own kind: letters and the most frequent words.

  Pieces that `tokenizers` learns are others in each process where several
  merges are as good.
  """
  from tokenizers import BertWordPieceTokenizer

  tokenizer = BertWordPieceTokenizer()
  words = collections.Counter()
  for text in texts:
    text = tokenizer.normalize(text)
    found = tokenizer.pre_tokenizer.pre_tokenize_str(text)
    words.update(word for word, _ in found)
  letters = collections.Counter()
  for word, count in words.items():
    letters.update(dict.fromkeys(word, count))
  alphabet = _most_frequent(letters)[:_MAX_LETTERS]
  pieces = dict.fromkeys(
    [
      *_SPECIAL_TOKENS,
      *alphabet,
      *(f'##{letter}' for letter in alphabet),
      *_most_frequent(words),
    ]
  )
  kept = itertools.islice(pieces, _VOCAB_SIZE)
  return BertWordPieceTokenizer({piece: id for id, piece in enumerate(kept)})


def _most_frequent(counts: collections.Counter) -> list[str]:
  """The most frequent first, those that are as frequent by name."""
  return sorted(counts, key=lambda name: (-counts[name], name))


def _word_tokenizer(texts: Sequence[str]):
  """One whose pieces are all words there are, the most frequent ones first."""
  from tokenizers import Tokenizer, models, pre_tokenizers, processors

  words = collections.Counter(word for text in texts for word in text.split())
  pieces = [*_SPECIAL_TOKENS, *_most_frequent(words)]
  vocabulary = {piece: id for id, piece in enumerate(pieces)}
  tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token='[UNK]'))
  tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  tokenizer.post_processor = processors.BertProcessing(
    *((token, vocabulary[token]) for token in ('[SEP]', '[CLS]'))
  )
  tokenizer.add_special_tokens(_SPECIAL_TOKENS)
  return tokenizer
