"""Directories of models of the BERT family."""

from embedcomp.io.bert.pretrained import from_pretrained, save_pretrained

__all__ = ['from_pretrained', 'save_pretrained']
