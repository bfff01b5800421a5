import functools
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from parts import built

import revseg
from revseg.errors import SpecError
from revseg.registry import REGISTRIES, Registry, options_of, registry, spec_of
from revseg.spec import format_spec, parse_spec
from revseg.testing import check_parser, check_reward, check_tracker, moving_squares

KINDS = ("policy", "plan", "prompt", "parser", "reward", "tracker", "objective", "sampler", "dataset")
KINDS += ("checkpoint", "codec")
PLUGIN = Path(__file__).parent / "plugin_package"

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


# Spec text


@given(NAMES, st.dictionaries(NAMES, VALUES, max_size=3))
@example("a", {"b": {"\\": ["}", None]}, "c": "\\"})
@example("a", {"path": "C:\\x\\", "b": "it's, 'quoted'", "c": "None", "d": "1", "e": "", "f": " "})
@example("a", {"b": "['x']", "c": "(1, 2)", "d": ["'", '"', ","]})
def test_spec_text_and_back(name, options):
    assert parse_spec(format_spec(name, options)) == (name, options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("box", ("box", {})),
        ("box:size=840", ("box", {"size": 840})),
        ("box: size = 840 , label = a dog ", ("box", {"size": 840, "label": "a dog"})),
        ("a:x=1.5,y=True,z=none,w=1e-3", ("a", {"x": 1.5, "y": True, "z": None, "w": 1e-3})),
        ("a:x=[1, 2],y={'a': None}", ("a", {"x": [1, 2], "y": {"a": None}})),
        ("a:x=['one', 'two, three']", ("a", {"x": ["one", "two, three"]})),
        ("a:x='1',y=it's", ("a", {"x": "1", "y": "it's"})),
        ("a:path=b/c.py:d", ("a", {"path": "b/c.py:d"})),
        (r"a:folder='C:\',y=2", ("a", {"folder": "C:\\", "y": 2})),
        ("b/c.py:d", ("b/c.py:d", {})),
        ("b/c.py:d:x=1,y=2", ("b/c.py:d", {"x": 1, "y": 2})),
        ("b.c:d:x=1", ("b.c:d", {"x": 1})),
    ],
)
def test_spec_by_hand(text, expected):
    assert parse_spec(text) == expected


@pytest.mark.parametrize("text", [":a=1", "", "a:b=1,c", "a:b=1,2", "a:b=1,b=2", "a:b=1,,c=2"])
def test_spec_that_cannot_be_read(text):
    with pytest.raises(SpecError, match="cannot read the spec"):
        parse_spec(text)


# Names


@pytest.mark.parametrize("kind", KINDS)
def test_a_registry_contains_its_names_and_no_other(kind: str):
    known = REGISTRIES[kind]
    assert all(name in known for name in known.names())
    assert not any(name in known for name in ("no_such_part", "", None, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_parts_and_each_says_what_it_does(kind):
    assert set(REGISTRIES) == set(KINDS)
    names = revseg.names(kind)
    assert names == sorted(names)
    assert names
    for name in names:
        part = registry(kind).get(name)
        assert (part.__doc__ or "").strip(), f"{kind} {name} has no docstring"
        assert all(option.isidentifier() for option in options_of(part))


def test_unknown_names_name_the_nearest():
    with pytest.raises(SpecError, match=r"unknown reward: 'spacial'. Did you mean 'spatial'\? Known: .*temporal"):
        revseg.build("reward", "spacial")
    with pytest.raises(SpecError, match=r"unknown kind: 'rewards'. Did you mean 'reward'\?"):
        revseg.build("rewards", "spatial")
    with pytest.raises(SpecError, match=r"unknown option of reward 'spatial': 'treshold'. Did you mean 'threshold'\?"):
        revseg.build("reward", "spatial:treshold=1")
    with pytest.raises(SpecError, match="sampler 'at' needs frames: write at:frames="):
        revseg.build("sampler", "at")
    with pytest.raises(SpecError, match="expected uniform:option=value, got 'size'"):
        revseg.build("sampler", "uniform:size")
    with pytest.raises(SpecError, match='expected a "name"'):
        revseg.build("reward", {"threshold": 1})


# Registering


def part(*, size=3):
    """A function as a part."""
    return size


class Part:
    """A class as a part."""

    def __init__(self, size=3):
        self.size = size


def fresh():
    return Registry("thing", "revseg.rewards")


def test_register_returns_the_part_and_build_builds_it():
    things = fresh()
    assert things.register("part")(part) is part
    assert things.build("part") is part
    assert things.build("part:size=5")() == 5
    things.register("class_part")(Part)
    assert things.build({"name": "class_part", "size": 7}).size == 7
    assert things.build("class_part").size == 3
    assert things.build(part) is part
    assert things.names() == ["class_part", "part"]


def test_a_taken_name_is_an_error():
    things = fresh()
    things.register("part")(part)
    with pytest.raises(SpecError, match=r"thing 'part' is taken by .*:part; choose another"):
        things.register("part")(Part)
    things.register("part")(part)  # the same again
    source = "def cell():\n    return {}\n"
    for version in (1, 2):  # a notebook cell run twice: the later one counts
        scope = {"__name__": "notebook"}
        exec(source.format(version), scope)
        things.register("cell")(scope["cell"])
    assert things.build("cell")() == 2


@pytest.mark.parametrize("make", [lambda: lambda: 0, lambda: functools.partial(part, size=1), Part])
def test_things_without_a_name_of_their_own_do_not_replace_one_another(make):
    things = fresh()
    things.register("x")(make())
    with pytest.raises(SpecError, match="taken"):
        things.register("x")(make())


@pytest.mark.parametrize("name", ["", "A", "a-b", "a b", "1a", "a:b", "ä"])
def test_names_are_plain(name):
    with pytest.raises(SpecError, match="lower-case"):
        fresh().register(name)


# Anything importable


def test_file_and_module(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text("def half(rollout, truth, *, of=1.0):\n    return of / 2\n")
    assert built("reward", f"{path}:half:of=0.5")(None, None) == 0.25
    monkeypatch.chdir(tmp_path)
    assert built("reward", "mine.py:half")(None, None) == 0.5
    assert revseg.build("reward", "revseg.rewards.spatial:spatial") is revseg.build("reward", "spatial")
    with pytest.raises(SpecError, match=r"unknown name in mine.py: 'hlaf'. Did you mean 'half'"):
        revseg.build("reward", "mine.py:hlaf")
    with pytest.raises(SpecError, match=r"no file 'theirs.py'"):
        revseg.build("reward", "theirs.py:half")
    with pytest.raises(SpecError, match="No module named 'nowhere'"):
        revseg.build("reward", "nowhere:half")


def test_what_a_record_holds():
    assert spec_of("a:b=1") == "a:b=1"
    assert spec_of({"name": "a", "b": 1}) == {"name": "a", "b": 1}
    spatial = registry("reward").get("spatial")
    assert spec_of(spatial) == "revseg.rewards.spatial:spatial"
    bound = spec_of(functools.partial(spatial, threshold=0.7))
    assert bound == {"name": "revseg.rewards.spatial:spatial", "threshold": 0.7}
    assert built("reward", bound).keywords == {"threshold": 0.7}
    for unnamed in (lambda: 0, Part(), functools.partial(part, 1)):  # pyright: ignore[reportCallIssue]
        record = spec_of(unnamed)
        assert set(record) == {"object"}
        with pytest.raises(SpecError, match="name"):
            revseg.build("reward", record)


# Light imports, in a process of their own


def run(code, *paths):
    script = "import sys\n" + "".join(f"sys.path.insert(0, {str(p)!r})\n" for p in paths) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


HEAVY = ("torch", "transformers", "cv2", "sam2", "hypothesis", "openai", "av")


def test_listing_imports_nothing_heavy():
    loaded = run(
        f"""
        import revseg
        for kind in {KINDS}:
            revseg.names(kind)
        print(*(name for name in {HEAVY} if name in sys.modules))
        """
    )
    assert loaded == []


# The plug-in package


@pytest.fixture
def installed(tmp_path):
    """The folders that an installation of the package would put on the path, made without pip: no network in tests."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    info = tmp_path / "revseg_corner-0.1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, parts in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in parts.items()))]
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    return tmp_path, PLUGIN / "src"


@pytest.fixture
def plugin(installed, monkeypatch):
    """The package installed for one test; the registries are as before after it."""
    for path in installed:
        monkeypatch.syspath_prepend(path)
    for each in REGISTRIES.values():
        monkeypatch.setattr(each, "_parts", dict(each._parts))
        monkeypatch.setattr(each, "_loaded", set(each._loaded))
    yield
    for name in [name for name in sys.modules if name.startswith("revseg_corner")]:
        del sys.modules[name]


def test_plugin_is_listed_without_being_imported(installed):
    found = run(
        """
        import revseg
        print(revseg.names("reward").count("corner"), revseg.names("policy").count("unlicensed"))
        print("revseg_corner" in sys.modules)
        revseg.build("reward", "corner")
        print(*sorted(name for name in sys.modules if name.startswith("revseg_corner.")))
        """,
        *installed,
    )
    assert found == ["1", "1", "False", "revseg_corner.rewards"]


@pytest.mark.usefixtures("plugin")
def test_plugin_parts_keep_their_contracts():
    check_reward("corner", examples=20)
    check_reward("corner:reach=0.1", examples=20)
    check_parser("plain_keyframe", examples=20)
    check_tracker("still")
    with pytest.raises(ImportError, match="licence server"):
        revseg.build("policy", "unlicensed")


@pytest.mark.usefixtures("plugin")
def test_plugin_parts_make_a_model():
    scene = moving_squares(frames=5, size=(40, 40), step=0)
    x1, y1, x2, y2 = scene.truth.boxes[0] * 112
    model = revseg.ReVSeg(
        policy={"name": "scripted", "replies": ["1: the square", f"[[{x1}, {y1}, {x2}, {y2}]]"]},
        tracker="still",
        plan=[("plain_question:word=When?", "plain_keyframe"), ("box_terse", "box_json")],
        sampler="ends",
        rewards={"corner:reach=0.2": 1.0, "spatial": 0.5},
    )
    again = revseg.ReVSeg.from_dict(model.to_dict())
    result = again.segment(scene.video, scene.query, truth=scene.truth)
    assert result.rollout.clip.frame_ids.tolist() == [0, 4]
    assert result.rollout.turns[0].prompt.text == "the square that moves When?"
    assert result.rewards is not None
    assert result.rewards.values == pytest.approx({"corner:reach=0.2": 1, "spatial": 1}, abs=1e-5)
    np.testing.assert_array_equal(result.masks.dense(), scene.truth.dense())


@pytest.mark.usefixtures("plugin")
def test_two_packages_cannot_claim_one_name(tmp_path):
    other = tmp_path / "other-1.dist-info"
    other.mkdir()
    other.joinpath("METADATA").write_text("Name: other\nVersion: 1\n")
    other.joinpath("entry_points.txt").write_text(
        "[revseg.reward]\ncorner = revseg_corner.replies:plain_keyframe\nspatial = revseg_corner.rewards:corner\n"
    )
    with pytest.raises(SpecError, match="reward 'corner' is taken by"):
        revseg.build("reward", "corner")
    REGISTRIES["reward"]._loaded.discard("spatial")
    with pytest.raises(SpecError, match=r"reward 'spatial' is taken by revseg.rewards.spatial:spatial"):
        revseg.build("reward", "spatial")
