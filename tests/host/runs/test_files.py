import os
import threading

import pytest

import ppo_jax
from ppo_jax.host.runs import files


@pytest.fixture(params=[files.whole, files.output], ids=["whole", "output"])
def writing(request):
    return request.param


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def test_a_file_is_replaced_by_what_was_written(tmp_path, writing):
    path = tmp_path / "a.txt"
    for text in ("old", "new"):
        with writing(path) as draft:
            assert draft.parent == path.parent  # or it could not take its place in one step
            draft.write_text(text)
        assert path.read_text() == text
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_after_a_failure_the_old_file_is_there_and_no_draft(tmp_path, writing, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with writing(path) as draft:
            draft.write_text("half of it")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("stage", ["touch", "write_text", "sync", "replace"])
def test_a_full_disk_at_any_stage_is_an_error_with_the_name_of_the_file(tmp_path, monkeypatch, stage):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files if stage == "sync" else type(path), stage, fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.json'"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


def write_output(path):
    with files.output(path) as draft:
        draft.write_text("new")


def test_the_directory_of_an_output_is_made(tmp_path):
    path = tmp_path / "deep" / "down" / "a.txt"
    write_output(path)
    assert path.read_text() == "new"


def test_an_output_that_cannot_be_written_is_a_mistake_of_the_user(tmp_path):
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "deep" / "a.txt", tmp_path):
        with pytest.raises(ppo_jax.UsageError) as caught:
            write_output(path)
        assert str(caught.value).startswith(f"output = '{path}' cannot be written: ")
        assert str(caught.value).endswith("; give another path")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_the_reason_of_a_library_is_told(tmp_path):
    """Pillow raises errors of the operating system that the operating system knows nothing of."""

    def save():
        with files.output(tmp_path / "a.gif"):
            raise OSError("encoder error -2")

    with pytest.raises(ppo_jax.UsageError, match=r"a\.gif' cannot be written: encoder error -2; give"):
        save()


def test_a_reader_sees_the_old_content_or_the_new_and_nothing_between(tmp_path):
    path, texts, seen = tmp_path / "a.txt", ("a" * 100_000, "b" * 200_000), set()
    path.write_text(texts[0])
    done = threading.Event()

    def read():
        while not done.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(100):
        with files.whole(path) as draft, draft.open("w") as file:
            text = texts[turn % 2]
            file.write(text[:50_000])
            file.flush()
            file.write(text[50_000:])
    done.set()
    reader.join()
    assert seen == set(texts)


def test_what_is_written_is_on_the_disk_before_it_takes_the_place_of_the_old(tmp_path, monkeypatch):
    """Otherwise a loss of power could leave an empty file under the name of a whole one."""
    events, path = [], tmp_path / "a.txt"
    sync, replace = files.sync, type(path).replace

    def note_sync(target):
        events.append(("sync", target.name))
        sync(target)

    def note_replace(draft, target):
        events.append(("replace", target.name))
        return replace(draft, target)

    monkeypatch.setattr(files, "sync", note_sync)
    monkeypatch.setattr(type(path), "replace", note_replace)
    with files.whole(path) as draft:
        draft.write_text("new")
    assert events == [("sync", draft.name), ("replace", "a.txt"), ("sync", tmp_path.name)]


def test_json_is_strict_and_replaced_whole(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": 1}
    assert names(tmp_path) == ["a.json"]


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, files.MAX_JSON_BYTES + 1)
    with pytest.raises(ppo_jax.UsageError, match="longer than"):
        files.read_json(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"7", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_one_json_object_is_damaged(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ppo_jax.UsageError, match=r"a\.json' .*; it is damaged"):
        files.read_json(path)


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(ppo_jax.UsageError, match=r"a\.json' is missing"):
        files.read_json(tmp_path / "a.json")
