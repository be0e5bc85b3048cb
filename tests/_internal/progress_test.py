"""Progress bars."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
  'call',
  [
    "list(progress.track([1], '', enabled=False))",
    'progress.step_bar(0, 1, enabled=False).close()',
  ],
)
def test_a_bar_that_is_not_shown_is_not_loaded(call):
  """Loading it warns in notebooks that have no widgets."""
  code = (
    f'import sys; from embedcomp._internal import progress; {call}; '
    "assert 'tqdm.auto' not in sys.modules"
  )
  subprocess.run([sys.executable, '-c', code], check=True)
