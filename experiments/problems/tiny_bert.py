"""A BERT of random weights, so small that training it takes seconds."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

import embedcomp
from embedcomp import data as data_lib
from embedcomp.nn.bert_config import BertConfig
from embedcomp.nn.bert_heads import BertMaskedLM

_VOCAB_SIZE = 500
_SPECIAL_TOKENS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']


def folder(texts: Sequence[str]) -> Path:
  """A directory with such a model and word pieces of some texts.

  Args:
    texts: that the tokenizer learns its pieces from.

  Returns:
    The directory, in the cache, written the first time.
  """
  content = '\0'.join([str(_config(_VOCAB_SIZE)), *texts])
  digest = hashlib.sha256(content.encode()).hexdigest()[:16]
  path = data_lib.cache_folder() / f'tiny-bert-{digest}'
  if not path.exists():
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
      whole = Path(temporary, 'whole')
      _write(whole, texts)
      try:
        os.replace(whole, path)
      except OSError:
        if not path.exists():  # else another process was faster
          raise
  return path


def _config(vocab_size: int) -> BertConfig:
  """Sizes that compile fast, and weights large enough to learn at once."""
  return BertConfig(
    vocab_size=vocab_size,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=128,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.25,
  )


def _write(path: Path, texts: Sequence[str]) -> None:
  from tokenizers import BertWordPieceTokenizer

  tokenizer = BertWordPieceTokenizer()
  tokenizer.train_from_iterator(
    texts,
    vocab_size=_VOCAB_SIZE,
    special_tokens=_SPECIAL_TOKENS,
    show_progress=False,
  )
  model = BertMaskedLM(_config(tokenizer.get_vocab_size()))
  ids = jnp.ones((1, 4), jnp.int32)
  params = jax.jit(model.init)(jax.random.key(0), ids)['params']
  embedcomp.save_pretrained(path, model, params)
  # Written in full, so that special tokens stand around a text.
  vocabulary = tokenizer.get_vocab()
  BertWordPieceTokenizer(vocabulary).save(str(path / 'tokenizer.json'))
