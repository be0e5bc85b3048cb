"""Texts, vocabularies and batches; models that every machine with pip gets."""

from embedcomp.data.batches.augmented import ReplacedBatches
from embedcomp.data.batches.interface import Shard
from embedcomp.data.batches.labelled import ClassificationBatches, TokenBatches
from embedcomp.data.batches.language_model import LanguageModelBatches
from embedcomp.data.batches.masked_lm import MaskedLMBatches
from embedcomp.data.batches.renumbered import RenumberedBatches
from embedcomp.data.batches.stream import token_stream
from embedcomp.data.datasets.corpora import topic_documents
from embedcomp.data.datasets.listops import listops_documents
from embedcomp.data.datasets.load import load
from embedcomp.data.datasets.names import BUILT_IN, GENERATED
from embedcomp.data.datasets.needle import needle_documents
from embedcomp.data.datasets.pip_files import (
  cache_folder,
  fetch_wheel,
  minilm_l6,
)
from embedcomp.data.documents import Documents, TextDataset, split_off
from embedcomp.data.fields import Fields
from embedcomp.data.subword_tokenizer import Encoded, SubwordTokenizer
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
  'PADDING',
  'SPECIAL_WORDS',
  'UNKNOWN',
  'ClassificationBatches',
  'Documents',
  'Encoded',
  'Fields',
  'LanguageModelBatches',
  'MaskedLMBatches',
  'RenumberedBatches',
  'ReplacedBatches',
  'Shard',
  'SubwordTokenizer',
  'TextDataset',
  'TokenBatches',
  'Vocabulary',
  'cache_folder',
  'fetch_wheel',
  'listops_documents',
  'load',
  'minilm_l6',
  'needle_documents',
  'split_off',
  'token_stream',
  'tokenize',
  'topic_documents',
]
