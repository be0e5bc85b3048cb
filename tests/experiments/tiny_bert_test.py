"""The small BERT that tests and demos start from is the same everywhere."""

from embedcomp.data import SubwordTokenizer
from experiments.problems import tiny_bert

SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']


def test_pieces_are_letters_and_words_by_frequency(tmp_path, monkeypatch):
  monkeypatch.setenv('EMBEDCOMP_CACHE', str(tmp_path))
  folder = tiny_bert.folder(['Ab, ab cb', 'cb ab b'])
  tokenizer = SubwordTokenizer.load(folder)
  # Letters: b in 6 words, a in 3, c in 2, a comma; words: ab 3, cb 2, one each.
  letters = ['b', 'a', 'c', ',']
  words = ['ab', 'cb']
  pieces = [*SPECIAL, *letters, *(f'##{x}' for x in letters), *words]
  (encoded,) = tokenizer.encode(['ab cb b caB , z'])
  expected = ['[CLS]', 'ab', 'cb', 'b', 'c', '##a', '##b', ',', '[UNK]']
  assert [pieces[id] for id in encoded.ids[:-1]] == expected
  assert encoded.ids[-1] == SPECIAL.index('[SEP]')
  assert tokenizer.vocab_size == len(pieces)
  assert tiny_bert.folder(['Ab, ab cb', 'cb ab b']) == folder
