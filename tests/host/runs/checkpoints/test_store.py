import os
import random
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.errors import UsageError
from ppo_jax.host.runs.checkpoints import arrays, directories, manifest, store
from ppo_jax.host.runs.checkpoints.arrays import SaveError
from ppo_jax.host.runs.checkpoints.manifest import DamageError
from ppo_jax.host.runs.checkpoints.store import Progress, Store


def make_state(value):
    return {"params": jnp.full(5, value), "key": jax.random.key(1), "count": jnp.int32(3)}


TEMPLATE = jax.eval_shape(make_state, 1.0)


def value_of(state):
    return float(state["params"][0])


def names(target):
    return sorted(path.name for path in target.path.iterdir())


@pytest.fixture
def target(tmp_path):
    return Store(tmp_path / "checkpoints", "digest", keep=2)


@pytest.fixture
def filled(target):
    """Checkpoints of updates 1 and 2."""
    for update in (1, 2):
        store.save(target, make_state(float(update)), Progress(update, None, 0))
    return target


def load(target):
    told = []
    found = store.load_newest(target, TEMPLATE, told.append)
    return None if found is None else (found[0].update, value_of(found[1])), told


def test_the_newest_is_loaded(filled):
    assert load(filled) == ((2, 2.0), [])
    assert names(filled) == ["0000000001", "0000000002"]


def test_without_checkpoints_there_is_nothing_to_load(target):
    assert load(target) == (None, [])
    target.path.mkdir()
    assert load(target) == (None, [])


def test_the_newest_are_kept_and_the_best_beside_them(target):
    for update, value in enumerate([1.0, 9.0, 2.0, 3.0, 9.0, None, 4.0, 5.0], 1):
        store.save(target, make_state(float(update)), Progress(update, value, 0))
    assert names(target) == ["0000000005", "0000000007", "0000000008"]
    best = directories.best(list(directories.readable(target.path)))
    assert (best.manifest.update, best.manifest.return_window) == (5, 9.0)


def test_without_any_return_no_checkpoint_is_the_best(filled):
    with pytest.raises(ppo_jax.UsageError, match="has no checkpoint with a mean return of 100 episodes"):
        directories.find_best(filled.path)
    store.save(filled, make_state(3.0), Progress(3, -7.0, 0))
    assert directories.find_best(filled.path).manifest.update == 3


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_state_that_is_not_finite_is_never_saved(filled, value):
    with pytest.raises(SaveError, match="params is not finite"):
        store.save(filled, make_state(value), Progress(3, None, 0))
    assert names(filled) == ["0000000001", "0000000002"]


def damage_by_flipping_a_bit(generator, checkpoint):
    path = generator.choice([path for path in files(checkpoint) if path.stat().st_size])
    data = bytearray(path.read_bytes())
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    path.write_bytes(data)


def damage_by_truncation(generator, checkpoint):
    path = generator.choice([path for path in files(checkpoint) if path.stat().st_size])
    os.truncate(path, generator.randrange(path.stat().st_size))


def damage_by_emptying(generator, checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


def damage_by_a_file_in_its_place(generator, checkpoint):
    shutil.rmtree(checkpoint)
    checkpoint.write_text("")


def damage_by_a_stray_file(generator, checkpoint):
    (checkpoint / "state" / "manifest.ocdbt.__lock").write_text("")


def damage_by_a_link(generator, checkpoint):
    checkpoint.rename(checkpoint.parent / "elsewhere")
    checkpoint.symlink_to(checkpoint.parent / "elsewhere")


def damage_by_another_name(generator, checkpoint):
    checkpoint.rename(checkpoint.parent / "0000000009")


def files(checkpoint):
    return sorted(path for path in checkpoint.rglob("*") if path.is_file())


def assert_falls_back(target, damage, generator):
    damage(generator, target.path / "0000000002")
    found, told = load(target)
    assert found == (1, 1.0)
    assert len(told) == 1
    assert "is damaged and skipped" in told[0]


ONCE = [
    *[damage_by_emptying, damage_by_a_file_in_its_place, damage_by_a_stray_file],
    *[damage_by_a_link, damage_by_another_name],
]
OFTEN = [damage_by_flipping_a_bit, damage_by_truncation]


@pytest.mark.parametrize("damage", [*ONCE, *OFTEN])
def test_a_damaged_checkpoint_is_reported_set_aside_and_the_one_before_it_loaded(filled, damage):
    assert_falls_back(filled, damage, random.Random(0))
    assert load(filled) == ((1, 1.0), [])
    assert any(name.endswith(".damaged1") for name in names(filled))
    store.save(filled, make_state(4.0), Progress(2, None, 0))  # under the name that the damaged one had
    assert load(filled) == ((2, 4.0), [])


def test_without_any_one_of_its_files_a_checkpoint_is_not_loaded(filled, tmp_path):
    for number, path in enumerate(files(filled.path / "0000000002")):
        copy = filled._replace(path=tmp_path / f"copy{number}")
        shutil.copytree(filled.path, copy.path)
        (copy.path / path.relative_to(filled.path)).unlink()
        assert_falls_back(copy, lambda *_: None, None)


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "times"), [(OFTEN[0], 1000), (OFTEN[1], 100)])
def test_whatever_happens_to_the_newest_the_one_before_it_is_loaded(filled, tmp_path, damage, times):
    generator = random.Random(1)
    for number in range(times):
        copy = filled._replace(path=tmp_path / f"copy{number}")
        shutil.copytree(filled.path, copy.path)
        assert_falls_back(copy, damage, generator)
        shutil.rmtree(copy.path)


def test_what_a_crash_left_behind_is_neither_loaded_nor_in_the_way(filled):
    for name in (directories.SAVING, directories.REMOVING):
        shutil.copytree(filled.path / "0000000001", filled.path / name)
    (filled.path / "0000000007.orbax-checkpoint-tmp").mkdir()
    assert load(filled) == ((2, 2.0), [])
    store.save(filled, make_state(3.0), Progress(3, None, 0))
    assert load(filled) == ((3, 3.0), [])
    assert directories.SAVING not in names(filled)


def test_where_no_checkpoint_is_good_nothing_is_changed(filled):
    for name in ("0000000001", "0000000002"):
        (filled.path / name / manifest.NAME).unlink()
    with pytest.raises(DamageError, match="none of the checkpoints"):
        load(filled)
    assert names(filled) == ["0000000001", "0000000002"]


def test_checkpoints_of_another_request_or_network_are_refused(filled):
    with pytest.raises(DamageError, match="none"):
        load(filled._replace(run_digest="another"))
    before = sorted(filled.path.rglob("*"))
    with pytest.raises(UsageError, match=r"is good, but the environment, .* has changed since: more is new"):
        store.load_newest(filled, {**TEMPLATE, "more": TEMPLATE["count"]}, print)
    assert sorted(filled.path.rglob("*")) == before


SETTINGS = {
    "JAX_ENABLE_X64": {"x": np.zeros(3), "count": np.int64(0), "mask": np.zeros(2, bool)},
    "JAX_DEFAULT_PRNG_IMPL": {
        "x": np.zeros(3, np.float32),
        "count": np.int32(0),
        "mask": np.zeros(2, bool),
        "key": np.zeros((8, 4), np.uint32),
    },
    "the environment, the network or a setting of JAX": {
        "x": np.zeros(2, np.float32),
        "count": np.int32(0),
        "mask": np.zeros(2, bool),
    },
}


@pytest.mark.parametrize("cause", SETTINGS)
def test_the_setting_of_jax_that_has_changed_is_named(cause, tmp_path):
    now = {"x": np.zeros(3, np.float32), "count": np.int32(0), "mask": np.zeros(2, bool)}
    if "key" in SETTINGS[cause]:
        now["key"] = np.zeros((8, 2), np.uint32)
    place = Store(tmp_path / "checkpoints", "digest", 3)
    store.save(place, SETTINGS[cause], Progress(1, None, 0))
    with pytest.raises(UsageError, match=f"is good, but .*{cause} has changed since"):
        store.load_newest(place, now, print)


STAGES = {
    "arrays": (arrays, "write"),
    "manifest": (manifest, "seal"),
    "sync": (manifest, "sync"),
    "rename": (Path, "rename"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_save_that_fails_at_any_stage_leaves_the_older_ones_whole(filled, monkeypatch, stage):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*STAGES[stage], fail)
        with pytest.raises(OSError, match="No space left"):
            store.save(filled, make_state(3.0), Progress(3, None, 0))
    assert load(filled) == ((2, 2.0), [])
    store.save(filled, make_state(3.0), Progress(3, None, 0))
    assert load(filled) == ((3, 3.0), [])


def test_a_checkpoint_that_is_being_removed_is_never_half_there(filled, monkeypatch):
    """The directory loses its name before the first of its files goes."""
    removed = []
    original = shutil.rmtree
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, **kw: (removed.append(path.name), original(path, **kw))
    )
    store.save(filled, make_state(3.0), Progress(3, None, 0))
    assert set(removed) == {directories.SAVING, directories.REMOVING}
    assert names(filled) == ["0000000002", "0000000003"]


def test_a_claim_of_a_terabyte_is_refused_before_anything_is_read(filled, monkeypatch):
    checkpoint = filled.path / "0000000002"
    content = manifest.read(checkpoint)
    leaves = {**content.leaves, "params": {"shape": [10**12], "dtype": "float32"}}
    (checkpoint / manifest.NAME).write_bytes(manifest._encode(content._replace(leaves=leaves)._asdict()))
    monkeypatch.setattr(arrays, "read", lambda *_: 1 / 0)
    with pytest.raises(UsageError, match=r"params was float32\[1000000000000\] and is float32"):
        store.load(filled, directories.read(checkpoint), TEMPLATE)


def test_stored_arrays_that_claim_a_terabyte_are_refused_before_they_are_unpacked(tmp_path):
    """What Orbax itself finds may differ from the manifest, if an attacker made both."""
    import tensorstore

    path = tmp_path / "state"
    arrays.write(path, arrays.leaves(make_state(1.0)))
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "ocdbt", "base": f"file://{path}/state/", "path": "params/"},
        "metadata": {
            "shape": [10**12],
            "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**12]}},
        },
    }
    tensorstore.open(spec, create=True, delete_existing=True).result()
    with pytest.raises(DamageError, match="arrays are not those of this run"):
        arrays.read(path, TEMPLATE)


def test_checkpoints_are_in_the_order_of_their_updates_beyond_ten_digits_too(target):
    for update in (9_999_999_999, 10_000_000_000, 10_000_000_001):
        store.save(target, make_state(float(update % 10)), Progress(update, None, 0))
    assert names(target) == ["10000000000", "10000000001"]  # two are kept
    assert load(target) == ((10_000_000_001, 1.0), [])
