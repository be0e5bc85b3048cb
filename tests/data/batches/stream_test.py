"""Documents that are joined, and what is no document."""

import numpy as np
import pytest

from embedcomp.data import token_stream


def test_token_stream():
  assert token_stream([[1, 2], [], [3]]).tolist() == [1, 2, 3]
  assert token_stream([[1, 2], [], [3]], separator=9).tolist() == [
    *(1, 2, 9, 9, 3, 9),
  ]
  assert token_stream([]).dtype == np.int32


@pytest.mark.parametrize('document', [[0.5], [[1]], 3])
def test_wrong_documents(document):
  with pytest.raises(ValueError, match='a document must be a list of ids'):
    token_stream([document])


@pytest.mark.parametrize('id', [-1, 2**31])
def test_wrong_ids(id):
  with pytest.raises(ValueError, match=r'ids must be in \[0, 2\*\*31\), got'):
    token_stream([[3, id]])
