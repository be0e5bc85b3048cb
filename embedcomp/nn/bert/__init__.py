"""BERT and its family."""

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

__all__ = [
  'Bert',
  'BertClassifier',
  'BertConfig',
  'BertMaskedLM',
  'BertOutput',
  'BertTokenClassifier',
  'SentenceEncoder',
  'dequantize_encoder',
  'extend_positions',
  'quantize_encoder',
]
