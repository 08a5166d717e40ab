"""A bundle's folder is hostile input, and of its manifest only a part has a hash (operators D15)."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from oracle.circuits import bundle as files
from oracle.circuits import manifest as schemas
from oracle.circuits.bundle import Bundle
from oracle.circuits.card import card
from oracle.circuits.manifest import MOST_FILE, MOST_JSON, MOST_KEY
from oracle.circuits.srs import SrsSource
from oracle.errors import BundleInvalid
from oracle.node import _serve
from oracle.tensor import dequantize
from tests.sampling import sample

Json = dict[str, Any]
Change = Callable[[Json], object]
Load = Callable[[], Bundle]

DEEP = "[" * 200_000 + "]" * 200_000


@pytest.fixture(scope="module")
def master(iris_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On the disk of the tests' folders, so that a copy costs nothing."""
    return Path(shutil.copytree(iris_bundle.path, tmp_path_factory.mktemp("master") / "bundle"))


@pytest.fixture
def folder(master: Path, tmp_path: Path) -> Path:
    """A copy of the demo's bundle; all but the manifest are the same files."""
    made = tmp_path / "bundle"
    shutil.copytree(master, made, copy_function=os.link)
    text = (made / files.MANIFEST).read_text()
    replace(made / files.MANIFEST, text)
    return made


@pytest.fixture
def load(folder: Path, devnet_srs: SrsSource) -> Load:
    return lambda: Bundle.load(folder, devnet_srs.folder)


def change(folder: Path, how: Change) -> None:
    """Write the manifest anew; numbers as Python's JSON has them, NaN included."""
    manifest = json.loads((folder / files.MANIFEST).read_text())
    how(manifest)
    (folder / files.MANIFEST).write_text(json.dumps(manifest))


def refused(load: Load, *named: str) -> None:
    """Whether loading ends in one short line that names what is wrong."""
    with pytest.raises(BundleInvalid) as caught:
        load()
    line = caught.value.line()
    assert "\n" not in line
    assert len(line) < 500
    for name in named:
        assert name in line


def measure(name: str, value: object) -> Change:
    return lambda m: m["measures"][0].update({name: value})


def spec(name: str, value: object) -> Change:
    """A change of the specification with the hash that belongs to it."""

    def how(manifest: Json) -> None:
        manifest["spec"]["input"][name] = value
        manifest["bundle_id"] = files.spec_id(files.spec_from(manifest["spec"]))

    return how


REFUSED: dict[str, tuple[Change, str]] = {
    **{
        f"prove_seconds {value}": (measure("prove_seconds", value), "manifest.json")
        for value in (math.nan, math.inf, -math.inf)
    },
    **{
        f"prove_seconds {value}": (measure("prove_seconds", value), "prove_seconds")
        for value in (0, -1, -1e-9, 1e300, 86_401, 10**400, None, "1", True, [1], {})
    },
    "logrows 10**400": (measure("logrows", 10**400), "logrows"),
    "logrows 0": (measure("logrows", 0), "logrows"),
    "logrows 29": (measure("logrows", 29), "logrows"),
    "logrows 11.0": (measure("logrows", 11.0), "logrows"),
    "logrows of another circuit": (measure("logrows", 12), "logrows"),
    "proving key negative": (measure("proving_key_bytes", -1), "proving_key_bytes"),
    "memory beyond all": (measure("prove_memory_bytes", 2**63), "prove_memory_bytes"),
    "flag is a word": (measure("srs_unsafe", "no"), "srs_unsafe"),
    "agreement above one": (measure("label_agreement", 1.1), "label_agreement"),
    "a measure more": (measure("price", 1), "price"),
    "no measures": (lambda m: m.update(measures=[]), "measures"),
    "measures twice": (lambda m: m["measures"].append(m["measures"][0]), "manifest.json"),
    "length 10**400": (spec("length", 10**400), "length"),
    "length 0": (spec("length", 0), "length"),
    "scale negative": (spec("scale", -1), "scale"),
    "scale beyond floats": (spec("scale", 5000), "scale"),
    "width of none": (spec("width", 0), "width"),
    "minimum above maximum": (spec("minimum", 10**9), "minimum is above maximum"),
    "maximum is no integer": (spec("maximum", 1.5), "maximum"),
    "hash in capitals": (lambda m: m.update(bundle_id="A" * 64), "bundle_id"),
    "hash with a line's end": (lambda m: m.update(bundle_id="a" * 64 + "\n"), "bundle_id"),
    "codec unknown": (lambda m: m["spec"].update(codec=2), "codec"),
    "name empty": (lambda m: m.update(name=""), "name"),
    "name endless": (lambda m: m.update(name="a" * 1_000_000), "name"),
    "name moves a terminal's cursor": (lambda m: m.update(name="iris\x1b[2J"), "name"),
    "name of two lines": (lambda m: m.update(name="iris\ncritical: all lost"), "name"),
    "name is half a character": (lambda m: m.update(name="iris\ud800"), "name"),
    "name is a list": (lambda m: m.update(name=["iris"]), "name"),
    "promise wider than the contract's": (
        lambda m: m["promise"]["ranges"].__setitem__(0, [-1e6, 1e6]),
        "promise",
    ),
    "promise of too few elements": (lambda m: m["promise"]["ranges"].pop(), "promise"),
    "promise upside down": (
        lambda m: m["promise"]["ranges"].__setitem__(0, [1.0, -1.0]),
        "promise",
    ),
    "promise of a new kind": (lambda m: m["promise"].update(kind="always"), "promise.kind"),
    "error negative": (lambda m: m["error"].update(measured=-1.0), "measured"),
    "error not a number": (lambda m: m["error"].update(certified=math.nan), "manifest.json"),
    "labels are numbers": (lambda m: m["origin"].update(labels=[1, 2]), "labels"),
    "shape negative": (lambda m: m["origin"]["inputs"][0].update(shape=[-1]), "shape"),
    "plan of nothing": (lambda m: m["origin"].update(plan={}), "manifest.json"),
    "a field more": (lambda m: m.update({"x" * 5000: 1}), "manifest.json"),
    "files is a list": (lambda m: m.update(files=[]), "files"),
    "files lack one": (lambda m: m["files"].pop("pk.key"), "pk.key"),
}


@pytest.mark.parametrize(("how", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_manifest__values_that_cannot_be__are_named_in_one_line(
    folder: Path, load: Load, how: Change, named: str
) -> None:
    """Operators D15: NaN, huge and negative numbers, wrong types."""
    change(folder, how)
    refused(load, named)


@pytest.mark.parametrize(
    "text",
    [DEEP, '{"a":' * 200_000 + "1" + "}" * 200_000, "1" * 100_000, '{"format": 8, "name": NaN}'],
    ids=["lists", "objects", "digits", "nan"],
)
@pytest.mark.parametrize("file", [files.MANIFEST, files.VERIFIER])
def test_json__that_nobody_could_have_meant__is_invalid(
    folder: Path, load: Load, file: str, text: str
) -> None:
    """Operators D15: nested 200,000 deep, numbers without end."""
    replace(folder / file, text)
    if file != files.MANIFEST:
        change(folder, lambda m: m["files"].update({file: files.sha256_file(folder / file).hex()}))
    refused(load, file)


def replace(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize(
    "verifier",
    [
        [],
        {},
        {"abi": {}, "bytecode": "00"},
        {"abi": [], "bytecode": "0"},
        {"abi": [1], "bytecode": "00"},
    ],
)
def test_verifier__of_another_form__is_invalid(folder: Path, load: Load, verifier: object) -> None:
    replace(folder / files.VERIFIER, json.dumps(verifier))
    digest = files.sha256_file(folder / files.VERIFIER).hex()
    change(folder, lambda m: m["files"].update({files.VERIFIER: digest}))
    refused(load, files.VERIFIER)


def as_device(path: Path) -> None:
    """Nobody but root may make one; a link to one is what a publisher could send."""
    path.symlink_to("/dev/zero")


def as_large(most: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, most + 1)

    return make


SPECIAL: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": as_device,
    "link to nothing": lambda path: path.symlink_to("/nowhere"),
    "link to a secret": lambda path: path.symlink_to("/etc/hostname"),
    "link to itself": lambda path: path.symlink_to(path.name),
}
ALL_FILES = (*files.FILES, files.CANDIDATES, files.PLOT, files.CARD, files.MANIFEST)


@pytest.mark.parametrize("file", ALL_FILES)
@pytest.mark.parametrize("kind", SPECIAL)
def test_file__that_is_none__is_refused_and_not_waited_for(
    folder: Path, load: Load, file: str, kind: str
) -> None:
    """Operators D15: pk.key -> /dev/zero and a FIFO were read without end."""
    (folder / file).unlink()
    SPECIAL[kind](folder / file)
    refused(load, file)


@pytest.mark.parametrize(
    ("file", "most"),
    [(files.PROVING_KEY, MOST_KEY), (files.MODEL, MOST_FILE), (files.MANIFEST, MOST_JSON)],
)
def test_file__huge__is_refused_unread(folder: Path, load: Load, file: str, most: int) -> None:
    (folder / file).unlink()
    as_large(most)(folder / file)
    refused(load, file, "MiB")


def test_folder_of_a_batch__link__is_refused(folder: Path, load: Load, tmp_path: Path) -> None:
    """What lies outside of the bundle may change behind its back."""

    def how(manifest: Json) -> None:
        batch = {
            name: manifest["spec"][name]
            for name in ("settings_hash", "vk_hash", "srs_hash", "verifier_code_hash", "verify_gas")
        }
        manifest["spec"]["batches"] = [{"size": 32, **batch}]
        manifest["bundle_id"] = files.spec_id(files.spec_from(manifest["spec"]))
        manifest["measures"] *= 2

    change(folder, how)
    (folder / "batch32").symlink_to(tmp_path)
    refused(load, "batch32", "link")


def test_prove_seconds__longer_than_a_proof_may_take__is_not_believed(
    folder: Path, load: Load
) -> None:
    """Operators D15: what a publisher says of his times turns away no request for good."""
    change(folder, measure("prove_seconds", 86_400))
    assert _serve(load(), 600).circuits[0].prove_seconds == 600
    change(folder, measure("prove_seconds", 2))
    assert _serve(load(), 600).circuits[0].prove_seconds == 2


WORST = (
    *(math.nan, math.inf, -math.inf, 0, -1, 1, 2**63, 10**400, -(10**400), 1e308, 0.5),
    *(None, True, "", "\x00", "\ud800", "NaN", "0x10", "../../etc/passwd", "a" * 10_000),
    *([], [[]], {}, {"": None}, [None] * 3, ["/dev/zero"]),
)


def places(value: object, way: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The way to each value in a manifest."""
    if way:
        yield way
    pairs = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        pairs = enumerate(value)
    for key, item in pairs:
        yield from places(item, (*way, key))


def mutate(manifest: Json, random_: random.Random) -> None:
    """Replace, remove, double or swap a value somewhere."""
    ways = sorted(places(manifest), key=str)
    *way, last = random_.choice(ways)
    inner: Any = manifest
    for key in way:
        inner = inner[key]
    match random_.randrange(8):
        case 0:
            del inner[last]
        case 1:
            *other, end = random_.choice(ways)
            found: Any = manifest
            for key in other:
                found = found[key]
            inner[last] = copy.deepcopy(found[end])
        case 2 if isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        case 3 if isinstance(inner, dict):
            inner[random_.choice(["", "x", "__class__", "size"])] = inner[last]
        case 4 if type(inner[last]) in (int, float):
            inner[last] *= random_.choice([-1, 0, 2, 10**9, 1.5])
        case _:
            inner[last] = copy.deepcopy(random_.choice(WORST))


@pytest.mark.parametrize("seed", sample("hostile manifests", range(100), 20))
def test_manifest__mutated_at_random__is_refused_or_harmless(
    folder: Path, load: Load, iris_bundle: Bundle, seed: int
) -> None:
    """Operators D15: whatever is written into it, no crash, no number that no proof could have."""
    random_ = random.Random(seed)
    original = (folder / files.MANIFEST).read_text()
    outcomes = set()
    for _ in range(12):
        manifest = json.loads(original)
        for _ in range(random_.randint(1, 2)):
            mutate(manifest, random_)
        (folder / files.MANIFEST).write_text(json.dumps(manifest))
        try:
            bundle = load()
        except BundleInvalid:
            refused(load)
            outcomes.add("refused")
            continue
        # All that money or a decision depends on is what it was, or within its bounds.
        assert bundle.spec == iris_bundle.spec
        assert bundle.bundle_id == iris_bundle.bundle_id
        assert bundle.circuit.srs_hash == iris_bundle.circuit.srs_hash
        assert 0 < _serve(bundle, 600).circuits[0].prove_seconds <= 600
        assert bundle.name.isprintable()
        given = bundle.spec.input
        for each in bundle.stated.ranges:
            assert dequantize(given.minimum, given.scale) <= each.low
            assert each.high <= dequantize(given.maximum, given.scale)
        shown = [files.origin_json(bundle.origin), files.stated_json(bundle.stated)]
        assert json.dumps(shown, allow_nan=False)
        assert card(
            bundle.name, bundle.spec, bundle.origin, bundle.stated, [bundle.measures]
        ).encode()
    assert "refused" in outcomes


@pytest.mark.parametrize(
    ("schema", "values"),
    [(schemas._Origin, files.Origin), (schemas._Measures, files.Measures)],
)
def test_schema__has_each_field_that_a_build_writes(schema: type[BaseModel], values: type) -> None:
    """One that is added there and not here would make every bundle invalid."""
    assert set(schema.model_fields) == {field.name for field in dataclasses.fields(values)}
