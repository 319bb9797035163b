"""BLAKE2b as `hashlib` has it, without what that loads besides: OpenSSL, which costs a program's first step 10 ms."""

try:
    from _blake2 import blake2b
except ImportError:  # another Python than CPython
    from hashlib import blake2b

__all__ = ["blake2b"]
