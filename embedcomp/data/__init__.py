"""Texts, vocabularies and batches; models that every machine with pip gets."""

from embedcomp.data.batching import (
  INPUT_FIELDS,
  LanguageModelBatches,
  RenumberedBatches,
  token_stream,
)
from embedcomp.data.corpora import newsgroups_documents
from embedcomp.data.documents import Documents, TextDataset, split_off
from embedcomp.data.labelled_batching import ClassificationBatches, TokenBatches
from embedcomp.data.listops import listops_documents
from embedcomp.data.loading import BUILT_IN, GENERATED, load
from embedcomp.data.masking import MaskedLMBatches
from embedcomp.data.needle import needle_documents
from embedcomp.data.replacing import ReplacedBatches
from embedcomp.data.sources import (
  cache_folder,
  fetch_source_archive,
  fetch_wheel,
  minilm_l6,
)
from embedcomp.data.tokenization import Encoded, SubwordTokenizer
from embedcomp.data.vocabulary import (
  PADDING,
  SPECIAL_WORDS,
  UNKNOWN,
  Vocabulary,
  tokenize,
)

__all__ = [
  'BUILT_IN',
  'GENERATED',
  'INPUT_FIELDS',
  'PADDING',
  'SPECIAL_WORDS',
  'UNKNOWN',
  'ClassificationBatches',
  'Documents',
  'Encoded',
  'LanguageModelBatches',
  'MaskedLMBatches',
  'RenumberedBatches',
  'ReplacedBatches',
  'SubwordTokenizer',
  'TextDataset',
  'TokenBatches',
  'Vocabulary',
  'cache_folder',
  'fetch_source_archive',
  'fetch_wheel',
  'listops_documents',
  'load',
  'minilm_l6',
  'needle_documents',
  'newsgroups_documents',
  'split_off',
  'token_stream',
  'tokenize',
]
