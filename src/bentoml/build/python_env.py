"""env/python of a bento: the Python packages that it needs, pinned, and the script that installs them.

version.txt             X.Y.Z of the Python that it was built for
requirements.txt        what was asked for
requirements.lock.txt   every package with its version and digests
constraints.txt         versions of what others may ask for; only where a requirements file has constraints
wheels/                 a wheel of this package, and those of the user
install.sh              installs all of it into the environment of `python`
"""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

from bentoml.build import own_wheel
from bentoml.build.locking import lock
from bentoml.build.options import PythonOptions
from bentoml.build.paths import file_in
from bentoml.build.requirements import OWN_NAMES, Requirements, normalised_name, read, without_credentials
from bentoml.exceptions import InvalidArgument

__all__ = ["install_script", "write"]

logger = logging.getLogger("bentoml")

_WHEEL_NAME = re.compile(r"[A-Za-z0-9_.]+(?:-[A-Za-z0-9_.+!]+){4,5}\.whl")


def write(folder: Path, options: PythonOptions, *, context: Path, python_version: str) -> None:
    """Write env/python into the bento at `folder`.

    Args:
        context: the build context, in which the paths of the options lie.
        python_version: `X.Y` of the interpreter that will run the bento, or `X.Y.Z`.

    Raises:
        InvalidArgument: a value cannot be used; names its key or its line.
        BentoMLException: a file is missing, or the packages cannot be locked; has uv's reason.
    """
    wanted = read(options, context=context)
    own_extras = _known_extras(wanted.own_extras)
    wanted = wanted._replace(own_extras=own_extras)
    wheels = [_checked_wheel(file_in(context, name, "python.wheels"), name) for name in options.wheels]
    target = folder / "env" / "python"
    (target / "wheels").mkdir(parents=True)
    carried = [own_wheel.write(target / "wheels")]
    for wheel in wheels:
        if (target / "wheels" / wheel.name).exists():
            raise InvalidArgument(f"python.wheels: {wheel.name!r} is there twice")
        carried.append(shutil.copyfile(wheel, target / "wheels" / wheel.name))
    _write_text(target / "version.txt", _full_version(python_version))
    if wanted.packages:
        _write_text(target / "requirements.txt", _as_lines(wanted.packages))
    if options.is_locked:
        text = lock(wanted, carried, python_version=python_version)
        _write_text(target / "requirements.lock.txt", f"# Pinned for Python {_minor(python_version)}.\n{text}")
    elif wanted.constraints:
        _write_text(target / "constraints.txt", _as_lines(wanted.constraints))
    _write_text(target / "install.sh", install_script(wanted))
    (target / "install.sh").chmod(0o755)


def install_script(wanted: Requirements) -> str:
    """The text of install.sh. POSIX sh, as not every image has a bash.

    Of the user's text it holds the addresses of package indexes, as defaults of pip's own variables, and `pip_args`:
    each of them quoted.
    """
    options = wanted.options
    defaults = {
        "PIP_INDEX_URL": [options.index_url] if options.index_url else [],
        "PIP_EXTRA_INDEX_URL": options.extra_index_url,
        "PIP_FIND_LINKS": options.find_links,
        "PIP_TRUSTED_HOST": options.trusted_host,
        "PIP_NO_INDEX": ["1"] if options.no_index else [],
    }
    exports = "".join(
        f'[ -n "${{{name}:-}}" ] || export {name}={shlex.quote(" ".join(map(without_credentials, values)))}\n'
        for name, values in defaults.items()
        if values
    )
    arguments = shlex.join(["--no-warn-script-location", *shlex.split(options.pip_args or "")])
    return _INSTALL.format(
        exports=exports,
        arguments=arguments,
        own_wheel=own_wheel.file_name(),
        extras=f"[{','.join(wanted.own_extras)}]" if wanted.own_extras else "",
    )


_INSTALL = r"""#!/bin/sh
# Installs the Python packages of this bento into the environment of `python`. What pip's variables say
# (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...) takes precedence over what the bentofile said.
set -eu
cd "$(dirname "$0")"
{exports}export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
set -- {arguments}

locked_for=$(cut -d. -f1,2 version.txt)
here=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$here" != "$locked_for" ]; then
  if [ -e requirements.lock.txt ]; then
    echo "The packages of this bento are pinned for Python $locked_for, and this is Python $here." \
      "Build the bento with docker.python_version: \"$here\", or with python.lock_packages: false." >&2
    exit 1
  fi
  echo "Warning: this bento was built for Python $locked_for, and this is Python $here." >&2
fi

if [ -e requirements.lock.txt ]; then
  # The lock holds all that is needed, each file with its digests: nothing else is looked for.
  python -m pip install "$@" --require-hashes --no-deps -r requirements.lock.txt
  python -m pip install --no-index --no-deps wheels/*.whl
else
  [ ! -e constraints.txt ] || set -- "$@" --constraint constraints.txt
  [ ! -e requirements.txt ] || python -m pip install "$@" -r requirements.txt
  for wheel in wheels/*.whl; do
    case $wheel in
      wheels/{own_wheel}) python -m pip install "$@" "$wheel{extras}" ;;
      *) python -m pip install "$@" "$wheel" ;;
    esac
  done
fi

if [ -n "${{BENTOML_FEATURES:-}}" ]; then
  python -m pip install "$@" "wheels/{own_wheel}[$BENTOML_FEATURES]"
fi
"""


def _known_extras(asked: list[str]) -> list[str]:
    """Those that this package has; extras of BentoML that it has not are told."""
    known = own_wheel.extras()
    for extra in asked:
        if extra not in known:
            logger.warning("bentoml[%s] is left out: this implementation has no such extra", extra)
    return [extra for extra in asked if extra in known]


def _checked_wheel(path: Path, named: str) -> Path:
    if not _WHEEL_NAME.fullmatch(path.name) or not zipfile.is_zipfile(path):
        raise InvalidArgument(f"python.wheels: {named!r} is not a wheel", hint="python -m build --wheel makes one")
    if normalised_name(path.name.split("-")[0]) in OWN_NAMES:
        raise InvalidArgument(f"python.wheels: {named!r} would replace this package itself in the bento")
    return path


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _full_version(version: str) -> str:
    """`X.Y.Z` where this interpreter is that version, else what is known of it."""
    here = ".".join(map(str, sys.version_info[:3]))
    return here if _minor(here) == _minor(version) else version


def _as_lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
