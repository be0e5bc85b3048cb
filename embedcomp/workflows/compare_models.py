"""Comparing a compressed model with the one that it was made from."""

import os
from collections.abc import Mapping, Sequence

from embedcomp.distillation.sentence_fidelity import Fidelity, fidelity
from embedcomp.workflows.sentence_model import SentenceModel


def compare_models(
  model_dir: str | os.PathLike[str],
  compressed_dir: str | os.PathLike[str],
  texts: Sequence[str] | Mapping[str, Sequence[str]],
  *,
  max_length: int = 128,
  progress: bool = True,
) -> Fidelity:
  """Measures how close a compressed model stays to the one it was made from.

  Compared are the means of their hidden states; heads are left out. Each model
  reads texts with its own tokenizer.

  Args:
    model_dir: a directory that `from_pretrained` reads.
    compressed_dir: likewise, of as many features.
    texts: held-out ones, or several sources of them by name; see
      `embedcomp.fidelity`.
    max_length: tokens that longer texts are cut to.
    progress: whether to show progress bars.

  Returns:
    The fidelity, in all and by source.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a directory or file is not valid, and as `fidelity`.

  Example:
    compare_models('bert', 'small', {'news': news, 'forum': posts}).damage
  """
  model, compressed = (
    SentenceModel.load(path, max_length=max_length, progress=progress)
    for path in (model_dir, compressed_dir)
  )
  return fidelity(model, compressed, texts)
