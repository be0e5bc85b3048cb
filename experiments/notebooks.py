r"""Runs the notebooks from the first cell to the last and keeps their outputs.

  python -m experiments.notebooks [PATH.ipynb ...]

Without paths, all of `notebooks/`. Outputs are the same in every run on one
machine: on the CPU, without times of execution and without progress bars.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbclient
import nbformat

from embedcomp.io.files import write_atomically

FOLDER = Path(__file__).parents[1] / 'notebooks'
TIMEOUT = 600  # seconds, of one cell
# A notebook that is run on another Python is still the same notebook.
_METADATA = {
  'kernelspec': {
    'display_name': 'Python 3',
    'language': 'python',
    'name': 'python3',
  },
  'language_info': {'name': 'python'},
}


def execute(path: Path) -> nbformat.NotebookNode:
  """Runs a notebook in an empty folder, which is removed afterwards.

  Args:
    path: of the notebook, which is not changed.

  Returns:
    The notebook with the outputs of this run.

  Raises:
    nbclient.exceptions.CellExecutionError: if a cell does.
  """
  notebook = nbformat.read(path, as_version=4)
  os.environ.setdefault('JAX_PLATFORMS', 'cpu')
  with tempfile.TemporaryDirectory() as folder:
    nbclient.NotebookClient(
      notebook,
      timeout=TIMEOUT,
      resources={'metadata': {'path': folder}},
      record_timing=False,
      coalesce_streams=True,
    ).execute()
  notebook.metadata = nbformat.from_dict(_METADATA)
  return notebook


def main(argv: Sequence[str] | None = None) -> None:
  """Runs notebooks in place, as the command line says."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.notebooks',
    description='Runs notebooks and keeps their outputs.',
  )
  parser.add_argument('paths', nargs='*', type=Path, metavar='PATH.ipynb')
  for path in parser.parse_args(argv).paths or sorted(FOLDER.glob('*.ipynb')):
    text = nbformat.writes(execute(path)) + '\n'
    write_atomically(path, text.encode())
    print(path)


if __name__ == '__main__':
  main()
