"""A host's side of the fleet: what the zipapp in ~/.waiter does there.

Standard library and PyMongo only. The laptop speaks to it through `main`, with words in and one line of JSON out, and
so may be of another version.
"""
