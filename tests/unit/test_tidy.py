"""The rules of the house that no linter knows. Lists of exceptions may only get shorter.

An exception that is none any more fails too: whoever mends one strikes it off.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from dev.workers import ROOT

SERVICE = (
    *("app", "agents", "web", "audit", "ledger", "tables", "wire", "domain", "importers", "core"),
)
HOUSE = (*SERVICE, "dev", "bench", "examples", "clients", "tests")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_FILES_IN_A_ROOM = 14

ALEMBIC = "ledger/migrations/"
#: An OSError is here what a library says of the bytes of an archive.
UNPACKING = "importers/documents/excel/"
#: It runs without the house around it.
STANDS_IN = "dev/readme/curl.py"

#: What each rule still has to overlook.
NAMES_TWICE = {
    "main",  # an entry point is called so
    "routes",  # of a module; called with its name before it
    "post",  # a command, and a request between workers
}
LONG_FILES: set[str] = set()
LONG_FUNCTIONS = {
    "wire/batches.py: pieces",
}
FULL_ROOMS: set[str] = set()
CIRCLES = {
    # The door of `faust -A app`: it asks for what is behind it once somebody comes.
    "app, app.counting.parts, app.group.process, app.wiring",
}
DOCUMENTS_GONE: set[str] = set()


@cache
def read(root: Path) -> list[tuple[str, str, ast.Module]]:
    """Path below the root, text and tree of each Python file of the house."""
    paths = [path for folder in HOUSE for path in sorted((root / folder).rglob("*.py"))]
    texts = [(path.relative_to(root).as_posix(), path.read_text()) for path in paths]
    return [(path, text, ast.parse(text)) for path, text in texts]


def files(root: Path, folders: tuple[str, ...]) -> Iterator[tuple[str, str, ast.Module]]:
    """Those in some of the folders."""
    return (each for each in read(root) if each[0].partition("/")[0] in folders)


def public_names(tree: ast.Module) -> Iterator[str]:
    """What a module defines for others; not type variables and loggers, which say nothing."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            targets = [
                one
                for target in node.targets
                for one in (target.elts if isinstance(target, ast.Tuple) else [target])
            ]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            continue
        yield from (n for n in names if not n.startswith("_") and len(n) > 1 and n != "log")


def names_twice(root: Path) -> set[str]:
    """Public names that more than one module of the service defines."""
    found: dict[str, set[str]] = defaultdict(set)
    for path, _, tree in files(root, SERVICE):
        if path.startswith(ALEMBIC):
            continue  # it calls what is in a step by names of its own
        for name in public_names(tree):
            found[name].add(path)
    return {name for name, paths in found.items() if len(paths) > 1}


def long_files(root: Path) -> set[str]:
    """Files that nobody reads in one go."""
    return {path for path, text, _ in files(root, HOUSE) if len(text.splitlines()) > MAX_FILE_LINES}


def long_functions(root: Path) -> set[str]:
    """Functions that fit on no screen."""
    return {
        f"{path}: {node.name}"
        for path, _, tree in files(root, HOUSE)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION_LINES
    }


def full_rooms(root: Path) -> set[str]:
    """Folders that hold more than one house."""
    count: dict[str, int] = defaultdict(int)
    for path, _, _ in files(root, HOUSE):
        room, _, name = path.rpartition("/")
        count[room] += name != "__init__.py"
    return {room for room, number in count.items() if number > MAX_FILES_IN_A_ROOM}


def rooms_without_a_word(root: Path) -> set[str]:
    """Folders whose `__init__` does not say what they are for; those of tests say it by name."""
    told_of = (*SERVICE, "dev", "bench")
    rooms = {path.rpartition("/")[0] for path, _, _ in files(root, told_of)}
    told = {
        path.rpartition("/")[0]
        for path, _, tree in files(root, told_of)
        if path.endswith("/__init__.py") and ast.get_docstring(tree)
    }
    return rooms - told


def imported(tree: ast.Module) -> Iterator[str]:
    """What a file imports, wherever it does: modules, and names in modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{one.name}" for one in node.names)


def not_imported(root: Path) -> set[str]:
    """Modules of the service that nothing needs."""
    names = {name for _, _, tree in files(root, HOUSE) for name in imported(tree)}
    needed = names | {name.rpartition(".")[0] for name in names}
    modules = {
        path.removesuffix(".py").replace("/", ".")
        for path, _, _ in files(root, SERVICE)
        if not path.endswith("__init__.py")
    }
    # Alembic finds the steps of the schema by their folder.
    steps = ALEMBIC.replace("/", ".")
    return {name for name in modules - needed if not name.startswith(steps)}


def circles(root: Path) -> set[str]:
    """Files of the service that need each other; what only types or functions import counts too.

    None of them can be read, tested or taken out without the others.
    """
    imports: dict[str, set[str]] = {}
    for path, _, tree in files(root, SERVICE):
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        imports[module] = set(imported(tree))
    needs: dict[str, set[str]] = {}
    for module, names in imports.items():
        # `from a import b`: the file b of the room a, or what the file a calls b.
        needs[module] = {
            name if name in imports else name.rpartition(".")[0] for name in names
        } & imports.keys()

    def all_needed(module: str) -> set[str]:
        found: set[str] = set()
        ahead = [module]
        while ahead:
            new = needs[ahead.pop()] - found
            found |= new
            ahead += new
        return found

    needed = {module: all_needed(module) for module in needs}
    return {
        ", ".join(sorted(other for other in needed[module] if module in needed[other]))
        for module in needs
        if module in needed[module]
    }


def documents_gone(root: Path) -> set[str]:
    """Documents that docstrings and comments send the reader to, and that are not there."""
    there = {path.name for path in root.glob("*.md")} | {p.name for p in root.glob("docs/**/*.md")}
    cited = re.compile(r"\b(?:docs/)?(?:decisions/)?([\w-]+\.md)\b|\b(DESIGN)\b")
    return {
        name
        for _, text, _ in files(root, SERVICE)
        for found in cited.finditer(text)
        if (name := found[1] or f"{found[2]}.md") not in there
    }


def paths_gone(root: Path) -> set[str]:
    """What the Makefile names in our rooms, and is not there: its target would end at once."""
    named = re.compile(rf"(?<![\w./])(?:{'|'.join((*HOUSE, 'docs', 'deploy'))})/[\w./-]*\w")
    found = named.findall((root / "Makefile").read_text())
    return {path for path in found if not (root / path).exists()}


#: What stands in their texts is for programmers: numbers, addresses, names of classes.
_FOREIGN = {"OSError", "SSLError", "TimeoutError", "KafkaError", "ClientError"}


def errors_not_in_words(root: Path) -> set[str]:
    """Errors of the system, of Kafka or of HTTP that a sentence quotes without `core.words`."""
    found = set()
    for path, _, tree in files(root, (*SERVICE, "dev")):
        if path.startswith((UNPACKING, STANDS_IN)):
            continue
        for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)):
            if handler.type is None or not _FOREIGN & set(
                re.findall(r"\w+", ast.unparse(handler.type))
            ):
                continue
            for node in ast.walk(handler):
                if isinstance(node, ast.FormattedValue):
                    quoted = (
                        node.value.values[0] if isinstance(node.value, ast.BoolOp) else node.value
                    )
                    if isinstance(quoted, ast.Name) and quoted.id == handler.name:
                        found.add(f"{path}: {handler.name}")
    return found


Rule = Callable[[Path], set[str]]
RULES: list[tuple[Rule, set[str]]] = [
    (names_twice, NAMES_TWICE),
    (long_files, LONG_FILES),
    (long_functions, LONG_FUNCTIONS),
    (full_rooms, FULL_ROOMS),
    (rooms_without_a_word, set()),
    (not_imported, set()),
    (circles, CIRCLES),
    (documents_gone, DOCUMENTS_GONE),
    (paths_gone, set()),
    (errors_not_in_words, set()),
]


@pytest.mark.parametrize(("rule", "overlooked"), RULES, ids=[rule.__name__ for rule, _ in RULES])
def test_the_house_is_tidy(rule: Rule, overlooked: set[str]) -> None:
    found = rule(ROOT)

    assert sorted(found - overlooked) == []
    assert sorted(overlooked - found) == []  # mended: strike it off the list


UNTIDY: list[tuple[Rule, dict[str, str], str]] = [
    (names_twice, {"web/a.py": "class Page: ...", "core/b.py": "x, Page = 1, 2"}, "Page"),
    (long_files, {"tests/a.py": "\n" * 401}, "tests/a.py"),
    (long_functions, {"dev/a.py": "def f():\n" + "    x = 1\n" * 60}, "dev/a.py: f"),
    (full_rooms, {f"web/http/m{n}.py": "" for n in range(15)}, "web/http"),
    (rooms_without_a_word, {"web/new/__init__.py": "", "web/new/a.py": "'A word.'"}, "web/new"),
    (not_imported, {"web/a.py": "import web.b", "web/b.py": ""}, "web.a"),
    (
        circles,
        {
            "web/a.py": "def f():\n    from web.in_b import b",
            "web/in_b/b.py": "import core.c\nfrom web import a",
            "core/c.py": "",
        },
        "web.a, web.in_b.b",
    ),
    (documents_gone, {"core/a.py": '"""See docs/decisions/0001-gone.md."""'}, "0001-gone.md"),
    (
        paths_gone,
        {"Makefile": "a:\n\tpytest tests/a.py tests/b.py >/dev/null", "tests/a.py": ""},
        "tests/b.py",
    ),
    (
        errors_not_in_words,
        {"app/a.py": "try: ...\nexcept (x.ClientError, ValueError) as e: f'No answer ({e!r})'"},
        "app/a.py: e",
    ),
]


@pytest.mark.parametrize(("rule", "house", "told"), UNTIDY, ids=[r.__name__ for r, _, _ in UNTIDY])
def test_what_is_not_tidy_is_found(
    rule: Rule, house: dict[str, str], told: str, tmp_path: Path
) -> None:
    for path, text in house.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert rule(tmp_path) == {told}
