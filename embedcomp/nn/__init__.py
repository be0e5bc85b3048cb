"""Flax modules: thin shells that own params and call the pure functions."""

from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import Bert, BertOutput
from embedcomp.nn.bert.heads import (
  BertClassifier,
  BertMaskedLM,
  BertTokenClassifier,
  SentenceEncoder,
)
from embedcomp.nn.bert.int8 import dequantize_encoder, quantize_encoder
from embedcomp.nn.bert.positions import extend_positions
from embedcomp.nn.classifiers import (
  ConvolutionalClassifier,
  PooledClassifier,
  TransformerClassifier,
)
from embedcomp.nn.embedding import GroupedEmbed, to_params, to_variables
from embedcomp.nn.language_models import (
  RecurrentLanguageModel,
  TransformerLanguageModel,
)
from embedcomp.nn.transformer import Encoder, EncoderBlock

__all__ = [
  'Bert',
  'BertClassifier',
  'BertConfig',
  'BertMaskedLM',
  'BertOutput',
  'BertTokenClassifier',
  'ConvolutionalClassifier',
  'Encoder',
  'EncoderBlock',
  'GroupedEmbed',
  'PooledClassifier',
  'RecurrentLanguageModel',
  'SentenceEncoder',
  'TransformerClassifier',
  'TransformerLanguageModel',
  'dequantize_encoder',
  'extend_positions',
  'quantize_encoder',
  'to_params',
  'to_variables',
]
