"""Signs that models write for JSON's own: full-width ones, quotes of print, digits of other scripts, invisible marks.

Only the reader of lenient JSON uses them, and only outside strings: what stands inside quotes is never changed.
"""

import re

INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # zero-width spaces, joiners and marks: no one means them
OPEN = {"[": "[", "{": "{", "［": "[", "｛": "{"}
MARKS = {**OPEN, "]": "]", "}": "}", "］": "]", "｝": "}", ",": ",", "，": ",", "、": ",", ":": ":", "：": ":"}
DOUBLE, SINGLE = "“”„‟＂", "‘’‚‛＇"
_NUMERALS = str.maketrans("－−＋．", "--+.")
_SPACE = re.compile(f"[{INVISIBLE}]")


def closing(quote: str) -> str:
    """The signs that may end a string which this quote began; JSON's and Python's own end with themselves alone."""
    return {'"': '"', "'": "'"}.get(quote) or ('"' + DOUBLE if quote in DOUBLE else "'" + SINGLE)


def plain_number(text: str) -> str:
    """A number's text with ASCII signs. Digits of any script stay: Python's `int` and `float` read them."""
    return text if text.isascii() else visible(text).translate(_NUMERALS)


def visible(text: str) -> str:
    """The text without marks that have no width."""
    return text if text.isascii() else _SPACE.sub("", text)
