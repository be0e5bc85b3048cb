"""Files: packed tables, models of the BERT family, word vectors."""

from embedcomp.io.bert.pretrained import from_pretrained, save_pretrained
from embedcomp.io.packed import load, load_scheme, save
from embedcomp.io.word_vectors import read_word_vectors

__all__ = [
  'from_pretrained',
  'load',
  'load_scheme',
  'read_word_vectors',
  'save',
  'save_pretrained',
]
