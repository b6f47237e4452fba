"""LocalStore and digests: whole items or none, whatever happens to the writer."""

from __future__ import annotations

import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bentoml.exceptions import BentoMLException, CorruptedItem, NotFound
from bentoml.store import digests
from bentoml.store.local import LocalStore
from bentoml.tag import Tag

RECORD = "item.yaml"
SOURCES = Path(__file__).parent.parent / "src"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "models", kind="model", record_file=RECORD)


def save(store: LocalStore, tag: str, *, created: str = "2022-10-03T10:00:00+00:00", content: str = "x") -> Path:
    parsed = Tag.from_str(tag)
    with store.create(parsed) as folder:
        (folder / RECORD).write_text(f"creation_time: '{created}'\n")
        (folder / "sub").mkdir()
        (folder / "sub" / "data.txt").write_text(content)
    return store.root / parsed.path()


def at(second: int) -> str:
    return (
        datetime.datetime(2022, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=second)
    ).isoformat()


def left_in_staging(store: LocalStore) -> list[str]:
    return [path.name for path in (store.root / ".staging").iterdir() if path.suffix != ".name"]


# -- list, resolve, latest ---------------------------------------------------------------------------------------------


def test_a_store_that_is_not_there_is_empty_and_reading_does_not_make_it(store: LocalStore) -> None:
    assert store.list() == []
    assert store.list("iris:v1") == []
    with pytest.raises(NotFound, match=r"no model 'iris' in the store .*`bentoml models list` shows what there is"):
        store.get("iris")
    with pytest.raises(NotFound):
        store.delete("iris")
    assert not store.root.exists()


def test_items_are_listed_by_name_and_version_and_stray_files_are_not(store: LocalStore) -> None:
    for tag in ("b:1", "a:2", "a:10"):
        save(store, tag)
    (store.root / ".DS_store").write_text("")
    (store.root / "README").write_text("")
    (store.root / ".cache" / "v1").mkdir(parents=True)
    (store.root / "a" / "Upper").mkdir()
    (store.root / "a" / "half").mkdir()
    assert [str(tag) for tag in store.list()] == ["a:10", "a:2", "b:1"]
    assert [str(tag) for tag in store.list("a")] == ["a:10", "a:2"]
    assert [str(tag) for tag in store.list("a:2")] == ["a:2"]
    assert store.list("a:1") == []
    with pytest.raises(NotFound):
        store.list("c")


def test_an_older_item_does_not_become_the_latest(store: LocalStore) -> None:
    save(store, "iris:new", created=at(5))
    save(store, "iris:old", created=at(1))
    assert str(store.resolve("iris")) == "iris:new"
    save(store, "iris:same", created=at(5))
    assert str(store.resolve("iris:latest")) == "iris:same"
    assert (store.root / "iris" / "latest").read_text() == "same"
    assert [str(tag) for tag in store.list("iris:latest")] == ["iris:same"]


@pytest.mark.parametrize("content", [None, "gone", "../iris/b", "", "latest", "\xff\x00"])
def test_a_latest_file_that_leads_nowhere_is_made_up_for_without_writing(
    store: LocalStore, content: str | None
) -> None:
    save(store, "iris:a", created=at(2))
    save(store, "iris:b", created=at(1))
    latest = store.root / "iris" / "latest"
    if content is None:
        latest.unlink()
    else:
        latest.write_text(content, encoding="latin-1")
    before = latest.read_bytes() if latest.exists() else None
    assert str(store.resolve("iris")) == "iris:a"
    assert (latest.read_bytes() if latest.exists() else None) == before


def test_a_save_mends_a_latest_that_leads_nowhere(store: LocalStore) -> None:
    save(store, "iris:a", created=at(2))
    (store.root / "iris" / "latest").write_text("old")
    save(store, "iris:old", created=at(1))
    assert (store.root / "iris" / "latest").read_text() == "a"


def test_a_record_without_a_readable_time_is_older_than_all_others(store: LocalStore) -> None:
    save(store, "iris:a", created=at(1))
    save(store, "iris:b", created="yesterday")
    assert str(store.resolve("iris")) == "iris:a"


def test_an_unambiguous_beginning_of_a_version_is_enough_for_get(store: LocalStore) -> None:
    for version in ("otherprefix", "abc1", "abc2", "abc"):
        save(store, f"test:{version}")
    assert store.get("test:oth") == store.root / "test" / "otherprefix"
    assert store.get("test:abc") == store.root / "test" / "abc"
    with pytest.raises(
        BentoMLException, match=r"'test:ab' is ambiguous: 3 versions begin like that \(abc, abc1, abc2\)"
    ):
        store.get("test:ab")
    with pytest.raises(NotFound, match=r"did you mean 'test:abc1'"):
        store.get("test:abc11")
    with pytest.raises(NotFound, match=r"did you mean 'test'"):
        store.get("tset")


def test_a_tag_that_was_asked_for_stays_as_it_was(store: LocalStore) -> None:
    save(store, "iris:v1")
    tag = Tag("iris")
    assert store.resolve(tag) == Tag("iris", "v1")
    assert tag.version is None


# -- delete ------------------------------------------------------------------------------------------------------------


def test_deleting_moves_latest_to_the_newest_that_is_left(store: LocalStore) -> None:
    for number, version in enumerate(("a", "c", "b")):
        save(store, f"iris:{version}", created=at(number))
    assert store.delete("iris:latest") == [Tag("iris", "b")]
    assert (store.root / "iris" / "latest").read_text() == "c"
    assert store.delete("iris:c") == [Tag("iris", "c")]
    assert store.delete("iris:a") == [Tag("iris", "a")]
    assert not (store.root / "iris").exists()
    assert left_in_staging(store) == []


def test_deleting_a_name_deletes_all_its_versions(store: LocalStore) -> None:
    for tag in ("iris:a", "iris:b", "irises:a"):
        save(store, tag)
    assert [str(tag) for tag in store.delete("iris")] == ["iris:a", "iris:b"]
    assert [str(tag) for tag in store.list()] == ["irises:a"]


def test_a_beginning_of_a_version_is_not_enough_for_delete(store: LocalStore) -> None:
    save(store, "iris:abcdef")
    with pytest.raises(NotFound, match=r"no model 'iris:abc'.*did you mean 'iris:abcdef'"):
        store.delete("iris:abc")
    assert len(store.list("iris")) == 1


def test_what_another_writer_left_half_written_can_be_deleted(store: LocalStore) -> None:
    (store.root / "iris" / "half").mkdir(parents=True)
    with pytest.raises(BentoMLException, match=r"model 'iris:half' exists already .*delete it first"):
        save(store, "iris:half")
    assert store.delete("iris:half") == [Tag("iris", "half")]
    assert save(store, "iris:half").is_dir()


# -- saving ------------------------------------------------------------------------------------------------------------


def test_a_save_that_raises_leaves_nothing(store: LocalStore) -> None:
    with pytest.raises(ZeroDivisionError), store.create(Tag("iris", "v1")) as folder:  # noqa: PT012 - the block is what is tested
        (folder / "data").write_text("x")
        raise ZeroDivisionError
    assert store.list() == []
    assert left_in_staging(store) == []
    assert sorted(path.name for path in store.root.iterdir()) == [".staging"]


def test_a_tag_is_saved_once(store: LocalStore) -> None:
    path = save(store, "iris:v1", content="first")
    with pytest.raises(
        BentoMLException, match=r"model 'iris:v1' exists already .*delete it first, or save another version"
    ):
        save(store, "iris:v1", content="second")
    assert (path / "sub" / "data.txt").read_text() == "first"


def test_two_writers_of_one_tag_end_with_one_of_them(store: LocalStore) -> None:
    tag = Tag("iris", "v1")
    with pytest.raises(BentoMLException, match="exists already"), store.create(tag) as slow:  # noqa: PT012 - as above
        (slow / RECORD).write_text(f"creation_time: '{at(1)}'")
        save(store, "iris:v1", content="fast")
    assert (store.get(tag) / "sub" / "data.txt").read_text() == "fast"
    assert left_in_staging(store) == []


def test_latest_is_no_version_of_an_item(store: LocalStore) -> None:
    with pytest.raises(BentoMLException, match="'latest' always stands for the newest version"):
        save(store, "iris:latest")


def test_a_link_is_not_saved(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(BentoMLException, match="holds the link 'passwd'"), store.create(Tag("iris", "v1")) as folder:
        (folder / "passwd").symlink_to("/etc/passwd")
    assert store.list() == []


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "C:x", os.fsdecode(b"a\xff")])
def test_a_file_name_that_no_import_would_take_is_not_saved(store: LocalStore, name: str) -> None:
    with (
        pytest.raises(BentoMLException, match=r"holds the file name .* which is refused"),
        store.create(Tag("iris", "v1")) as folder,
    ):
        (folder / name).write_text("x")
    assert store.list() == []


# -- digests -----------------------------------------------------------------------------------------------------------


def test_the_digests_are_those_of_sha256sum(store: LocalStore) -> None:
    path = save(store, "iris:v1")
    assert [line.split("  ")[1] for line in (path / "SHA256SUMS").read_text().splitlines()] == [RECORD, "sub/data.txt"]
    tool = shutil.which("sha256sum")
    if tool is None:
        pytest.skip("sha256sum is not installed")
    subprocess.run([tool, "-c", "--strict", "SHA256SUMS"], cwd=path, check=True, capture_output=True)


def _change(path: Path) -> None:
    content = bytearray((path / "sub" / "data.txt").read_bytes())
    content[0] ^= 1
    (path / "sub" / "data.txt").write_bytes(content)


def _link(path: Path) -> None:
    (path / "sub" / "data.txt").rename(path.parent / "elsewhere")
    (path / "sub" / "data.txt").symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_change, r"the file 'sub/data.txt' in .* is not the one that was saved: its content changed"),
        (lambda path: (path / "sub" / "data.txt").unlink(), r"lacks the file 'sub/data.txt'"),
        (
            lambda path: (path / "sub" / "extra.py").write_text(""),
            r"holds the file 'sub/extra.py', which was not saved with it",
        ),
        (_link, r"holds the link 'sub/data.txt'"),
        (lambda path: os.mkfifo(path / "pipe"), r"holds the special file 'pipe'"),
        (
            lambda path: (path / "SHA256SUMS").write_text("abc\n"),
            r"line 1 of .*SHA256SUMS is not a digest and a file name",
        ),
        (lambda path: (path / "SHA256SUMS").write_bytes(b"\xff"), r"SHA256SUMS cannot be read"),
        (lambda path: (path / "SHA256SUMS").write_text(""), r"SHA256SUMS is not a digest|was not saved with it"),
    ],
)
def test_a_damaged_item_is_refused_with_the_file_named(
    store: LocalStore, damage: Callable[[Path], object], message: str
) -> None:
    path = save(store, "iris:v1")
    digests.verify(path)
    damage(path)
    with pytest.raises(CorruptedItem, match=message):
        digests.verify(path)


def test_an_item_without_digests_passes_because_bentoml_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    digests.verify(tmp_path)


# -- what may happen to a writer (T17) ---------------------------------------------------------------------------------

SAVE = """
import os, sys
from pathlib import Path
from bentoml.store.local import LocalStore
from bentoml.tag import Tag
import datetime
import yaml

store = LocalStore(Path(sys.argv[1]), kind="model", record_file="item.yaml")

def save(version, *, size=20_000):
    with store.create(Tag("iris", version)) as folder:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        (folder / "item.yaml").write_text(f"creation_time: '{now}'")
        for name in ("a", "b"):
            (folder / name).write_bytes(os.urandom(size))
"""


def run(
    script: str, root: Path, *, launcher: tuple[str, ...] = (), check: bool = True
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*launcher, sys.executable, "-c", SAVE + textwrap.dedent(script), str(root)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=120,
        check=check,
    )


def assert_whole(store: LocalStore) -> None:
    tags = store.list()
    for tag in tags:
        path = store.root / tag.path()
        assert sorted(file.name for file in path.iterdir()) == ["SHA256SUMS", "a", "b", RECORD]
        digests.verify(path)
    if tags:
        newest = max(tags, key=lambda tag: (store.root / tag.path() / RECORD).read_text())
        assert store.resolve("iris") == newest


def test_fifty_writers_at_once_leave_fifty_whole_items_and_the_newest_is_latest(store: LocalStore) -> None:
    script = """
        for number in range(50):
            if os.fork() == 0:
                save(f"v{number}")
                os._exit(0)
        sys.exit(any(os.wait()[1] for _ in range(50)))
    """
    run(script, store.root)
    assert len(store.list("iris")) == 50
    assert_whole(store)
    assert left_in_staging(store) == []


def test_fifty_writers_of_one_tag_leave_one_item(store: LocalStore) -> None:
    script = """
        for number in range(50):
            if os.fork() == 0:
                try:
                    save("same", size=100)
                except Exception as error:
                    os._exit(0 if "exists already" in str(error) else 2)
                os._exit(1)
        codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(50)]
        sys.exit(codes.count(1) != 1 or codes.count(0) != 49)
    """
    run(script, store.root)
    assert_whole(store)
    assert left_in_staging(store) == []


def test_savers_and_deleters_at_once_leave_whole_items(store: LocalStore) -> None:
    script = """
        for number in range(20):
            if os.fork() == 0:
                for turn in range(3):
                    save(f"v{number}.{turn}", size=100)
                    if number % 2:
                        store.delete(f"iris:v{number}.{turn}")
                os._exit(0)
        sys.exit(any(os.wait()[1] for _ in range(20)))
    """
    run(script, store.root)
    assert len(store.list("iris")) == 30
    assert_whole(store)
    assert left_in_staging(store) == []


def test_a_writer_killed_at_any_step_leaves_the_whole_item_or_nothing(store: LocalStore) -> None:
    # The interpreter reports each call that touches a file; the child dies at the first, the second, … of them.
    script = """
        save("first")
        step = 0
        while True:
            step += 1
            child = os.fork()
            if child == 0:
                left = [step]
                def count(event, args):
                    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "fcntl.flock"):
                        left[0] -= 1
                        if left[0] == 0:
                            os.kill(os.getpid(), 9)
                sys.addaudithook(count)
                save(f"v{step}")
                store.delete(f"iris:v{step}")
                os._exit(0)
            if os.waitstatus_to_exitcode(os.wait()[1]) == 0:
                break
            for folder in filter(Path.is_dir, (store.root / "iris").iterdir()):
                found = sorted(os.listdir(folder))
                assert found == ["SHA256SUMS", "a", "b", "item.yaml"], found
        print(step)
    """
    steps = int(run(script, store.root).stdout)
    assert steps > 40
    assert_whole(store)
    kept = {tag.version for tag in store.list()}
    assert "first" in kept
    assert "v1" not in kept
    assert len(kept) > 2
    save(store, "other:v1")
    assert left_in_staging(store) == []


def test_a_writer_killed_at_random_moments_leaves_whole_items(store: LocalStore) -> None:
    script = """
        for number in range(10_000):
            save(f"{sys.argv[0] and os.getpid()}.{number}")
            print("saved", flush=True)
    """
    chance = random.Random(7)
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVE + textwrap.dedent(script), str(store.root)],
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        try:
            child.wait(timeout=chance.random() / 20)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert_whole(store)
    save(store, "other:v1")
    assert left_in_staging(store) == []


def test_the_next_writer_removes_what_dead_writers_left_and_nothing_of_living_ones(store: LocalStore) -> None:
    with store.create(Tag("iris", "slow")) as folder:
        (folder / RECORD).write_text(f"creation_time: '{at(1)}'")
        run("draft = store.draft(); draft.__enter__().joinpath('x').write_text('x'); os._exit(0)", store.root)
        assert len(left_in_staging(store)) == 4
        save(store, "iris:other")
        assert len(left_in_staging(store)) == 2
        (folder / "late").write_text("still there")
    assert (store.get("iris:slow") / "late").read_text() == "still there"


MOUNTING = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture
def mounts() -> None:
    """A mount namespace of one's own, so that nothing can leak out of a test."""
    try:
        probe = subprocess.run([*MOUNTING, "mount", "-t", "tmpfs", "tmpfs", "/tmp"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if probe.returncode:
        pytest.skip(f"this user may not mount: {probe.stderr.strip()}")


@pytest.mark.usefixtures("mounts")
def test_a_full_disk_is_a_clear_error_and_nothing_half_listed_and_deleting_makes_room(tmp_path: Path) -> None:
    script = """
        import errno, json
        from bentoml.exceptions import BentoMLException
        from bentoml.store import digests
        filler = (store.root.parent / "filler").open("wb", buffering=0)
        def fill():
            try:
                while filler.write(b"x" * 1024):
                    pass
            except OSError:
                pass
        for number in range(5):
            save(f"v{number}")
        # Each round leaves a page more, so that the disk is full at another point of the save.
        fill()
        for pages in range(20):
            filler.truncate(filler.seek(0, 2) - 4096)
            failed = False
            try:
                save(f"page{pages}")
            except (BentoMLException, OSError) as error:
                cause = error if isinstance(error, OSError) else error.__cause__
                assert cause.errno == errno.ENOSPC, error
                failed = True
            if not failed:
                break
        listed = store.list()
        for tag in listed:
            digests.verify(store.get(tag))
        fill()
        store.delete("iris:v0")
        filler.truncate(0)
        save("after")
        left = [name for name in os.listdir(store.root / ".staging") if not name.endswith(".name")]
        print(json.dumps([pages, len(listed), len(store.list()), str(store.resolve("iris")), left]))
    """
    mount = 'mount -t tmpfs -o size=512k tmpfs "$0" && exec "$@"'
    done = run(script, tmp_path / "models", launcher=(*MOUNTING, "sh", "-c", mount, str(tmp_path)), check=False)
    assert done.returncode == 0, done.stderr
    pages, listed, at_the_end, latest, left = json.loads(done.stdout)
    assert 10 < pages < 19
    assert (listed, at_the_end) == (6, 6)
    assert latest == "iris:after"
    assert left == []


@pytest.mark.usefixtures("mounts")
def test_a_save_says_that_the_disk_is_full(tmp_path: Path) -> None:
    script = """
        filler = open(store.root.parent / "filler", "wb", buffering=0)
        with store.create(Tag("iris", "v1")) as folder:
            (folder / "item.yaml").write_text("creation_time: '2022-10-03T10:00:00+00:00'")
            try:
                while filler.write(b"x" * 4096):
                    pass
            except OSError:
                pass
    """
    mount = 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"'
    done = run(script, tmp_path / "models", launcher=(*MOUNTING, "sh", "-c", mount, str(tmp_path)), check=False)
    assert "cannot save model iris:v1 in the model store" in done.stderr
    assert (
        "No space left on device (hint: make room on that file system, or set BENTOML_HOME to another one)"
        in done.stderr
    )


@pytest.mark.usefixtures("mounts")
def test_a_read_only_store_is_read_and_says_so_when_it_is_written(store: LocalStore) -> None:
    run('save("a"); save("b")', store.root)
    (store.root / "iris" / "latest").unlink()
    script = """
        import json
        from bentoml.exceptions import BentoMLException
        from bentoml.store import digests
        digests.verify(store.get("iris"))
        errors = []
        for action in (lambda: save("c"), lambda: store.delete("iris:a")):
            try:
                action()
            except BentoMLException as error:
                errors.append(str(error))
        print(json.dumps([[str(tag) for tag in store.list()], str(store.resolve("iris:latest")), errors]))
    """
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    done = run(script, store.root, launcher=(*MOUNTING, "sh", "-c", mount, str(store.root)), check=False)
    assert done.returncode == 0, done.stderr
    listed, latest, errors = json.loads(done.stdout)
    assert listed == ["iris:a", "iris:b"]
    assert latest == "iris:b"
    hint = r"Read-only file system (hint: it is mounted read-only; set BENTOML_HOME to a folder that can be written)"
    assert errors == [
        f"cannot write in the model store {store.root}: {hint}",
        f"cannot delete model iris:a in the model store {store.root}: {hint}",
    ]
