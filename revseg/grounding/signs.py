"""Characters that models write in place of JSON's: full-width signs, typographic quotes, digits of other scripts,
zero-width marks. They are read as JSON's outside strings only; text inside quotes is never changed.
"""

import re

INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # zero-width spaces, joiners and direction marks
OPEN = {"[": "[", "{": "{", "［": "[", "｛": "{"}
MARKS = {**OPEN, "]": "]", "}": "}", "］": "]", "｝": "}", ",": ",", "，": ",", "、": ",", ":": ":", "：": ":"}
DOUBLE, SINGLE = "“”„‟＂", "‘’‚‛＇"
_NUMERALS = str.maketrans("－−＋．", "--+.")
_SPACE = re.compile(f"[{INVISIBLE}]")


def closing(quote: str) -> str:
    """The quotes that may close a string opened by this one. ASCII quotes are closed by themselves only."""
    return {'"': '"', "'": "'"}.get(quote) or ('"' + DOUBLE if quote in DOUBLE else "'" + SINGLE)


def plain_number(text: str) -> str:
    """A number's text with ASCII signs. Digits of other scripts stay, since `int` and `float` read them."""
    return text if text.isascii() else visible(text).translate(_NUMERALS)


def visible(text: str) -> str:
    """The text without zero-width characters."""
    return text if text.isascii() else _SPACE.sub("", text)
