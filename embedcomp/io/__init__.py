"""Files: packed tables and word vectors of other tools."""

from embedcomp.io.packed import load, load_scheme, save
from embedcomp.io.word_vectors import read_word_vectors

__all__ = [
  'load',
  'load_scheme',
  'read_word_vectors',
  'save',
]
