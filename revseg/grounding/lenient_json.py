"""JSON as models write it, read in one pass, without backtracking, recursion or evaluation.

Accepts what `json` refuses: Python's quotes and words, trailing or missing commas, bare words, quotes inside quotes,
full-width signs and digits of other scripts (`signs.py`), numbers in round brackets, text around the values. Reading
stops, without an error, at brackets nested deeper than `MAX_DEPTH` and after `MAX_STEPS` tokens, so the time is linear
in the length of any text.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Any

from revseg.grounding.signs import DOUBLE, INVISIBLE, MARKS, OPEN, SINGLE, closing, plain_number

MAX_DEPTH = 16
MAX_STEPS = 5_000

_GAP = rf"[\s{INVISIBLE}]*"
_ENDS = re.escape("".join(MARKS)) + "\"'"
_OPEN = re.compile(f"[{re.escape(''.join(OPEN))}]")
_TUPLE = r"\([\d\s.,+eE-]{3,120}\)"  # numbers in Python's round brackets
_TOKEN = re.compile(
    rf"""{_GAP}(?:([{re.escape("".join(MARKS))}])|(["'{DOUBLE}{SINGLE}])|({_TUPLE})|([^{_ENDS}{INVISIBLE}\s][^{_ENDS}]*))"""
)
# follows a closing quote; any other quote is part of the string
_AFTER_STRING = re.compile(rf"{_GAP}(?:[,，、:：\]］}}｝]|\Z)")
_QUOTE = {quote: re.compile(rf"[{closing(quote)}\\]") for quote in "\"'" + DOUBLE + SINGLE}
_BETWEEN = re.compile(rf"[\s,;，、；{INVISIBLE}]*")
_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(rf"\\(u{_HEX}{{4}}|x{_HEX}{{2}}|U00(?:0{_HEX}|10){_HEX}{{4}}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_INTEGER = re.compile(r"[-+]?\d{1,18}")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_WORDS = {"true": True, "false": False, "none": None, "null": None, "nan": math.nan}
_WORDS |= {sign + word: float(sign + word) for sign in ("", "-", "+") for word in ("inf", "infinity")}


@dataclass
class Run:
    """Values separated by commas and white space only, so that `{...}, {...}` is read as one answer."""

    values: list[Any] = field(default_factory=list)
    whole: bool = True  # every bracket was closed


def read_runs(text: str) -> list[Run]:
    """All outermost lists and dicts in a text, in order, grouped into runs.

    Of a list that is not closed, or closed by the wrong bracket, the complete lists and dicts in it are kept.
    """
    runs: list[Run] = []
    position, steps = 0, MAX_STEPS
    while found := _OPEN.search(text, position):
        near = runs and runs[-1].whole and _BETWEEN.fullmatch(text, position, found.start())
        run = runs[-1] if near else Run()
        values, whole, position, steps = _read(text, found.start(), steps)
        run.values += values
        run.whole = run.whole and whole
        if not near and values:
            runs.append(run)
    return runs


@dataclass
class _Bracket:
    """An open list or dict."""

    value: Any
    key: str | None = None  # of a dict: the last key read
    colon: bool = False  # whether the key's colon was read

    def put(self, item: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(item)
        elif self.colon and self.key is not None:
            self.value[self.key] = item
            self.next()
        else:
            self.key, self.colon = item if isinstance(item, str) else None, False

    def next(self) -> None:
        self.key, self.colon = None, False


def _read(text: str, position: int, steps: int) -> tuple[list[Any], bool, int, int]:
    """(values, closed properly?, end, steps left) of the bracket that opens at `position`."""
    stack: list[_Bracket] = []
    while steps > 0 and (token := _TOKEN.match(text, position)):
        steps -= 1
        position = token.end()
        mark, quote, numbers, bare = token.groups()
        mark = mark and MARKS[mark]
        if quote:
            string, position, steps = _string(text, position, quote, steps)
            if string is None:
                break
            stack[-1].put(string)
        elif numbers:
            stack[-1].put([_scalar(number.strip()) for number in numbers[1:-1].split(",") if number.strip()])
        elif bare:
            stack[-1].put(_scalar(bare.rstrip()))
        elif mark in "[{":
            if len(stack) == MAX_DEPTH:
                break
            stack.append(_Bracket([] if mark == "[" else {}))
        elif mark in "]}":
            if isinstance(stack[-1].value, list) != (mark == "]"):
                return _finished(stack), False, position, steps
            closed = stack.pop().value
            if not stack:
                return [closed], True, position, steps
            stack[-1].put(closed)
        elif mark == ",":
            stack[-1].next()
        else:
            stack[-1].colon = True
    return _finished(stack), False, len(text), steps


def _finished(stack: list[_Bracket]) -> list[Any]:
    """The complete lists and dicts inside open lists."""
    lists = [bracket.value for bracket in stack if isinstance(bracket.value, list)]
    return [item for value in lists for item in value if isinstance(item, list | dict)]


def _string(text: str, start: int, quote: str, steps: int) -> tuple[str | None, int, int]:
    """(string, or None when it is not closed; its end; steps left) of the string that starts after a quote."""
    position = start
    while steps > 0 and (found := _QUOTE[quote].search(text, position)):
        steps -= 1
        position = found.end()
        if found.group() == "\\":
            position += 1
        elif _AFTER_STRING.match(text, position):
            return _unescape(text[start : position - 1]), position, steps
    return None, len(text), steps


def _unescape(raw: str) -> str:
    if "\\" in raw:
        raw = _ESCAPE.sub(lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else _ESCAPED.get(m[1], m[1]), raw)
    # Two escapes can be the surrogates of one character; a lone surrogate could not be written to a file.
    return raw.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _scalar(raw: str) -> Any:
    """A value without quotes: a number, one of JSON's or Python's constants, or text."""
    if len(raw) > 1000:
        return raw
    number = plain_number(raw)
    if _INTEGER.fullmatch(number):
        return int(number)
    if _NUMBER.fullmatch(number):
        return float(number)  # inf where it is too large, never an error
    return _WORDS.get(raw.lower(), raw)
