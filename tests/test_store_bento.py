"""A bento in the store: its record byte for byte, its members, archives out and in, and what is refused."""

from __future__ import annotations

import datetime
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import bentoml
from bentoml.exceptions import BentoMLException, CorruptedItem, NotFound
from bentoml.store import digests
from bentoml.store.bento import Bento, bento_store, needed_by, open_bento, unpacked
from bentoml.store.bento_record import BentoApiInfo, BentoInfo, BentoModelInfo, BentoRunnerInfo
from bentoml.tag import Tag
from tests import _bentos

MOMENT = datetime.datetime(2026, 11, 22, 10, 11, 12, 345678, tzinfo=datetime.timezone.utc)
SECTIONS = {
    "docker": {"distro": "debian", "python_version": "3.11", "env": None},
    "python": {"packages": ["xgboost"], "lock_packages": True, "wheels": None},
    "conda": {"channels": None},
}
INFO = BentoInfo(
    service="service:svc",
    name="payments",
    version="v1",
    bentoml_version="0.1.0",
    creation_time=MOMENT,
    labels={"owner": "team"},
    models=[
        BentoModelInfo(tag=Tag("rules", "v1"), module="bentoml.sklearn", creation_time=MOMENT),
        BentoModelInfo(tag=Tag("rules", "v2"), module="bentoml.sklearn", creation_time=MOMENT, alias="old"),
    ],
    runners=[
        BentoRunnerInfo(name="rules", runnable_type="ModelRunnable", models=["rules:v1"], resource_config={"cpu": 2})
    ],
    apis=[BentoApiInfo(name="decide", input_type="JSON", output_type="Text")],
    **SECTIONS,
)
YAML = """\
service: service:svc
name: payments
version: v1
bentoml_version: 0.1.0
creation_time: '2026-11-22T10:11:12.345678+00:00'
labels:
  owner: team
models:
- tag: rules:v1
  module: bentoml.sklearn
  creation_time: '2026-11-22T10:11:12.345678+00:00'
- tag: rules:v2
  module: bentoml.sklearn
  creation_time: '2026-11-22T10:11:12.345678+00:00'
  alias: old
runners:
- name: rules
  runnable_type: ModelRunnable
  embedded: false
  models:
  - rules:v1
  resource_config:
    cpu: 2
apis:
- name: decide
  input_type: JSON
  output_type: Text
docker:
  distro: debian
  python_version: '3.11'
  env: null
python:
  packages:
  - xgboost
  lock_packages: true
  wheels: null
conda:
  channels: null
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """payments:v1 as a file."""
    folder = tmp_path_factory.mktemp("archive")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        _bentos.save_rules()
        bento = _bentos.build(_bentos.write_project(folder / "project"), "v1")
        yield Path(bento.export(folder / "payments"))


# -- bento.yaml --------------------------------------------------------------------------------------------------------


def test_the_record_is_written_byte_for_byte_and_read_again(tmp_path: Path) -> None:
    INFO.write(tmp_path)
    assert (tmp_path / "bento.yaml").read_text() == YAML
    assert BentoInfo.read(tmp_path) == INFO
    assert INFO.aliases == {"old": Tag("rules", "v2")}


def test_a_record_of_bentoml_is_read_with_keys_that_nobody_knows_here(tmp_path: Path) -> None:
    text = """\
service: svc:svc
name: iris
version: abc
bentoml_version: 1.0.7
creation_time: 2022-10-03T10:11:12+00:00
labels: {year: 2022}
models:
- {tag: 'iris:1', module: bentoml.sklearn, creation_time: '2022-10-03T10:11:12', more: 1}
runners: null
apis: []
envs: [a]
docker: {distro: debian, unknown: 1, env: [A=b]}
"""
    _bentos.write(tmp_path, "bento.yaml", text)
    info = BentoInfo.read(tmp_path)
    assert (info.tag, info.labels, info.runners) == (Tag("iris", "abc"), {"year": "2022"}, [])
    assert info.creation_time == datetime.datetime(2022, 10, 3, 10, 11, 12, tzinfo=datetime.timezone.utc)
    assert info.docker["env"] == ["A=b"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("service: service:svc\n", "", "missing required field `service`"),
        ("name: payments", "name: ../x", "'../x' cannot be the name of a tag"),
        ("tag: rules:v1", "tag: ../x:v1", "'../x:v1' is not a tag"),
        ("tag: rules:v1", "tag: 3", "a tag is text"),
        ("labels:\n  owner: team", "labels: [a]", "Expected `object`, got `array`"),
        (YAML, "[a]", "must hold a mapping, not list"),
        (YAML, "a: [", "is not YAML"),
    ],
)
def test_a_record_that_is_none_is_refused_with_its_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    _bentos.write(tmp_path, "bento.yaml", YAML.replace(old, new, 1))
    with pytest.raises(BentoMLException) as raised:
        BentoInfo.read(tmp_path)
    assert str(tmp_path / "bento.yaml") in str(raised.value)
    assert said in str(raised.value)


def test_a_folder_without_a_record_is_no_bento(tmp_path: Path) -> None:
    with pytest.raises(BentoMLException, match=r"is not a bento: bento.yaml cannot be read"):
        BentoInfo.read(tmp_path)


# -- members -----------------------------------------------------------------------------------------------------------


def test_a_bento_has_the_members_of_bentoml(archive: Path) -> None:
    bento = Bento.import_from(archive, trust=True)
    assert repr(bento) == str(bento) == 'Bento(tag="payments:v1")'
    assert bento == bentoml.get("payments")
    assert hash(bento) == hash(bentoml.get("payments:v1"))
    assert bento.path_of("src/service.py") == f"{bento.path}/src/service.py"
    assert bento.doc == Path(bento.path, "README.md").read_text()
    assert bento.creation_time == bento.info.creation_time
    assert [model.tag for model in bento.models] == [Tag("rules", "v1")]
    on_disk = sum(path.stat().st_size for path in Path(bento.path).rglob("*") if path.is_file())
    assert bento.file_size == bento.total_size() == on_disk
    with pytest.raises(
        BentoMLException,
        match=r"'../x' leads out of the folder of Bento\(tag=\"payments:v1\"\) \(hint: name a file inside the bento\)",
    ):
        bento.path_of("../x")
    with pytest.raises(BentoMLException, match=r"^a Bento cannot be made directly"):
        Bento()


def test_a_bento_elsewhere_can_be_saved(archive: Path, tmp_path: Path, home: Path) -> None:
    with unpacked(archive) as bento:
        saved = bento.save()
    assert saved.path == str(home / "bentos/payments/v1")
    assert saved.save() is saved


def test_a_moved_bento_says_so(archive: Path, home: Path) -> None:
    Bento.import_from(archive, trust=True)
    (home / "bentos/payments/v1").rename(home / "bentos/payments/v2")
    with pytest.raises(BentoMLException, match=r"is the record of payments:v1, not of payments:v2"):
        bentoml.get("payments:v2")


def test_a_bento_without_copies_needs_the_models_of_the_store(home: Path, tmp_path: Path) -> None:
    model = _bentos.save_rules()
    with bento_store().create(Tag("payments", "v1")) as folder:
        INFO.write(folder)
    bento = bentoml.get("payments")
    assert bento.total_size() == bento.file_size + model.file_size
    assert bento.models == []
    assert needed_by([model.tag]) == [(bento.tag, model.tag)]
    for named in ("rules:v1", "rules"):
        with pytest.raises(
            BentoMLException, match=r"^nothing is deleted: payments:v1 needs rules:v1 \(hint: delete these"
        ):
            bentoml.models.delete(named)
    bentoml.delete("payments")
    bentoml.models.delete("rules")


def test_a_bento_with_copies_does_not_hold_the_models_of_the_store(archive: Path) -> None:
    _bentos.save_rules()
    bento = Bento.import_from(archive, trust=True)
    bentoml.models.delete("rules:v1")
    bento.verify()


def test_a_damaged_bento_does_not_keep_models_from_being_deleted(home: Path) -> None:
    _bentos.save_rules()
    _bentos.write(home, "bentos/x/v1/bento.yaml", "[")
    bentoml.models.delete("rules")


# -- archives (T14) ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["b.bento", "b.tar", "b.gz", "b.bz2", "b.xz", "b.zip", "b"])
def test_an_exported_bento_is_imported_whole(archive: Path, tmp_path: Path, name: str, home: Path) -> None:
    first = Bento.import_from(archive, trust=True)
    before = contents(Path(first.path))
    written = bentoml.export_bento("payments", tmp_path / name)
    assert Path(written).name == (name if "." in name else f"{name}.bento")
    bentoml.delete("payments")
    again = bentoml.import_bento(written, trust=True)
    assert contents(Path(again.path)) == before
    assert bentoml.list() == [again]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_import_asks_for_trust_as_a_bento_holds_code(archive: Path, home: Path) -> None:
    with pytest.raises(BentoMLException) as raised:
        bentoml.import_bento(archive)
    assert str(raised.value).startswith(
        f"{archive} is not imported: loading it may run code from 'env/docker/Dockerfile'"
    )
    assert "`--trust`" in str(raised.value)
    assert bentoml.list() == []
    assert not any((home / "bentos").glob("[!.]*"))


def test_a_changed_file_is_found_at_the_import_and_at_the_export(archive: Path, tmp_path: Path) -> None:
    bento = Bento.import_from(archive, trust=True)
    folder = Path(bento.export(tmp_path / "folder", "folder"))
    for at in (folder, Path(bento.path)):
        (at / "src/service.py").write_text("import os\n")
    with pytest.raises(CorruptedItem, match=r"'src/service.py' .* its content changed"):
        bentoml.get("payments").export(tmp_path / "x.zip")
    bentoml.delete("payments")
    with pytest.raises(CorruptedItem, match=r"'src/service.py'"):
        bentoml.import_bento(folder, trust=True)
    assert bentoml.list() == []


def test_an_existing_tag_is_refused(archive: Path) -> None:
    bentoml.import_bento(archive, trust=True)
    with pytest.raises(BentoMLException, match=r"^bento 'payments:v1' exists already"):
        bentoml.import_bento(archive, trust=True)


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        record = tarfile.TarInfo("bento.yaml")
        record.size = len(YAML.encode())
        tar.addfile(record, io.BytesIO(YAML.encode()))
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([member("../x")], "'../x', which is refused: it leaves the folder"),
        ([member("/tmp/x")], "'/tmp/x', which is refused: it is absolute"),
        ([member("src/link", tarfile.SYMTYPE, "/etc/passwd")], "the link 'src/link'"),
        ([member("src/hard", tarfile.LNKTYPE, "bento.yaml")], "the link 'src/hard'"),
        ([member("src/dev", tarfile.CHRTYPE)], "the special file 'src/dev'"),
        ([member("src/a.py"), member("src/A.py")], "one name on some file systems"),
        ([member("src/a.py"), member("src/a.py")], "'src/a.py' twice"),
    ],
)
def test_t14_a_hostile_archive_is_refused_as_a_whole_also_with_trust(
    tmp_path: Path, home: Path, members: list[tarfile.TarInfo], said: str
) -> None:
    path = tar_of(tmp_path / "x.bento", *members)
    with pytest.raises(BentoMLException, match=said.replace(".", r"\.")):
        bentoml.import_bento(path, trust=True)
    with pytest.raises(BentoMLException), unpacked(path):
        pass
    assert bentoml.list() == []
    assert [entry.name for entry in (home / "bentos/.staging").iterdir()] == []


def test_a_record_that_harms_its_reader_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("bento.yaml", "[" * 100_000)
    with pytest.raises(BentoMLException, match="nested deeper than 64"):
        bentoml.import_bento(tmp_path / "x.zip", trust=True)


def test_an_archive_of_something_else_is_no_bento(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("model.yaml", "name: x\n")
    with pytest.raises(BentoMLException, match=r"is not a bento: it has no bento.yaml at its root$"):
        bentoml.import_bento(tmp_path / "x.zip", trust=True)


def test_an_unpacked_archive_is_gone_after_the_block_and_nothing_is_saved(archive: Path) -> None:
    with unpacked(archive) as bento:
        folder = Path(bento.path)
        assert bento.tag == Tag("payments", "v1")
        digests.verify(folder)
    assert not folder.exists()
    with pytest.raises(NotFound):
        bentoml.get("payments")


def test_a_bento_of_a_folder_has_the_tag_of_its_record(tmp_path: Path) -> None:
    INFO.write(tmp_path)
    assert open_bento(tmp_path).tag == Tag("payments", "v1")
