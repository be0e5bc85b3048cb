"""Writing a compressed model as one that other libraries read."""

import os

from embedcomp.io import files
from embedcomp.io.bert.pretrained import save_pretrained
from embedcomp.workflows.read_model import read_model


def export_model(
  model_dir: str | os.PathLike[str],
  output_dir: str | os.PathLike[str],
  *,
  head: str | None = None,
) -> None:
  """Writes a model with a dense table and float32 weights, tokenizer included.

  Args:
    model_dir: a directory that `from_pretrained` reads.
    output_dir: a directory that is new or empty.
    head: the head to keep, or 'encoder' for none; None keeps the one that the
      config names.

  Raises:
    FileNotFoundError: if a file is missing.
    OSError: if a file cannot be written.
    ValueError: for folders that do not suit, files that are damaged or not
      supported, or a head that the model lacks; nothing is written.
  """
  files.check_new_folder(output_dir, 'output_dir')
  model, params, labels = read_model(model_dir, head)
  save_pretrained(
    output_dir,
    model,
    params,
    dense=True,
    labels=labels,
    tokenizer_from=model_dir,
  )
