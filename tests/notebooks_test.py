"""Notebooks run from end to end and are kept as they were run."""

import re

import nbformat
import pytest

from experiments import notebooks

PATHS = sorted(notebooks.FOLDER.glob('*.ipynb'))
MAX_BYTES = 400_000


def code_cells(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def output_kinds(notebook):
  """What each cell puts out, without the numbers and pixels."""
  return [
    [(out.output_type, *sorted(out.get('data', ()))) for out in cell.outputs]
    for cell in code_cells(notebook)
  ]


@pytest.mark.slow
@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_notebook_runs_and_shows_what_it_is_kept_with(path):
  executed = notebooks.execute(path)
  assert output_kinds(executed) == output_kinds(nbformat.read(path, 4))


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_notebook_is_kept_whole_small_and_without_traces_of_a_machine(path):
  text = path.read_text()
  notebook = nbformat.reads(text, 4)
  nbformat.validate(notebook)
  counts = [cell.execution_count for cell in code_cells(notebook)]
  assert counts == list(range(1, len(counts) + 1))
  assert all(
    output.output_type != 'error' and output.get('name') != 'stderr'
    for cell in code_cells(notebook)
    for output in cell.outputs
  )
  assert len(text.encode()) <= MAX_BYTES
  assert not re.search(r'/(home|root|tmp|work|Users)/', text)


def test_there_are_notebooks():
  assert PATHS
