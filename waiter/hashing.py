"""BLAKE2b without OpenSSL, which hashlib loads as well: 3.6 MB in every waiter.

The module is CPython's own behind hashlib, and has no public name; where it is missing, hashlib serves.
"""

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

__all__ = ["blake2b"]
