"""Requirements: what a bentofile or a requirements file asks pip for, read line by line and checked before it is used.

    requirements.txt ─► nested -r and -c read in place ─► Requirements: packages, constraints, index options
    packages         ─►─────────────────────────────────►

Whatever would be read as something else than it looks like (an option among packages, a line that goes on in the next
one, a variable of the shell) is refused with its place.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from bentoml.build.options import PythonOptions
from bentoml.build.paths import file_in, require_plain
from bentoml.exceptions import BentoMLException, InvalidArgument

__all__ = ["OWN_NAMES", "Requirements", "normalised_name", "read", "without_credentials", "without_secrets"]

#: Distributions that hold the package `bentoml`; a bento brings its own wheel of it.
OWN_NAMES = ("bentoml", "makunouchi")

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = r"\[(?P<extras>[A-Za-z0-9._, -]*)\]"
_VERSIONS = r"(?:\(?\s*(?:===|[<>=!~]=?)[\w.*+!<>=~, -]*\)?)?"
_URL = r"(?:[a-z]+\+)?(?:https?|ssh)://[^\s;'\"`$\\<>{}|^]+"
_MARKER = r"[\w\s.'\"<>=!~()+*,-]+"
_HASHES = r"(?:\s+--hash=[a-z0-9]+:[0-9a-f]+)*"
_REQUIREMENT = re.compile(
    rf"(?:(?P<name>{_NAME})\s*(?:{_EXTRAS})?\s*(?:@\s*(?P<named_url>{_URL})|{_VERSIONS})|(?P<url>{_URL}))"
    rf"\s*(?:;{_MARKER})?(?P<hashes>{_HASHES})"
)
_WHY_NOT_PATHS = "a path means nothing in an image; build a wheel of it and name that in `python.wheels`"


class Requirements(NamedTuple):
    """What is to be installed besides this package itself.

    Attributes:
        packages: requirement specifiers, one a line.
        constraints: versions of what others may ask for.
        own_extras: those of this package, asked for as in `bentoml[tracing]`.
        options: `PythonOptions` with the index options of the requirements files added.
    """

    packages: list[str]
    constraints: list[str]
    own_extras: list[str]
    options: PythonOptions


def normalised_name(name: str) -> str:
    """The name of a distribution as package indexes compare names; see PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read(options: PythonOptions, *, context: Path) -> Requirements:
    """The requirements of a bentofile.

    Raises:
        InvalidArgument: a line cannot be used, or a file is missing or lies outside of the build context; says where.
        BentoMLException: a requirements file cannot be read.
    """
    reader = _Reader(context, options)
    if options.requirements_txt is not None:
        reader.file(file_in(context, options.requirements_txt, "python.requirements_txt"), is_constraint=False)
    else:
        for number, package in enumerate(options.packages):
            reader.requirement(require_plain(package, f"python.packages[{number}]"), f"python.packages[{number}]")
    return Requirements(reader.packages, reader.constraints, sorted(reader.own_extras), reader.checked_options())


class _Reader:
    def __init__(self, context: Path, options: PythonOptions) -> None:
        self._context = context
        self._open: list[Path] = []
        self._options = options
        self._index: dict[str, list[str]] = {
            "index_url": [],
            "extra_index_url": [],
            "find_links": [],
            "trusted_host": [],
            "pip_args": [],
        }
        self._no_index = False
        self.packages: list[str] = []
        self.constraints: list[str] = []
        self.own_extras: set[str] = set()

    def file(self, path: Path, *, is_constraint: bool) -> None:
        """Read one file, and those that it names."""
        shown = path.relative_to(self._context.resolve())
        if path in self._open:
            raise InvalidArgument(f"{shown} includes itself")
        self._open.append(path)
        for number, line in _lines(path):
            self._line(line, f"{shown}:{number}", path.parent, is_constraint=is_constraint)
        self._open.pop()

    def _line(self, line: str, where: str, folder: Path, *, is_constraint: bool) -> None:
        require_plain(line, where)
        if not line.startswith("-"):
            self.requirement(line, where, is_constraint=is_constraint)
            return
        option, value = _option_of(line)
        if option in ("-r", "--requirement", "-c", "--constraint"):
            # Relative to the file that names it, as pip takes it; `..` is fine as long as it stays in the context.
            named = os.path.normpath(folder.relative_to(self._context.resolve()) / value)
            nested = file_in(self._context, named, where)
            self.file(nested, is_constraint=is_constraint or option in ("-c", "--constraint"))
        elif option in ("-e", "--editable"):
            raise InvalidArgument(f"{where}: {line!r} cannot be installed in a bento: {_WHY_NOT_PATHS}")
        elif option in _INDEX_OPTIONS:
            self._index[_INDEX_OPTIONS[option]].append(value)
        elif option == "--no-index":
            self._no_index = True
        elif option in ("--pre", "--prefer-binary", "--no-binary", "--only-binary"):
            self._index["pip_args"] += [option, value] if value else [option]
        else:
            raise InvalidArgument(
                f"{where}: the option {option} is not understood in a requirements file",
                hint="what `pip install` needs besides goes into `python.pip_args`",
            )

    def requirement(self, line: str, where: str, *, is_constraint: bool = False) -> None:
        """Take note of one specifier."""
        if line.startswith((".", "/", "~")) or re.match(r"[\w.-]+\s*@\s*file:|file:", line) or _is_path(line):
            raise InvalidArgument(f"{where}: {line!r} cannot be installed in a bento: {_WHY_NOT_PATHS}")
        found = _REQUIREMENT.fullmatch(line)
        if found is None:
            raise InvalidArgument(f"{where}: {line!r} is not a requirement", hint="write it as in: xgboost>=2.1,<3")
        if any(_has_credentials(url) for url in (found["named_url"], found["url"]) if url):
            raise InvalidArgument(
                f"{where}: the URL of {found['name'] or 'a package'} holds credentials, which everyone who has the "
                "bento could read",
                hint="build a wheel of it and name that in `python.wheels`",
            )
        name = normalised_name(found["name"] or "")
        if name in OWN_NAMES:
            self.own_extras |= {extra.strip() for extra in (found["extras"] or "").split(",") if extra.strip()}
        else:
            (self.constraints if is_constraint else self.packages).append(line)

    def checked_options(self) -> PythonOptions:
        """The options of the bentofile and of the files together, each of its values harmless."""
        options, index = self._options, self._index
        args = [*_words(options.pip_args or ""), *index["pip_args"]]
        merged = msgspec.structs.replace(
            options,
            index_url=options.index_url or (index["index_url"][-1] if index["index_url"] else None),
            no_index=options.no_index or self._no_index,
            extra_index_url=[*options.extra_index_url, *index["extra_index_url"]],
            find_links=[*options.find_links, *index["find_links"]],
            trusted_host=[*options.trusted_host, *index["trusted_host"]],
            pip_args=shlex.join(args) if args else None,
        )
        for key in ("index_url", "extra_index_url", "find_links", "trusted_host"):
            value = getattr(merged, key)
            for each in [value] if isinstance(value, str) else value or []:
                _require_word(each, f"python.{key}")
        for arg in args:
            if _has_credentials(arg):
                raise InvalidArgument(
                    "python.pip_args: an argument holds credentials, which everyone who has the bento could read",
                    hint="give them to the build, as PIP_INDEX_URL",
                )
        return merged


_INDEX_OPTIONS = {
    "-i": "index_url",
    "--index-url": "index_url",
    "--extra-index-url": "extra_index_url",
    "-f": "find_links",
    "--find-links": "find_links",
    "--trusted-host": "trusted_host",
}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a requirements file, as pip reads them: joined where they go on, without comments."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BentoMLException(f"the requirements file {path} cannot be read: {error}") from error
    pending, begun = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        begun = begun or number
        line = line.rstrip("\r")
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            pending += line[:-1]
            continue
        whole = re.sub(r"(^|\s)#.*$", "", pending + line).replace("\t", " ").strip()
        if whole:
            yield begun, whole
        pending, begun = "", 0
    if pending.strip():
        yield begun, pending.strip()


def _option_of(line: str) -> tuple[str, str]:
    """`--index-url=URL`, `--index-url URL` and `-rFILE` as option and value."""
    if not line.startswith("--"):
        return line[:2], line[2:].strip()
    option, _, value = re.sub(r"[= ]", " ", line, count=1).partition(" ")
    return option, value.strip()


def _is_path(line: str) -> bool:
    """Whether pip would look for a file: a wheel or a folder, which has a slash before anything else."""
    first = line.split("@")[0].split(";")[0].strip()
    return "://" not in first and ("/" in first or "\\" in first or first.endswith((".whl", ".tar.gz", ".zip")))


def _require_word(text: str, key: str) -> None:
    require_plain(text, key)
    if not text or " " in text or text.startswith("-"):
        raise InvalidArgument(f"{key}: {without_credentials(text)!r} is neither a URL nor the name of a host")
    if "${" in text:
        raise InvalidArgument(
            f"{key}: variables are not expanded in a bento",
            hint="give the address to the build instead, as PIP_INDEX_URL or PIP_EXTRA_INDEX_URL",
        )


def _words(pip_args: str) -> list[str]:
    try:
        return shlex.split(require_plain(pip_args, "python.pip_args"))
    except ValueError as error:
        raise InvalidArgument(f"python.pip_args: {pip_args!r} cannot be split into words: {error}") from error


def _has_credentials(text: str) -> bool:
    """Whether an address in the text names more than a host."""
    # The user of `git+ssh://git@host` is no secret.
    return any(":" in who or "ssh" not in scheme for scheme, who in re.findall(r"([\w+.-]+)://([^/\s?#]*)@", text))


def without_secrets(options: PythonOptions) -> PythonOptions:
    """The options as a bento may show them: without the credentials in addresses."""
    return msgspec.structs.replace(
        options,
        index_url=options.index_url and without_credentials(options.index_url),
        extra_index_url=[*map(without_credentials, options.extra_index_url)],
        find_links=[*map(without_credentials, options.find_links)],
    )


def without_credentials(text: str) -> str:
    """The text, its addresses without user and password."""
    return re.sub(r"(?<=://)[^/\s?#]*@", "", text)
