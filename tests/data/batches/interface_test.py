"""What every reader of batches asks of its arguments."""

import pytest

from embedcomp.data import LanguageModelBatches, Shard


@pytest.mark.parametrize('index', [-1, 2])
def test_a_shard_is_one_of_all(index):
  with pytest.raises(ValueError, match=rf'must be in \[0, 2\), got {index}'):
    Shard(index, 2)


def test_negative_step():
  with pytest.raises(ValueError, match='step must not be negative, got -1'):
    LanguageModelBatches([1, 2], 1, 1).at(-1)
