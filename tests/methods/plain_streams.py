"""A coder of the entropy-coded format, symbol by symbol."""

import itertools
import zlib

import numpy as np

from embedcomp.methods.rounded_normals import frequencies_of

TOTAL_BITS = 14
TOTAL = 2**TOTAL_BITS


def sealed(data, shape):
  """A stream with the checksum of its bytes, whatever they are."""
  data = data.copy()
  head = np.array(shape, '<u8').tobytes() + data[:1].tobytes()
  checksum = zlib.crc32(data[5:].tobytes(), zlib.crc32(head))
  data[1:5] = np.array([checksum], '<u4').view(np.uint8)
  return data


def read_bits(data, bits, count):
  number = int.from_bytes(data, 'little')
  return [number >> bits * i & (1 << bits) - 1 for i in range(count)]


def write_bits(entries, bits):
  number = sum(entry << bits * i for i, entry in enumerate(entries))
  return number.to_bytes(-(-len(entries) * bits // 8), 'little')


def bounds_of(num_words):
  chunks = -(-num_words // 128)
  return [c * num_words // chunks for c in range(chunks + 1)]


def plain_decode(data, shape):
  """Decodes a sound stream with at least one word."""
  num_words, num_axes = shape
  data = data.tobytes()[5:]

  def read_list(data, size, count):
    least, bits = int.from_bytes(data[:size], 'little'), data[size]
    stop = size + 1 + -(-count * bits // 8)
    excesses = read_bits(data[size + 1 : stop], bits, count)
    return [least + excess for excess in excesses], data[stop:]

  bounds = bounds_of(num_words)
  indices, data = read_list(data, 1, num_axes)
  lengths, data = read_list(data, 4, len(bounds) - 1)
  numbers = read_bits(data, 16, len(data) // 2)
  values = np.zeros(shape, int)
  for start, stop, length in zip(bounds, bounds[1:], lengths):
    chunk, numbers = numbers[:length], numbers[length:]
    state = (chunk.pop(0) << 16 | chunk.pop(0)) if chunk else 1 << 16

    def next_symbol(table, state, chunk):
      counts = frequencies_of(table).tolist()
      slot, first, symbol = state % TOTAL, 0, 0
      while slot >= first + counts[symbol]:
        first += counts[symbol]
        symbol += 1
      state = counts[symbol] * (state >> TOTAL_BITS) + slot - first
      if state < 1 << 16:
        state = state << 16 | chunk.pop(0)
      return symbol, state

    for axis, index in enumerate(indices):
      found = []
      for _ in range(start, stop):
        symbol, state = next_symbol(index, state, chunk)
        found.append(symbol)
      for word, symbol in enumerate(found):
        if symbol == 255:
          symbol, state = next_symbol(82, state, chunk)
        values[start + word, axis] = symbol - 127
    assert state == 1 << 16
    assert not chunk
  assert not any(numbers)
  return values


def plain_encode(values, indices):
  """Encodes at least one word with given spread indices."""
  bounds, chunks = bounds_of(len(values)), []
  for start, stop in itertools.pairwise(bounds):
    steps = []  # table and symbol, as the decoder meets them
    for axis, index in enumerate(indices):
      counts = frequencies_of(index)
      symbols = [int(value) + 127 for value in values[start:stop, axis]]
      rare = [symbol for symbol in symbols if not counts[symbol]]
      steps += [(index, s if counts[s] else 255) for s in symbols]
      steps += [(82, symbol) for symbol in rare]
    state, numbers = 1 << 16, []
    for table, symbol in reversed(steps):
      counts = frequencies_of(table).tolist()
      count, first = counts[symbol], sum(counts[:symbol])
      if state >= count << 18:
        numbers.insert(0, state & 0xFFFF)
        state >>= 16
      state = (state // count << TOTAL_BITS) + first + state % count
    is_blank = state == 1 << 16 and not numbers
    head = [] if is_blank else [state >> 16, state & 0xFFFF]
    chunks.append(head + numbers)

  def write_list(entries, size):
    least, bits = min(entries), (max(entries) - min(entries)).bit_length()
    excesses = write_bits([entry - least for entry in entries], bits)
    return least.to_bytes(size, 'little') + bytes([bits]) + excesses

  data = bytes([1, 0, 0, 0, 0]) + write_list(list(indices), 1)
  data += write_list([len(chunk) for chunk in chunks], 4)
  data += b''.join(write_bits(chunk, 16) for chunk in chunks)
  return sealed(np.frombuffer(data, np.uint8), values.shape)
