"""Links, files, commands, settings and code that the documents name, held against what there is.

Reads only; starts nothing. `python -m dev.readme` runs what can be run.
"""

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click

from app.config import PREFIX, Settings
from dev.commands import cli
from domain.events import Refusal
from web.http.problems import PAGES

#: Documents whose every name is checked; in the others only links and paths are.
CHECKED = (
    *("README.md", "docs/http.md", "docs/loading.md", "docs/operations.md", "docs/runbook.md"),
    "docs/scanners.md",
)
HTTP, RUNBOOK = "docs/http.md", "docs/runbook.md"
SERVICE = (
    *("app", "agents", "web", "audit", "ledger", "tables", "wire", "domain", "importers", "core"),
)

_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_FENCE = re.compile(r"^```(\w*)")
_FROM = re.compile(r"<!-- from (\S+) -->")
_PATH = re.compile(
    rf"(?:{'|'.join(SERVICE)}|dev|tests|bench|examples|clients|docs|deploy|schemas)/[\w./-]*"
)
_COMMAND = re.compile(r"(?:^|[\s;|&(])(?:\w+=\S+ )*onhand((?: +[^\s;|&#<>)`]+)*)")
_METRIC = re.compile(r"\bonhand_[a-z_]+\b")
_METRIC_PARTS = re.compile(r"_(total|count|sum|bucket)$")
# What ends a worker is awaited.
_LOUD = re.compile(r"log\.(warning|error|critical|exception)|await (self\.)?(app\.)?_?fail")
_EDGE = " .:,;()'\"`*"
_PLACEHOLDER = re.compile(r"%[.\d]*[a-z]")


class Fault(NamedTuple):
    """One thing in a document that is not so."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


class Block(NamedTuple):
    """One fenced block. `source`: the file that it shows; `expected`: what running it prints."""

    path: str
    line: int
    language: str
    text: str
    source: str | None
    expected: str | None


class Document(NamedTuple):
    """A Markdown file in pieces. `prose`: lines outside of fences, by number from 1."""

    path: str
    text: str
    prose: dict[int, str]
    blocks: list[Block]


def read(root: Path, path: str) -> Document:
    """Take a document apart. A `text` or `json` block behind another is its expected output."""
    text = (root / path).read_text()
    prose: dict[int, str] = {}
    blocks: list[Block] = []
    fence: tuple[int, str, list[str]] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line)
        if fence is not None and line.startswith("```"):
            before = [seen for seen in (prose.get(n, "") for n in range(fence[0])) if seen.strip()]
            source = _FROM.fullmatch(before[-1].strip()) if before else None
            content = "\n".join(fence[2])
            directly = bool(blocks) and not any(
                prose.get(n, "").strip() for n in range(_end(blocks[-1]) + 1, fence[0])
            )
            if fence[1] in ("text", "json") and directly and blocks[-1].expected is None:
                blocks[-1] = blocks[-1]._replace(expected=content)
            name = None if source is None else source[1]
            blocks.append(Block(path, fence[0], fence[1], content, name, None))
            fence = None
        elif fence is not None:
            fence[2].append(line)
        elif mark is not None:
            fence = number, mark[1], []
        else:
            prose[number] = line
    return Document(path, text, prose, blocks)


def _end(block: Block) -> int:
    return block.line + block.text.count("\n") + 2


def faults(root: Path) -> Iterator[Fault]:
    """Everything that the documents under `root` say and that is not so."""
    paths = ["README.md", "CHANGELOG.md"]
    paths += [str(path.relative_to(root)) for path in sorted((root / "docs").rglob("*.md"))]
    checked = {path: read(root, path) for path in CHECKED if (root / path).exists()}
    for path in paths:
        document = checked.get(path) or read(root, path)
        yield from _links(root, document)
        yield from _paths(root, document)
    for document in checked.values():
        yield from _names(root, document)
        yield from _shown(root, document)
    if RUNBOOK in checked:
        yield from _sentences(root, checked[RUNBOOK])
        yield from _unexplained(root, checked[RUNBOOK])
    yield from _left_out(root, checked)


def _links(root: Path, document: Document) -> Iterator[Fault]:
    for line, text in document.prose.items():
        for link in _LINK.finditer(_SPAN.sub(lambda span: span[0].replace("](", ""), text)):
            target, _, anchor = link["target"].partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            file = (root / document.path).parent / target if target else root / document.path
            if not file.exists():
                yield Fault(document.path, line, f"links to {target}, which is not there")
                continue
            if anchor and anchor not in _anchors(file.read_text()):
                yield Fault(document.path, line, f"links to {link['target']}: no such heading")
            test = re.fullmatch(r"`(test_\w+)`", link["text"])
            if test and f"def {test[1]}(" not in file.read_text():
                yield Fault(document.path, line, f"{target} has no {test[1]}")


def _paths(root: Path, document: Document) -> Iterator[Fault]:
    for line, text in document.prose.items():
        for span in _SPAN.findall(text):
            if _PATH.fullmatch(span) and not (root / span).exists():
                yield Fault(document.path, line, f"there is no {span}")


def _anchors(text: str) -> set[str]:
    """Headings as GitHub makes fragments of them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", title.replace("`", "")).lower() for title in titles)
    return {title.strip().replace(" ", "-") for title in kept}


def _names(root: Path, document: Document) -> Iterator[Fault]:
    known_settings = {PREFIX + field.upper() for field in Settings.__struct_fields__}
    targets = set(re.findall(r"^([a-z0-9]+):", (root / "Makefile").read_text(), re.MULTILINE))
    files = (file for room in ("web", "app") for file in sorted((root / room).rglob("*.py")))
    served = "".join(file.read_text() for file in files)
    metrics = set(re.findall(r'"(onhand_\w+)"', served))
    paths = set(re.findall(r'"(/v1/[a-z]+)', served))
    for line, text in enumerate(document.text.splitlines(), 1):

        def fault(what: str, line: int = line) -> Fault:
            return Fault(document.path, line, what)

        for name in re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]", text):
            if name not in known_settings:
                yield fault(f"there is no setting {name}")
        for name in _METRIC.findall(text):
            if _METRIC_PARTS.sub("", name) not in metrics and name not in metrics:
                yield fault(f"there is no metric {name}")
        for path in re.findall(r"/v1/[a-z]+", text):
            if path not in paths:
                yield fault(f"there is no call {path}")
        code = _SPAN.findall(text) if line in document.prose else [text]
        for span in code:
            for target in re.findall(r"^\s*make ([a-z0-9]+)", span):
                if target not in targets:
                    yield fault(f"the Makefile has no target {target}")
            for match in _COMMAND.finditer(span):
                if why := _unknown_command(match[1].split()):
                    yield fault(why)


def _metrics(root: Path, file: str = "metrics.py") -> set[str]:
    return set(re.findall(r'"(onhand_\w+)"', (root / "web/operations" / file).read_text()))


def _unknown_command(words: list[str]) -> str | None:
    """Walk down the command's tree; what comes behind the last command are its arguments."""
    command: click.Command = cli
    for word in words:
        if word.startswith("--"):
            options = {name for param in command.params for name in param.opts} | {"--help"}
            if command is cli:
                options.add("--version")
            if command.name != "worker" and word.partition("=")[0] not in options:
                return f"`onhand {' '.join(words)}`: no option {word}"
        elif isinstance(command, click.Group):
            if word not in command.commands:
                return f"`onhand {' '.join(words)}`: no command {word}"
            command = command.commands[word]
    return None


def _shown(root: Path, document: Document) -> Iterator[Fault]:
    for block in document.blocks:
        if block.source is not None:
            code = (root / block.source).read_text()
            indented = (textwrap.indent(block.text, " " * depth) for depth in (0, 4, 8))
            if not any(text in code for text in indented):
                yield Fault(block.path, block.line, f"{block.source} does not say this (any more)")


def _sentences(root: Path, runbook: Document) -> Iterator[Fault]:
    """Quotations of the runbook: `…` stands for a value, all else stands in the code."""
    literals = list(_literals(root))
    in_table = False
    for line, text in runbook.prose.items():
        in_table = text.startswith("| sentence ") or (in_table and text.startswith("|"))
        quoted = [text[2:]] if text.startswith("> ") else []
        if in_table:
            quoted = _SPAN.findall(text.split("|")[1])
        for piece in (piece for sentence in quoted for piece in sentence.split("…")):
            wanted = piece.strip(_EDGE)
            if len(wanted) >= 4 and not any(wanted in literal for literal in literals):
                yield Fault(runbook.path, line, f"no worker says {wanted!r}")


def _unexplained(root: Path, runbook: Document) -> Iterator[Fault]:
    """Whatever is logged as a warning or worse, or ends the worker, has an entry."""
    for path, tree in _trees(root):
        for call, name in _all_calls(tree):
            said = [text.strip(_EDGE) for text in _texts(call) if len(text) >= 9]
            if _LOUD.fullmatch(name) and said and not any(text in runbook.text for text in said):
                where = f"{path.relative_to(root)}:{call.lineno}"
                yield Fault(runbook.path, 1, f"no entry for {max(said, key=len)!r} ({where})")


@cache
def _all_calls(tree: ast.Module) -> list[tuple[ast.Call, str]]:
    return list(_calls(tree))


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call and the name of what is called; behind `await ` where it is awaited."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call):
            yield node.value, f"await {ast.unparse(node.value.func)}"
        elif isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def _literals(root: Path) -> Iterator[str]:
    for _, tree in _trees(root):
        yield from _all_texts(tree)


@cache
def _all_texts(tree: ast.Module) -> list[str]:
    return list(_texts(tree))


def _trees(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    for folder in SERVICE:
        for path in sorted((root / folder).rglob("*.py")):
            yield path, _parsed(path.read_text())


@cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _texts(tree: ast.AST) -> Iterator[str]:
    """Text of all string literals, cut where values are put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _PLACEHOLDER.split(node.value)


def _left_out(root: Path, checked: dict[str, Document]) -> Iterator[Fault]:
    """What must be in a document and is not."""
    yield from _missing("README.md", checked, (f"`{reason}`" for reason in Refusal))
    yield from _missing(
        HTTP, checked, (f"| {page.status} | `{name}` |" for name, page in PAGES.items())
    )
    yield from _missing(RUNBOOK, checked, _metrics(root))
    yield from _missing("docs/bridge.md", checked, _metrics(root, "bridging.py"))


def _missing(path: str, checked: dict[str, Document], words: Iterable[str]) -> Iterator[Fault]:
    if path in checked:
        for word in words:
            if word not in checked[path].text:
                yield Fault(path, 1, f"does not mention {word}")
