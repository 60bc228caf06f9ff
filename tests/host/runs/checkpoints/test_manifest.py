import json
import os
import random

import pytest

from ppo_jax.host.runs.checkpoints import manifest
from ppo_jax.host.runs.checkpoints.manifest import DamageError, Facts, Manifest

LEAVES = {"params/kernel": {"shape": [2, 3], "dtype": "float32"}}


@pytest.fixture
def sealed(tmp_path):
    """A checkpoint of three files."""
    checkpoint = tmp_path / "0000000007"
    (checkpoint / "state" / "d").mkdir(parents=True)
    generator = random.Random(0)
    for name, size in (("state/_METADATA", 300), ("state/d/data", 2000), ("state/empty", 0)):
        (checkpoint / name).write_bytes(generator.randbytes(size))
    manifest.seal(checkpoint, Facts(7, 12.5, 0, "digest", LEAVES))
    return checkpoint


def files(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def assert_damaged(checkpoint, words=None):
    with pytest.raises(DamageError, match=words):
        manifest.verify(checkpoint)


def rewrite(checkpoint, **changes):
    """Writes the manifest with other values and a digest that fits, as an attacker could."""
    content = manifest.read(checkpoint)._asdict() | changes
    (checkpoint / manifest.NAME).write_bytes(manifest._encode(content))


def test_what_was_sealed_is_what_is_read(sealed):
    found = manifest.verify(sealed)
    assert found[:6] == (1, 7, 12.5, 0, "digest", LEAVES)
    assert found.files.keys() == {"state/_METADATA", "state/d/data", "state/empty"}
    assert found.files["state/d/data"]["size"] == 2000


def test_each_of_a_thousand_flipped_bits_is_found(sealed):
    generator = random.Random(1)
    targets = [path for path in files(sealed) if path.stat().st_size]
    for _ in range(1000):
        path = generator.choice(targets)
        good = path.read_bytes()
        bad = bytearray(good)
        bad[generator.randrange(len(bad))] ^= 1 << generator.randrange(8)
        path.write_bytes(bad)
        assert_damaged(sealed)
        path.write_bytes(good)
    manifest.verify(sealed)


def test_each_of_a_hundred_truncations_is_found(sealed):
    generator = random.Random(2)
    targets = [path for path in files(sealed) if path.stat().st_size]
    for _ in range(100):
        path = generator.choice(targets)
        good = path.read_bytes()
        path.write_bytes(good[: generator.randrange(len(good))])
        assert_damaged(sealed)
        path.write_bytes(good)
    manifest.verify(sealed)


def test_every_deleted_file_is_found(sealed):
    for path in files(sealed):
        good = path.read_bytes()
        path.unlink()
        assert_damaged(sealed, "missing")
        path.write_bytes(good)


def test_a_file_that_does_not_belong_there_is_found(sealed):
    (sealed / "state" / "d" / "stray.tmp").write_text("")
    assert_damaged(sealed, r"'state/d/stray.tmp' is not named")


def test_a_file_that_grew_is_found_without_reading_it(sealed, monkeypatch):
    with (sealed / "state" / "d" / "data").open("ab") as file:
        file.write(b"x")
    original = manifest._measure
    monkeypatch.setattr(manifest, "_measure", lambda path: 1 / 0 if path.name == "data" else original(path))
    assert_damaged(sealed, "size")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
@pytest.mark.parametrize("name", ["state/empty", "state/extra", "manifest.json"])
def test_links_and_pipes_are_refused_without_being_opened(sealed, name, make):
    (sealed / name).unlink(missing_ok=True)
    make(sealed / name)
    assert_damaged(sealed, "missing|plain file")


@pytest.mark.parametrize(
    "changes",
    [
        {"update": "7"},
        {"return_window": [1]},
        {"run_digest": None},
        {"rewinds": "none"},
        {"leaves": [1]},
        {"leaves": {"a": {"shape": 3, "dtype": "float32"}}},
        {"leaves": {"a": {"shape": [3]}}},
        {"files": {"state/d/data": 3}},
        {"extra": 1},
    ],
)
def test_values_of_wrong_types_are_refused_although_the_digest_fits(sealed, changes):
    rewrite(sealed, **changes)
    assert_damaged(sealed, "does not hold what a manifest holds")


def test_another_schema_is_named(sealed):
    rewrite(sealed, schema=2)
    assert_damaged(sealed, "schema 2")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "state/../../outside"])
def test_a_manifest_that_points_elsewhere_is_refused(sealed, name):
    (sealed.parent / "outside").write_bytes(b"")
    known = manifest.read(sealed).files
    rewrite(sealed, files={**known, name: known["state/empty"]})
    assert_damaged(sealed, "missing")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[1]", b'{"schema": NaN}', b"[" * 10**6, b'{"a":' * 10**5, b"9" * 10**5]
)
def test_a_manifest_that_is_not_json_is_refused(sealed, data):
    (sealed / manifest.NAME).write_bytes(data)
    assert_damaged(sealed, "JSON")


def test_a_manifest_of_a_gigabyte_is_refused_unread(sealed):
    os.truncate(sealed / manifest.NAME, 2**30)
    assert_damaged(sealed, "longer")


def test_the_manifest_is_the_last_file_and_everything_is_synced(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("data")
    synced = []
    original = manifest.sync
    monkeypatch.setattr(manifest, "sync", lambda path: (synced.append(path.name), original(path)))
    manifest.seal(tmp_path, Facts(1, None, 0, "digest", LEAVES))
    assert synced == ["data", "manifest.json", tmp_path.name]


def test_the_digest_inside_is_that_of_the_rest(sealed):
    content = json.loads((sealed / manifest.NAME).read_text())
    assert content.keys() == {*Manifest._fields, "sha256"}
    content["sha256"] = content["sha256"][::-1]
    (sealed / manifest.NAME).write_text(json.dumps(content, indent=1) + "\n")
    assert_damaged(sealed, "changed")
