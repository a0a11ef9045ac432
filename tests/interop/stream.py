"""
Streams of bytes that both ends can make from a seed, so that a gigabyte is compared by its digest.
"""

import hashlib
import random
from collections.abc import Iterator

BLOCK = 65536


def blocks(seed: int | str, size: int) -> Iterator[bytes]:
    """
    Make the stream of a seed, block by block.

    @param size: bytes in all.
    """
    source = random.Random(seed)
    for start in range(0, size, BLOCK):
        yield source.randbytes(BLOCK)[: size - start]


def sha256(seed: int | str, size: int) -> str:
    """
    The SHA-256 (hexadecimal) of the stream of a seed.
    """
    digest = hashlib.sha256()
    for block in blocks(seed, size):
        digest.update(block)
    return digest.hexdigest()


def write(path: str, seed: int | str, size: int) -> str:
    """
    Write the stream of a seed into a file.

    @return: its SHA-256.
    """
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for block in blocks(seed, size):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
