"""Numbers and texts that look random and are a pure function of a seed and a place in a sequence.

They are counter-based: the n-th draw needs none of those before it, so any row can be made by itself.

Source: SplitMix64, in Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014.
"""

from __future__ import annotations

import hashlib
import string

import pyarrow as pa
import pyarrow.compute as pc

_GAMMA = 0x9E3779B97F4A7C15
_FIRST = (30, 0xBF58476D1CE4E5B9)
_SECOND = (27, 0x94D049BB133111EB)
_LAST_SHIFT = 31
_MASK = 2**64 - 1
_U64 = pa.uint64()

# One byte to one letter. 256 is no multiple of 26, so a to v are a little likelier than w to z.
_LETTERS = bytes(string.ascii_lowercase[byte % 26].encode()[0] for byte in range(256))


def whole(value: int) -> pa.Scalar:
    """Return a number as an unsigned one, which wraps around in multiplications."""
    return pa.scalar(value, _U64)


def counted(first: int, count: int) -> pa.Array:
    """Return the numbers from ``first`` on."""
    return pc.cast(pa.arange(first, first + count), _U64)


def mixed(number: int) -> int:
    """Return SplitMix64's output for a state.

    Example:
        >>> mixed(_GAMMA)  # the first output of the generator seeded with 0
        16294208416658607535
    """
    for shift, factor in (_FIRST, _SECOND):
        number = ((number ^ (number >> shift)) * factor) & _MASK
    return number ^ (number >> _LAST_SHIFT)


def key_of(seed: int, purpose: str) -> int:
    """Return the start of a sequence of its own for each purpose."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest(), "little")


def words(key: int, numbers: pa.Array) -> pa.Array:
    """Return 64 random bits for each of the numbers."""
    state = pc.add(pc.multiply(numbers, whole(_GAMMA)), whole(key))
    for shift, factor in (_FIRST, _SECOND):
        state = pc.multiply(pc.bit_wise_xor(state, pc.shift_right(state, whole(shift))), whole(factor))
    return pc.bit_wise_xor(state, pc.shift_right(state, whole(_LAST_SHIFT)))


def bits(word: pa.Array, low: int, count: int) -> pa.Array:
    """Return ``count`` bits of each word as a number, from bit ``low`` on."""
    shifted = pc.shift_right(word, whole(low)) if low else word
    return shifted if low + count == 64 else pc.bit_wise_and(shifted, whole((1 << count) - 1))


def below(word: pa.Array, low: int, count: int, bound: int | pa.Array) -> pa.Array:
    """Return a number from 0 to ``bound`` - 1, made of ``count`` bits (at most 32) of each word.

    All are equally likely up to one part in 2**count / bound.
    """
    factor = whole(bound) if isinstance(bound, int) else bound
    return pc.shift_right(pc.multiply(bits(word, low, count), factor), whole(count))


def texts(key: int, count: int, shortest: int, longest: int) -> list[str]:
    """Return ``count`` texts of random letters, each length from ``shortest`` to ``longest`` equally likely."""
    stream = hashlib.shake_256(key.to_bytes(8, "little")).digest(count * (longest + 2))
    letters = stream.translate(_LETTERS).decode()
    made = []
    for start in range(0, len(stream), longest + 2):
        size = shortest + int.from_bytes(stream[start : start + 2], "little") * (longest - shortest + 1) // 65536
        made.append(letters[start + 2 : start + 2 + size])
    return made
