"""A host's side of the fleet: what the zipapp in ~/.waiter does there.

Standard library and PyMongo only. The laptop speaks to it through `main`, with words in and one line of JSON out, and
so may be of another version.
"""

REPLY_MARK = "waiter-reply "
"""What a reply's line starts with: a host's shell may print greetings of its own, and end none of them."""
