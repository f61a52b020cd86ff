"""Give freed memory back to the system, after something large was read and let go."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Have the C library return what it holds for nobody.

    Reading a model needs several times its size for a moment. glibc keeps what is freed below
    whatever came after, for the life of the process; `malloc_trim` returns it. Other C libraries
    (Android's, Apple's, musl) return large blocks by themselves and lack the call: nothing to do.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # TypeError: Windows names no library for None
        return
    trim(0)
