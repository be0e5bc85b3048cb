"""Flax modules: thin shells that own params and call the pure functions."""

from embedcomp.nn.bert import Bert, BertOutput
from embedcomp.nn.bert_config import BertConfig
from embedcomp.nn.bert_heads import (
  BertClassifier,
  BertMaskedLM,
  BertTokenClassifier,
  SentenceEncoder,
)
from embedcomp.nn.classifiers import (
  ConvolutionalClassifier,
  PooledClassifier,
  TransformerClassifier,
)
from embedcomp.nn.embedding import GroupedEmbed, to_params, to_variables
from embedcomp.nn.encoder import Encoder, EncoderBlock
from embedcomp.nn.int8 import dequantize_encoder, quantize_encoder
from embedcomp.nn.language_model import (
  RecurrentLanguageModel,
  TransformerLanguageModel,
)
from embedcomp.nn.positions import extend_positions

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
