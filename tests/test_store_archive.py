"""Archives: what goes out comes back whole, and what comes from elsewhere is believed in nothing (T6, T14)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bentoml import models
from bentoml.exceptions import BentoMLException, CorruptedItem, InvalidArgument
from bentoml.store import archive, unpacking
from bentoml.store.model import Model
from bentoml.store.trust import files_that_may_hold_code

RECORD = "name: iris\nversion: v1\nmodule: bentoml.xgboost\ncreation_time: '2022-10-03T10:11:12.345678+00:00'\n"
FORMATS = ("bentomodel", *archive.FORMATS)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def model() -> Model:
    with models.create("iris:v1", module="bentoml.xgboost") as model:
        Path(model.path_of("model.ubj")).write_bytes(os.urandom(5000) + bytes(4096))
        Path(model.path_of("deep/er")).mkdir(parents=True)
        Path(model.path_of("deep/er/notes.txt")).write_text("é" * 256)
    return model


def content(model: Model) -> dict[str, bytes]:
    root = Path(model.path)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_nothing_imported(home: Path) -> None:
    assert models.list() == []
    if (home / "models").exists():
        assert [path.name for path in (home / "models").iterdir()] == [".staging"]
        assert [path for path in (home / "models" / ".staging").iterdir() if path.suffix != ".name"] == []


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_model_comes_back_as_it_went(model: Model, tmp_path: Path, output_format: str) -> None:
    before, record = content(model), model.info
    steps: list[tuple[int, int]] = []
    path = models.export_model("iris", tmp_path / "out", output_format, progress=lambda *step: steps.append(step))
    assert steps[-1] == (sum(map(len, before.values())),) * 2
    assert steps == sorted(steps)
    models.delete("iris")
    steps.clear()
    again = models.import_model(path, progress=lambda *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1] > 0
    assert steps == sorted(steps)
    assert content(again) == before
    assert again.info == record
    assert models.get("iris") == again
    models.delete("iris")
    assert content(models.import_model(path, output_format)) == before
    assert [name.name for name in tmp_path.iterdir() if name.name.startswith(".")] == []


def test_the_native_format_is_tar_with_xz_and_names_nobody(model: Model, tmp_path: Path) -> None:
    path = model.export(tmp_path / "iris")
    assert path == str(tmp_path / "iris.bentomodel")
    with tarfile.open(path, "r:xz") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["SHA256SUMS", "deep/er/notes.txt", "model.ubj", "model.yaml"]
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}


@pytest.mark.parametrize(
    ("path", "output_format", "written"),
    [
        ("iris", None, "iris.bentomodel"),
        ("iris.bentomodel", None, "iris.bentomodel"),
        ("iris.other", None, "iris.other.bentomodel"),
        ("iris.zip", None, "iris.zip"),
        ("iris.tar.gz", None, "iris.tar.gz"),
        ("iris", "zip", "iris"),
        ("iris.zip", "bentomodel", "iris.zip.bentomodel"),
        ("dir", None, "dir/iris-v1.bentomodel"),
        ("dir/", None, "dir/iris-v1.bentomodel"),
        ("dir", "gz", "dir/iris-v1.gz"),
        ("dir", "folder", "dir/iris-v1"),
        ("new", "folder", "new"),
        ("", None, "iris-v1.bentomodel"),
        ("", "zip", "iris-v1.zip"),
    ],
)
def test_the_name_of_the_archive_follows_from_path_and_format(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, output_format: str | None, written: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dir").mkdir()
    assert model.export(path, output_format) == str(tmp_path / written)
    assert (tmp_path / written).is_dir() == (output_format == "folder")


@pytest.mark.parametrize("compression", ["tar", "gz", "bz2", "xz"])
def test_the_compression_of_a_tar_is_found_out_whatever_its_name(
    model: Model, tmp_path: Path, compression: str
) -> None:
    path = model.export(tmp_path / "iris", compression)
    renamed = Path(path).rename(tmp_path / "iris.bentomodel")
    models.delete("iris")
    assert models.import_model(renamed) == model


def test_an_archive_replaces_a_file_and_never_a_folder(model: Model, tmp_path: Path) -> None:
    (tmp_path / "iris.zip").write_text("old")
    assert zipfile.is_zipfile(model.export(tmp_path / "iris.zip"))
    model.export(tmp_path / "copy", "folder")
    with pytest.raises(InvalidArgument, match=r"copy/iris-v1' is a folder already \(hint: remove it first"):
        model.export(tmp_path / "copy", "folder") and model.export(tmp_path / "copy", "folder")


def test_an_export_that_fails_leaves_what_was_there(model: Model, tmp_path: Path) -> None:
    target = tmp_path / "iris.tar"
    target.write_text("old")

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.export(target, progress=fail)
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["iris.tar"]
    assert target.read_text() == "old"


def test_wrong_paths_and_formats_are_named(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ends with a slash, and there is no such folder"):
        model.export(f"{tmp_path}/none/")
    with pytest.raises(InvalidArgument, match=r"none' does not exist \(hint: create it first"):
        model.export(tmp_path / "none" / "iris.zip")
    with pytest.raises(
        ValueError, match="'rar' is not a format of archives; known are bentomodel, tar, gz, bz2, xz, zip, folder"
    ):
        model.export(tmp_path / "x", "rar")
    with pytest.raises(ValueError, match="'rar' is not a format"):
        models.import_model(tmp_path, "rar")
    with pytest.raises(InvalidArgument, match=r"there is no archive .*none'"):
        models.import_model(tmp_path / "none")
    with pytest.raises(InvalidArgument, match="is not a folder, which input_format='folder' expects"):
        models.import_model(model.export(tmp_path / "iris.tar"), "folder")
    with pytest.raises(InvalidArgument, match="is a folder; leave input_format out, or say 'folder'"):
        models.import_model(tmp_path, "zip")


def test_paths_elsewhere_are_refused_and_local_urls_are_paths(model: Model, tmp_path: Path) -> None:
    assert model.export(f"osfs://{tmp_path}/a.tar") == f"{tmp_path}/a.tar"
    assert model.export(f"file://{tmp_path}/b%20c.tar") == f"{tmp_path}/b c.tar"
    assert model.export(tmp_path / "d.tar", protocol="osfs") == f"{tmp_path}/d.tar"
    for attempt in (
        lambda: model.export("s3://bucket/iris"),
        lambda: models.import_model("ftp://me@host/iris.zip"),
        lambda: models.export_model("iris", "iris", protocol="s3"),
    ):
        with pytest.raises(
            InvalidArgument, match=r"is not on this machine \((s3|ftp)://\).*hint: mount the remote folder"
        ):
            attempt()
    with pytest.raises(InvalidArgument, match=r"is not on this machine \(user=\)"):
        model.export("iris", user="me")
    with pytest.raises(ValueError, match="is a URL already: the argument 'user' cannot be given with it"):
        model.export("s3://bucket/iris", user="me")


def test_a_damaged_model_is_not_exported(model: Model, tmp_path: Path) -> None:
    Path(model.path_of("model.ubj")).write_bytes(b"x")
    with pytest.raises(CorruptedItem, match=r"'model\.ubj'"):
        models.export_model("iris", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_a_tag_that_is_there_is_not_imported_over(model: Model, tmp_path: Path) -> None:
    path = model.export(tmp_path / "iris.tar")
    with pytest.raises(BentoMLException, match=r"model 'iris:v1' exists already"):
        models.import_model(path)


def test_an_archive_of_bentoml_without_digests_gets_them(tmp_path: Path) -> None:
    path = tar_of(tmp_path, {"model.yaml": RECORD, "saved_model.ubj": "{"}, prefix="./")
    imported = models.import_model(path)
    assert "saved_model.ubj" in Path(imported.path_of("SHA256SUMS")).read_text()
    imported.verify()


def test_an_executable_file_stays_executable_and_nothing_else_of_its_mode_counts(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.yaml").write_text(RECORD)
    (source / "setup.txt").write_text("x")
    (source / "setup.txt").chmod(0o4755)
    imported = models.import_model(source)
    mode = stat.S_IMODE(Path(imported.path_of("setup.txt")).stat().st_mode)
    assert mode & stat.S_IXUSR
    assert not mode & stat.S_ISUID
    assert not Path(imported.path_of("model.yaml")).stat().st_mode & stat.S_IXUSR


# -- trust (T6) --------------------------------------------------------------------------------------------------------


def tar_of(folder: Path, files: dict[str, str | bytes], *, prefix: str = "") -> Path:
    path = folder / "made.tar"
    with tarfile.open(path, "w") as tar:
        for name, text in files.items():
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("saved_model.pkl", pickle.dumps([1])),
        ("saved_model.pkl", pickle.dumps([1], protocol=0)),
        ("weights.pt", b"PK\x03\x04"),
        ("model.joblib", b"x"),
        ("x.cloudpickle", b"x"),
        ("code.py", b""),
        ("unknown", b"x"),
        ("model.keras", b"x"),
        ("disguised.json", pickle.dumps({"a": 1})),
        ("disguised.txt", gzip.compress(b"x", mtime=0)),
        ("disguised.ubj", lzma.compress(b"x")),
        ("sub/dir/model.PKL", b"x"),
    ],
)
def test_what_may_hold_code_asks_for_trust(tmp_path: Path, home: Path, name: str, data: bytes) -> None:
    path = tar_of(tmp_path, {"model.yaml": RECORD, "fine.ubj": b"{L", name: data})
    with pytest.raises(BentoMLException) as caught:
        models.import_model(path)
    assert str(caught.value) == (
        f"{path} is not imported: loading it may run code from {name!r} "
        "(hint: if you trust where it comes from, import it with `--trust` (trust=True in Python))"
    )
    assert_nothing_imported(home)
    assert models.import_model(path, trust=True).tag.name == "iris"


def test_formats_that_are_data_alone_need_no_trust(tmp_path: Path) -> None:
    names = (
        "model.ubj",
        "model.json",
        "model.txt",
        "model.onnx",
        "model.safetensors",
        "README.md",
        "LICENSE",
        "a/B.JSON",
    )
    path = tar_of(tmp_path, {"model.yaml": RECORD, **dict.fromkeys(names, "x")})
    models.import_model(path)


def test_many_files_are_counted_and_a_foreign_module_asks_for_trust(tmp_path: Path) -> None:
    pickles: dict[str, str | bytes] = {f"{number}.pkl": b"" for number in range(8)}
    path = tar_of(tmp_path, {"model.yaml": RECORD.replace("bentoml.xgboost", "os"), **pickles})
    with pytest.raises(BentoMLException, match=r"'4.pkl' and 3 more, and it is loaded by the module 'os'"):
        models.import_model(path)


def test_every_file_that_a_pickle_could_hide_in_is_found(tmp_path: Path) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / f"{protocol}.json").write_bytes(pickle.dumps({"a": 1}, protocol=protocol))
    (tmp_path / "fine.json").write_text("{}")
    assert len(files_that_may_hold_code(tmp_path)) == pickle.HIGHEST_PROTOCOL - 1


# -- hostile archives (T14) --------------------------------------------------------------------------------------------


def made_tar(tmp_path: Path, *members: tuple[str, dict[str, Any], bytes]) -> Path:
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, fields, data in (("model.yaml", {}, RECORD.encode()), *members):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(data))
    return path


def made_zip(tmp_path: Path, *members: tuple[str, dict[str, Any], bytes]) -> Path:
    path = tmp_path / "hostile.zip"
    with zipfile.ZipFile(path, "w") as archive_:
        for name, fields, data in (("model.yaml", {}, RECORD.encode()), *members):
            info = zipfile.ZipInfo("x")
            info.filename = name
            for field, value in fields.items():
                setattr(info, field, value)
            archive_.writestr(info, data)
    return path


NAMES = [
    ("../x", "it leaves the folder"),
    ("a/../../x", "it leaves the folder"),
    ("/tmp/x", "it is absolute"),
    ("C:x", "it begins with a drive letter"),
    ("c:/x", "it begins with a drive letter"),
    ("a\\..\\..\\x", "it has a backslash"),
    ("a\nb", "it has a control character"),
    ("a\x1bb", "it has a control character"),
    ("a\u2028b", "it has a control character"),
    ("x" * 1025, "it has more than 1024 characters"),
]


@pytest.mark.parametrize(("name", "reason"), NAMES)
@pytest.mark.parametrize("make", [made_tar, made_zip])
def test_a_name_that_leads_elsewhere_is_refused(
    tmp_path: Path, home: Path, make: Callable[..., Path], name: str, reason: str
) -> None:
    with pytest.raises(BentoMLException, match=f"holds the file name .* which is refused: {reason}"):
        models.import_model(make(tmp_path, (name, {}, b"x")), trust=True)
    assert_nothing_imported(home)


def test_a_name_cut_at_a_nul_is_judged_whole(tmp_path: Path, home: Path) -> None:
    path = made_zip(tmp_path, ("a.txt@.pkl", {}, b"x"))
    path.write_bytes(path.read_bytes().replace(b"a.txt@.pkl", b"a.txt\x00.pkl"))
    with pytest.raises(BentoMLException, match="control character"):
        models.import_model(path, trust=True)
    assert_nothing_imported(home)


KINDS = [
    (made_tar, {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "link"),
    (made_tar, {"type": tarfile.SYMTYPE, "linkname": "model.yaml"}, "link"),
    (made_tar, {"type": tarfile.LNKTYPE, "linkname": "model.yaml"}, "link"),
    (made_tar, {"type": tarfile.LNKTYPE, "linkname": "../../x"}, "link"),
    (made_tar, {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, "special file"),
    (made_tar, {"type": tarfile.BLKTYPE}, "special file"),
    (made_tar, {"type": tarfile.FIFOTYPE}, "special file"),
    (made_tar, {"type": b"Z"}, "special file"),
    (made_zip, {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "link"),
    (made_zip, {"external_attr": (stat.S_IFCHR | 0o777) << 16}, "special file"),
    (made_zip, {"external_attr": (stat.S_IFIFO | 0o777) << 16}, "special file"),
    (made_zip, {"compress_type": zipfile.ZIP_BZIP2}, "file of an unusual compression"),
]


@pytest.mark.parametrize(("make", "fields", "kind"), KINDS)
def test_anything_but_regular_files_is_refused(
    tmp_path: Path, home: Path, make: Callable[..., Path], fields: dict[str, Any], kind: str
) -> None:
    with pytest.raises(BentoMLException, match=f"holds the {kind} 'odd'; only regular files are taken"):
        models.import_model(make(tmp_path, ("odd", fields, b"" if make is made_tar else b"/etc/passwd")), trust=True)
    assert_nothing_imported(home)


def test_an_encrypted_zip_is_refused(tmp_path: Path, home: Path) -> None:
    path = made_zip(tmp_path, ("odd", {}, b"x"))
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(BentoMLException, match="holds the encrypted file 'odd'"):
        models.import_model(path, trust=True)
    assert_nothing_imported(home)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("a", "a", "holds 'a' twice"),
        ("model.yaml", "./model.yaml", "holds 'model.yaml' twice"),
        ("a", "A", "one name on some file systems"),
        ("MODEL.yaml", "b", "one name on some file systems"),
        ("a/x", "A/y", "one name on some file systems"),
        ("\u00e9", "e\u0301", "one name on some file systems"),
        ("stra\u00dfe", "STRASSE", "one name on some file systems"),
        ("a", "a/b", "holds 'a' twice"),
        ("a/b", "a", "holds 'a' twice"),
    ],
)
@pytest.mark.parametrize("make", [made_tar, made_zip])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide_are_refused(
    tmp_path: Path, home: Path, make: Callable[..., Path], first: str, second: str, message: str
) -> None:
    with pytest.raises(BentoMLException, match=message):
        models.import_model(make(tmp_path, (first, {}, b"1"), (second, {}, b"2")), trust=True)
    assert_nothing_imported(home)


@pytest.mark.parametrize("suffix", ["tar", "gz", "bz2", "xz", "zip"])
def test_a_bomb_is_refused_while_it_unpacks(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(unpacking, "MAX_UNRATED_BYTES", 1 << 20)
    monkeypatch.setattr(unpacking, "MAX_RATIO", 1)
    zeros = bytes(6 << 20)
    if suffix == "zip":
        path = made_zip(tmp_path, ("a.txt", {"compress_type": zipfile.ZIP_DEFLATED}, zeros))
    else:
        path = made_tar(tmp_path, ("a.txt", {}, zeros))
        packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "tar": lambda data: data}[suffix]
        path.write_bytes(packed(path.read_bytes()))
    if suffix == "tar":
        assert models.import_model(path).file_size > 6 << 20
        return
    with pytest.raises(
        BentoMLException, match="unpacks to more than 1048576 bytes, which its own size does not justify"
    ):
        models.import_model(path)
    assert_nothing_imported(home)


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path, home: Path) -> None:
    path = made_zip(tmp_path, ("a.txt", {"compress_type": zipfile.ZIP_DEFLATED}, bytes(100_000)))
    data = path.read_bytes()
    path.write_bytes(data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(BentoMLException, match="cannot be read"):
        models.import_model(path)
    assert_nothing_imported(home)


def test_more_files_than_a_model_has_are_refused(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_FILES", 10)
    for make in (made_tar, made_zip):
        with pytest.raises(BentoMLException, match="holds more than 10 files"):
            models.import_model(make(tmp_path, *((f"{number}.txt", {}, b"") for number in range(10))))
        with pytest.raises(BentoMLException, match="holds more than 10 files"):
            models.import_model(make(tmp_path, ("a/b/c/d/e/f/g/h/i/j/k.txt", {}, b"")))
    assert_nothing_imported(home)


def test_a_header_that_wants_all_memory_is_refused(tmp_path: Path, home: Path) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, 1 << 32
    path = tmp_path / "hostile.tar"
    path.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    with pytest.raises(BentoMLException, match="has a header of 4294967296 bytes"):
        models.import_model(path)
    assert_nothing_imported(home)


def test_a_bomb_of_headers_is_refused(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_UNRATED_BYTES", 1 << 20)
    monkeypatch.setattr(unpacking, "MAX_FILES", 10)
    path = tmp_path / "hostile.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for number in range(3):
            member = tarfile.TarInfo(f"{number}.txt")
            member.pax_headers = {"comment": "x" * 900_000}
            tar.addfile(member)
    with pytest.raises(BentoMLException, match="unpacks to more than 1048576 bytes"):
        models.import_model(path)
    assert_nothing_imported(home)


def test_a_negative_size_is_refused(tmp_path: Path, home: Path) -> None:
    member = tarfile.TarInfo("a.txt")
    buffer = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    buffer[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")
    buffer[148:156] = b" " * 8
    buffer[148:156] = b"%06o\x00 " % sum(buffer[:512])
    path = tmp_path / "hostile.tar"
    path.write_bytes(bytes(buffer) + bytes(2048))
    with pytest.raises(BentoMLException):
        models.import_model(path)
    assert_nothing_imported(home)


def test_a_sparse_file_is_refused(tmp_path: Path, home: Path) -> None:
    path = made_tar(tmp_path, ("odd", {"type": tarfile.GNUTYPE_SPARSE}, bytes(512)))
    with pytest.raises(BentoMLException, match=r"holds the special file 'odd'|cannot be read"):
        models.import_model(path)
    assert_nothing_imported(home)


@pytest.mark.parametrize("make", ["link", "fifo", "folder link"])
def test_a_folder_with_anything_but_regular_files_is_refused(tmp_path: Path, home: Path, make: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.yaml").write_text(RECORD)
    if make == "fifo":
        os.mkfifo(source / "odd")
    else:
        (source / "odd").symlink_to("/etc/passwd" if make == "link" else "/etc")
    with pytest.raises(BentoMLException, match=r"'odd'; only regular files are taken"):
        models.import_model(source, trust=True)
    assert_nothing_imported(home)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read"),
        (b"hello", "cannot be read"),
        (b"PK\x03\x04hello", "cannot be read"),
        (b"\x1f\x8bhello", "cannot be read"),
        (b"BZhello", "cannot be read"),
        (b"\xfd7zXZ\x00hello", "cannot be read"),
        # An empty tar; tarfile of Python 3.10 tries to go back before its start.
        (bytes(10240), r"it has no model\.yaml at its root|headers that lead back"),
    ],
)
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, home: Path, data: bytes, message: str) -> None:
    path = tmp_path / "iris.bentomodel"
    path.write_bytes(data)
    with pytest.raises(BentoMLException, match=message):
        models.import_model(path)
    assert_nothing_imported(home)


def test_an_archive_with_a_record_that_harms_its_reader_is_refused(tmp_path: Path, home: Path) -> None:
    path = tar_of(tmp_path, {"model.yaml": RECORD + "x: " + "[" * 200_000})
    with pytest.raises(BentoMLException, match=r"model\.yaml is nested deeper than 64"):
        models.import_model(path, trust=True)
    assert_nothing_imported(home)


def test_a_file_without_its_digest_is_refused(model: Model, tmp_path: Path, home: Path) -> None:
    folder = Path(model.export(tmp_path / "copy", "folder"))
    models.delete("iris")
    (folder / "extra.txt").write_text("x")
    with pytest.raises(CorruptedItem, match=r"holds the file 'extra\.txt', which was not saved with it"):
        models.import_model(folder)
    assert_nothing_imported(home)


# -- properties --------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["..", ".", "", "a", "A", "b", "é", "e\u0301", "C:", "~", "\\", "\x00", "\n", "CON", "x" * 300, " ", "*"]
)
MEMBER_NAMES = st.lists(PIECES, min_size=1, max_size=5).map("/".join) | st.text(min_size=1, max_size=20)


@given(st.lists(MEMBER_NAMES, min_size=1, max_size=4), st.sampled_from(["tar", "zip"]))
@example(["../x"], "tar")
@example(["a", "a/b"], "zip")
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_whatever_the_names_nothing_is_written_outside(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], kind: str
) -> None:
    around = tmp_path_factory.mktemp("around")
    path = around / f"hostile.{kind}"
    try:
        if kind == "tar":
            with tarfile.open(path, "w") as tar:
                for name in names:
                    tar.addfile(tarfile.TarInfo(name))
        else:
            with zipfile.ZipFile(path, "w") as archive_:
                for name in names:
                    archive_.writestr(name, b"")
    except (ValueError, IndexError):  # names that the writers themselves do not take
        return
    into = around / "deep" / "into"
    into.mkdir(parents=True)
    try:
        unpacking.unpack(path, into)
    except BentoMLException:
        pass
    else:
        written = [str(file.relative_to(into)) for file in into.rglob("*") if file.is_file()]
        assert len({name.casefold() for name in written}) == len(written)
    assert {entry.name for entry in around.iterdir()} == {path.name, "deep"}
    assert [entry.name for entry in (around / "deep").iterdir()] == ["into"]


@pytest.mark.parametrize("output_format", ["bentomodel", "gz", "zip", "tar"])
def test_no_damage_to_an_archive_goes_unnoticed(model: Model, tmp_path: Path, home: Path, output_format: str) -> None:
    path = Path(model.export(tmp_path / "iris", output_format))
    whole, before = path.read_bytes(), content(model)
    models.delete("iris")

    @given(st.integers(0, len(whole) - 1), st.integers(1, 255), st.booleans())
    @settings(max_examples=60, deadline=None)
    def damage(position: int, bits: int, cut: bool) -> None:
        flipped = whole[:position] + bytes([whole[position] ^ bits]) + whole[position + 1 :]
        path.write_bytes(whole[:position] if cut else flipped)
        try:
            imported = models.import_model(path, trust=True)
        except BentoMLException:
            assert_nothing_imported(home)
        else:
            # Not every byte matters: times, owners, padding.
            assert content(imported) == before
            models.delete("iris")

    damage()
