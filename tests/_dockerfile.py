"""An independent reader of Dockerfiles for the tests: instructions as the builders understand them, or an error.

It follows the published rules: parser directives, comments, continued lines, exec form as JSON, quotes and escapes in
ENV and LABEL. Where builders differ (heredocs, an unquoted variable, a rare line break) it fails instead of choosing.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

KEYWORDS = {
    "ARG", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER", "WORKDIR",
}  # fmt: skip


class Instruction(NamedTuple):
    keyword: str
    flags: tuple[str, ...]
    form: str  # "exec", "shell", "words" or "pairs"
    words: tuple[str, ...]


def instructions(text: str) -> list[Instruction]:
    assert not set(text) & set("\r\0\x0b\x0c\x85\u2028\u2029"), "a character that ends a line for some reader"
    assert not re.match(r"#\s*\w+\s*=", text), "a parser directive"
    found, pending = [], ""
    for line in text.split("\n"):
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        if line.endswith("\\"):
            pending += line[:-1]
            continue
        found.append(_instruction((pending + line).strip()))
        pending = ""
    assert not pending, "the last line goes on into nothing"
    return found


def _instruction(line: str) -> Instruction:
    keyword, _, rest = line.partition(" ")
    assert keyword in KEYWORDS, f"no instruction: {line!r}"
    rest, flags = rest.strip(), []
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        flags.append(flag)
        rest = rest.strip()
    if keyword == "HEALTHCHECK":
        assert rest.startswith("CMD ")
        rest = rest.removeprefix("CMD ")
    if keyword in ("ENV", "LABEL"):
        return Instruction(keyword, tuple(flags), "pairs", _pairs(rest))
    if rest.startswith("["):
        words = json.loads(rest)
        assert all(isinstance(word, str) for word in words)
        return Instruction(keyword, tuple(flags), "exec", tuple(words))
    assert not re.search(r"(^|\s)\d*<<", rest), "a heredoc"
    if keyword == "RUN":
        return Instruction(keyword, tuple(flags), "shell", (rest,))
    return Instruction(keyword, tuple(flags), "words", tuple(rest.split()))


def _pairs(rest: str) -> tuple[str, ...]:
    """`KEY=VALUE` for each pair, quotes and escapes resolved; only `$PATH` may be a variable."""
    pairs = []
    while rest:
        found = re.match(r'(?P<key>[\w.]+)=(?:"(?P<quoted>(?:[^"\\$]|\\.)*)"|(?P<plain>[\w./:$-]*))(?:\s+|$)', rest)
        assert found, f"neither a quoted nor a plain value: {rest!r}"
        if found["quoted"] is not None:
            value = re.sub(r"\\(.)", r"\1", found["quoted"])
        else:
            assert "$" not in found["plain"].replace("$PATH", ""), rest
            value = found["plain"]
        pairs.append(f"{found['key']}={value}")
        rest = rest[found.end() :]
    return tuple(pairs)
