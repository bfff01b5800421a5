"""Query texts and thinking traces of the synthetic world: lower-case English with a closed vocabulary, two wordings."""

from collections.abc import Mapping, Sequence

from revseg.shapes.render import FORMS, UNSEEN_FORMS
from revseg.shapes.scene import COLOURS

# key: (text for one object, text for several); "" where the answer is always one object
PLAIN: dict[str, tuple[str, str]] = {
    "pair": ("the {colour} {form}", ""),
    "colour": ("the {colour} object", "all {colour} objects"),
    "form": ("the {form}", "all {forms}"),
    "left": ("the object that moves left", "every object that moves left"),
    "right": ("the object that moves right", "every object that moves right"),
    "up": ("the object that moves up", "every object that moves up"),
    "down": ("the object that moves down", "every object that moves down"),
    "still": ("the object that does not move", "every object that does not move"),
    "moves": ("the object that moves", "every object that moves"),
    "bounce": ("the object that turns back", "every object that turns back"),
    "grows": ("the object that grows", "every object that grows"),
    "shrinks": ("the object that shrinks", "every object that shrinks"),
    "appears": ("the object that appears later", "every object that appears later"),
    "disappears": ("the object that disappears", "every object that disappears"),
    "appears_first": ("the first object to appear", ""),
    "appears_last": ("the last object to appear", ""),
    "disappears_first": ("the first object to disappear", ""),
    "fastest": ("the fastest object", ""),
    "slowest": ("the slowest object", ""),
    "largest": ("the largest object", ""),
    "smallest": ("the smallest object", ""),
    "largest_start": ("the largest object at the start", ""),
    "smallest_start": ("the smallest object at the start", ""),
    "largest_end": ("the largest object at the end", ""),
    "smallest_end": ("the smallest object at the end", ""),
    "largest_form": ("the largest {form}", ""),
    "smallest_form": ("the smallest {form}", ""),
    "left_of": ("the object left of the {thing} at the {time}", "every object left of the {thing} at the {time}"),
    "right_of": ("the object right of the {thing} at the {time}", "every object right of the {thing} at the {time}"),
    "above": ("the object above the {thing} at the {time}", "every object above the {thing} at the {time}"),
    "below": ("the object below the {thing} at the {time}", "every object below the {thing} at the {time}"),
    "nearest": ("the object nearest to the {thing} at the {time}", ""),
    "behind": ("the object that passes behind the {thing}", "every object that passes behind the {thing}"),
}  # fmt: skip

REWORDED: dict[str, tuple[str, str]] = {
    "pair": ("where is the {form} that is {colour}", ""),
    "colour": ("which thing has the colour {colour}", "which things have the colour {colour}"),
    "form": ("find something shaped like a {form}", "find each thing shaped like a {form}"),
    "left": ("what is going towards the left side", "which things are going towards the left side"),
    "right": ("what is going towards the right side", "which things are going towards the right side"),
    "up": ("what is going towards the top", "which things are going towards the top"),
    "down": ("what is going towards the bottom", "which things are going towards the bottom"),
    "still": ("what stays in place", "which things stay in place"),
    "moves": ("what is not standing still", "which things are not standing still"),
    "bounce": ("what reverses its way", "which things reverse their way"),
    "grows": ("what gets bigger", "which things get bigger"),
    "shrinks": ("what gets smaller", "which things get smaller"),
    "appears": ("what was not there in the beginning", "which things were not there in the beginning"),
    "disappears": ("what is gone in the end", "which things are gone in the end"),
    "appears_first": ("what was there before anything else", ""),
    "appears_last": ("what shows up after all the others", ""),
    "disappears_first": ("what is gone before anything else", ""),
    "fastest": ("what has the highest speed", ""),
    "slowest": ("what has the lowest speed", ""),
    "largest": ("what is bigger than all the others", ""),
    "smallest": ("what is smaller than all the others", ""),
    "largest_start": ("what is bigger than all the others in the beginning", ""),
    "smallest_start": ("what is smaller than all the others in the beginning", ""),
    "largest_end": ("what is bigger than all the others in the end", ""),
    "smallest_end": ("what is smaller than all the others in the end", ""),
    "largest_form": ("which {form} is bigger than the others", ""),
    "smallest_form": ("which {form} is smaller than the others", ""),
    "left_of": ("as it {time}s what has the {thing} on its right", "as it {time}s all with the {thing} on their right"),
    "right_of": ("as it {time}s what has the {thing} on its left", "as it {time}s all with the {thing} on their left"),
    "above": ("as it {time}s what is over the {thing}", "as it {time}s which things are over the {thing}"),
    "below": ("as it {time}s what is under the {thing}", "as it {time}s which things are under the {thing}"),
    "nearest": ("as it {time}s what is closest to the {thing}", ""),
    "behind": ("what gets hidden by the {thing}", "which things get hidden by the {thing}"),
}  # fmt: skip

WORDINGS: dict[str, dict[str, tuple[str, str]]] = {"plain": PLAIN, "reworded": REWORDED}

TRACE_WORDS = (
    "moves left right up down stays turns back grows shrinks same size from to fast slow large small other "
    "is above below near far not there behind in front for yes so and none ."
)


def plural(form: str) -> str:
    """A form's plural: "crosses", "circles"."""
    return form + ("es" if form.endswith("s") else "s")


def phrase(wording: str, key: str, slots: Mapping[str, str], several: bool) -> str:
    """The query's text."""
    return WORDINGS[wording][key][several].format(**slots, forms=plural(slots.get("form", "")))


def trace(facts: Sequence[tuple[str, str]], targets: Sequence[str]) -> str:
    """A short thinking text: for each object its evidence, and "yes" if it is a target; then the conclusion.

    "red circle from 0 to 6 yes . blue square from 0 to 15 . so red circle"
    """
    evidence = [" ".join([name, *fact.split(), *(["yes"] if name in targets else [])]) for name, fact in facts]
    return " . ".join([*evidence, "so " + (" and ".join(targets) or "none")])


def _vocabulary() -> tuple[str, ...]:
    forms = [*FORMS, *UNSEEN_FORMS]
    texts = [text for table in WORDINGS.values() for pair in table.values() for text in pair]
    words = {word for text in texts for word in text.split() if "{" not in word}
    words |= {*forms, *map(plural, forms), *COLOURS, "start", "end", "starts", "ends", "both"}
    return tuple(sorted({*words, *TRACE_WORDS.split(), *map(str, range(101))}))


VOCABULARY = _vocabulary()  # every word, split at spaces, that can occur in a query or a thinking trace
