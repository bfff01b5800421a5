"""The package's structure: which module may import which, and that every name the docs give is there.

Imports are read from the source with `ast`, those inside functions too, but for what only type checkers see.
"""

import ast
import functools
import importlib
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import revseg

ROOT = Path(__file__).parent.parent
ALLOWED_LAZY = {  # may only shrink: imports inside functions that close a circle
    # `Segmentation.save` is short for `report.save`, which writes records, whose reader makes Segmentations
    ("revseg.types.results", "revseg.report"),
}
NEEDS_VERL = ("revseg.integrations.verl.agent_loop",)
WORLD = ("shapes", "cli")  # the synthetic world, and what may know of it
ORDER = (  # every room imports only those of the lines above it, and of its own line
    "errors version",
    "spec suggest redaction locks job importing options registry settings failures text_table masks untrusted devices",
    "video colours output drawing progress",
    "types checked",
    "samplers clip_cache grounding rollout policies rewards trackers objectives datasets serialise testing",
    "pipeline",
    "training evaluation",
    "ablation diagnosis",
    "report integrations",
    "shapes",
    "cli",
)


def modules(root: Path) -> dict[str, Path]:
    """The modules of a package by their dotted names."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        name = ".".join((root.name, *path.relative_to(root).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = path
    return found


def imports(source: str, package: str) -> Iterator[tuple[str, bool]]:
    """Dotted names imported from `package`, with True for those inside a function; without what types alone need."""
    nodes: list[tuple[ast.AST, bool]] = [(ast.parse(source), False)]
    for node, lazy in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names if (node.module or "").split(".")[0] == package else ():
                yield f"{node.module}.{alias.name}", lazy
        elif isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names if alias.name.split(".")[0] == package)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            typing_only = isinstance(node, ast.If) and child in node.body and "TYPE_CHECKING" in ast.unparse(node.test)
            if not typing_only:
                nodes.append((child, inside))


Graph = Mapping[str, Mapping[str, bool]]  # module to what it imports, True when only inside functions


@functools.cache
def graph() -> Graph:
    found = modules(ROOT / "revseg")
    edges: dict[str, dict[str, bool]] = {name: {} for name in found}
    for name, path in found.items():
        for imported, lazy in imports(path.read_text("utf-8"), "revseg"):
            target = imported if imported in found else imported.rpartition(".")[0]  # a module, or a name in one
            assert target in found, f"{name} imports {imported}, which does not exist"
            if target != name:
                edges[name][target] = lazy and edges[name].get(target, True)
    return edges


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """The sets of modules that reach one another: what is left once the ends are taken away, by reachability."""
    reach = {name: set(targets) for name, targets in edges.items()}
    changed = True
    while changed:
        changed = False
        for name, known in reach.items():
            more = set().union(known, *(reach[other] for other in known))
            changed |= len(more) > len(known)
            reach[name] = more
    found: list[set[str]] = []
    for name in (name for name, known in reach.items() if name in known):
        circle = {other for other in reach[name] if name in reach[other]}
        if circle not in found:
            found.append(circle)
    return found


def test_the_reader_of_imports() -> None:
    source = """
import a.b, other
from a import c
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from a import never
else:
    from a import d
class K:
    from a.e import f
    async def g(self):
        if True:
            import a.h
"""
    assert sorted(imports(source, "a")) == [
        ("a.b", False),
        ("a.c", False),
        ("a.d", False),
        ("a.e.f", False),
        ("a.h", True),
    ]


def test_the_finder_of_circles() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a", "c"}}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}}) == [{"b", "c"}, {"d"}]


def test_no_circle_when_modules_are_loaded() -> None:
    assert circles({name: {to for to, lazy in edges.items() if not lazy} for name, edges in graph().items()}) == []


def test_no_circle_inside_functions_but_those_listed() -> None:
    edges = {name: {to for to in targets if (name, to) not in ALLOWED_LAZY} for name, targets in graph().items()}
    assert circles(edges) == []


@pytest.mark.parametrize("allowed", sorted(ALLOWED_LAZY), ids=" to ".join)
def test_what_is_listed_is_still_needed(allowed: tuple[str, str]) -> None:
    name, target = allowed
    assert graph()[name].get(target), "inside a function"
    edges = {
        name: {to for to in targets if (name, to) not in ALLOWED_LAZY - {allowed}} for name, targets in graph().items()
    }
    assert circles(edges)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_imports_point_one_way() -> None:
    place = {name: number for number, line in enumerate(ORDER) for name in line.split()}
    missing = {room(name) for name in graph()} - {"", *place}
    assert not missing, f"say in ORDER where {', '.join(sorted(missing))} belong"
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph().items()
        for target in targets
        if "" not in (room(name), room(target))
        and place[room(name)] < place[room(target)]
        and (name, target) not in ALLOWED_LAZY
    ]
    assert wrong == []


def test_nobody_imports_the_package_itself_but_the_command_line() -> None:
    """Its names stand for every room: importing it from inside hides what is needed."""
    assert [name for name, edges in graph().items() if "revseg" in edges and room(name) not in WORLD] == []


def test_the_synthetic_world_is_a_plug_in() -> None:
    knows = [name for name, targets in graph().items() if any(room(target) == "shapes" for target in targets)]
    assert {room(name) for name in knows} == {*WORLD}
    benchmarks = [path.read_text("utf-8") for path in (ROOT / "benchmarks").rglob("*.py")]
    assert any("revseg.shapes" in source for source in benchmarks), "they may, and do"


def code(source: str) -> str:
    """Names and texts of a source, without its comments and docstrings."""
    docs = {
        node.body[0].lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False) is not None
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    kept = (
        t.string
        for t in tokens
        if t.type != tokenize.COMMENT and not (t.type == tokenize.STRING and t.start[0] in docs)
    )
    return " ".join(kept)


def test_the_reader_of_code() -> None:
    source = '"""qwen"""\ndef f(x="b"):  # qwen\n    """\n    qwen"""\n    return "c"\n'
    assert code(source).split() == ["def", "f", "(", "x", "=", '"b"', ")", ":", "return", '"c"']


def test_one_model_family_is_named_in_its_own_room_alone() -> None:
    """Beside policies, the synthetic world and the command line: in messages that say what to write."""
    found = {name: code(path.read_text("utf-8")) for name, path in modules(ROOT / "revseg").items()}
    named = {name for name, text in found.items() if re.search("qwen", text, re.IGNORECASE)}
    assert {name for name in named if room(name) not in ("policies", *WORLD)} == set()


# What the docs name is there.


@pytest.mark.parametrize("name", modules(ROOT / "revseg"))
def test_every_module_can_be_imported(name: str) -> None:
    if name in NEEDS_VERL:
        pytest.importorskip("verl", reason="verl is not installed here")
    importlib.import_module(name)


@pytest.mark.parametrize("name", dir(revseg))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(revseg, name) is not None


def documented() -> list[tuple[str, str]]:
    """(places, name) of docs/api.md: each row's first cell, and each name in code in its second."""
    rows = re.findall(r"^\| (`revseg.*?) \| (.*) \|$", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) > 20
    return [(where, name) for where, what in rows for name in ("", *re.findall(r"`([A-Za-z_.0-9]+)`", what))]


@pytest.mark.parametrize(("where", "name"), documented())
def test_every_documented_name_is_there(where: str, name: str) -> None:
    """A module of the row, or one of its names, its classes' members, or a part registered under it."""
    places = [importlib.import_module(place) for place in re.findall(r"`([a-z_.0-9]+)`", where)]
    parts = {part for kind in revseg.registry.REGISTRIES for part in revseg.names(kind)}
    assert not name or name in parts or any(_has(place, name) for place in places), f"{where} has no {name}"


def _has(place: object, name: str) -> bool:
    """True when the dotted name, or the member of a class or module of it, is there."""
    if name.startswith("revseg."):
        place, name = revseg, name.removeprefix("revseg.")
    first, _, rest = name.partition(".")
    inside = [place, *(value for value in vars(place).values() if isinstance(value, type))]
    for owner in inside:
        if hasattr(owner, first):
            return not rest or _has(getattr(owner, first), rest)
    inner = f"{getattr(place, '__name__', '')}.{name}"
    return inner in modules(ROOT / "revseg")
