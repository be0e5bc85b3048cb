"""Flax modules: thin shells that own params and call the pure functions."""

from embedcomp.nn.classifiers import (
  ConvolutionalClassifier,
  PooledClassifier,
  TransformerClassifier,
)
from embedcomp.nn.embedding import GroupedEmbed, to_params, to_variables
from embedcomp.nn.encoder import Encoder, EncoderBlock
from embedcomp.nn.language_model import (
  RecurrentLanguageModel,
  TransformerLanguageModel,
)

__all__ = [
  'ConvolutionalClassifier',
  'Encoder',
  'EncoderBlock',
  'GroupedEmbed',
  'PooledClassifier',
  'RecurrentLanguageModel',
  'TransformerClassifier',
  'TransformerLanguageModel',
  'to_params',
  'to_variables',
]
