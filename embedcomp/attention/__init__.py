"""Softmax attention: dense, and over the blocks of a long sequence."""

from embedcomp.attention.dot_product import dense_attention
from embedcomp.attention.recursive import recursive_attention

__all__ = ['dense_attention', 'recursive_attention']
