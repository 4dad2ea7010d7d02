"""Fetch Apache Kafka's jars, by Maven where it is installed and without it elsewhere.

`jars.lock` beside this file names each with its SHA-256. Whatever way a jar came, it is used
only if it is the locked one. `python -m dev.jars` (`make lock`) writes that file from `pom.xml`.
"""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from dev.java import CACHE, KafkaUnavailable, java, one_at_a_time, said_if_slow

POM = Path(__file__).with_name("pom.xml")
LOCK = Path(__file__).with_name("jars.lock")
CENTRAL = "https://repo1.maven.org/maven2"
#: Names another repository; beats Maven's settings.
VARIABLE = "MAVEN_REPOSITORY"
AT_ONCE = 8
TIMEOUT_S = 30.0


class Jar(NamedTuple):
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """Of the file."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Below any Maven repository, local or not."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"


class Repository(NamedTuple):
    """Where jars are loaded from, and the header that lets us in, if one is needed."""

    url: str
    authorization: str = ""


def locked() -> list[Jar]:
    """Every jar that a broker needs."""
    lines = (line for line in LOCK.read_text().splitlines() if not line.startswith("#"))
    split = (re.split(r":| sha256:", line) for line in lines)
    return [Jar(*fields) for fields in split]


def jars() -> Path:
    """The folder with Kafka's jars, fetched once and kept in `.kafka/`.

    Raises:
        KafkaUnavailable: nothing could fetch them, or what came is not what is locked.
    """
    folder = CACHE / f"lib-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    java()  # its absence is told before 43 MB are fetched
    with one_at_a_time():
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            with said_if_slow("Kafka: fetching Apache Kafka 4.4 (45 jars, 43 MB) …"):
                _fetch(part, locked())
            part.rename(folder)
    return folder


def _fetch(folder: Path, wanted: list[Jar]) -> None:
    """Put all into the folder: what Maven has loaded before, then what is missing."""
    local = local_repository()
    for jar in wanted:
        if (local / jar.path).is_file() and _sha256(local / jar.path) == jar.sha256:
            shutil.copyfile(local / jar.path, folder / jar.name)
    missing = [jar for jar in wanted if not (folder / jar.name).exists()]
    if not missing:
        return
    by_maven = _by_maven(folder)
    if by_maven is not None:
        repository = repository_in_use()
        if by_download := _by_download(folder, missing, repository):
            tried = f"Maven could not ({by_maven}), and " if by_maven else ""
            raise KafkaUnavailable(
                f"Kafka's jars could not be fetched: {tried}{repository.url} gave no "
                f"{by_download}. Look at your network, or set {VARIABLE} to the address of a Maven "
                "repository that this machine reaches."
            )
    brought, expected = {path.name for path in folder.iterdir()}, {jar.name for jar in wanted}
    if different := brought ^ expected:
        raise KafkaUnavailable(
            f"dev/pom.xml and dev/jars.lock differ in {', '.join(sorted(different))}: "
            "run `make lock`."
        )
    for jar in wanted:
        if (found := _sha256(folder / jar.name)) != jar.sha256:
            raise KafkaUnavailable(
                f"{jar.name} is not the file that dev/jars.lock names (its SHA-256 is {found}, not "
                f"{jar.sha256}): ask whoever runs your Maven repository what it is."
            )


def _by_maven(folder: Path, *options: str) -> str | None:
    """Have Maven copy them: None. Else what went wrong; empty if it is not installed."""
    maven = shutil.which("mvn")
    if maven is None:
        return ""
    command = [maven, "--batch-mode", "--quiet", "--file", str(POM), *options]
    command += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-DoutputDirectory={folder}"]
    environment = dict(os.environ)
    home = java().parent.parent
    if (home / "release").exists():  # else a shim on PATH, which Maven finds by itself
        environment["JAVA_HOME"] = str(home)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stdout.splitlines() if "ERROR" in line]
    return lines[0] if lines else f"exit code {done.returncode}"


def _by_download(folder: Path, wanted: Iterable[Jar], repository: Repository) -> str:
    """Load them over HTTP; an empty text, or the first that failed and why."""

    def load(jar: Jar) -> str:
        request = urllib.request.Request(f"{repository.url}/{jar.path}")
        if repository.authorization:
            request.add_unredirected_header("Authorization", repository.authorization)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                (folder / jar.name).write_bytes(answer.read())
        except (OSError, ValueError) as error:  # HTTP's refusals are OSErrors too
            return f"{jar.name} ({str(error).strip('<>')})"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return next((problem for problem in pool.map(load, wanted) if problem), "")


def repository_in_use() -> Repository:
    """`MAVEN_REPOSITORY`, else the mirror of Maven's settings, else Maven Central."""
    if named := os.environ.get(VARIABLE):
        return Repository(named.rstrip("/"))
    for settings in _settings():
        for mirror in settings.iterfind("mirrors/mirror"):
            of = {word.strip() for word in mirror.findtext("mirrorOf", "").split(",")}
            if "!central" in of or not of & {"*", "central", "external:*"}:
                continue
            url = _filled_in(mirror.findtext("url", ""))
            return Repository(url.rstrip("/"), _login(settings, mirror.findtext("id", "")))
    return Repository(CENTRAL)


def local_repository() -> Path:
    """Where Maven keeps what it loaded."""
    for settings in _settings():
        if named := settings.findtext("localRepository", "").strip():
            return Path(_filled_in(named))
    return Path.home() / ".m2" / "repository"


def _settings() -> list[ElementTree.Element]:
    """Maven's settings, the user's before the machine's, without their XML namespace."""
    found = []
    for path in (Path.home() / ".m2" / "settings.xml", Path("/etc/maven/settings.xml")):
        try:
            text = path.read_text()
        except OSError:
            continue
        try:
            found.append(ElementTree.fromstring(re.sub(r'\sxmlns="[^"]*"', "", text, count=1)))
        except ElementTree.ParseError as error:
            raise KafkaUnavailable(f"{path} is not XML ({error}): correct it.") from error
    return found


def _login(settings: ElementTree.Element, name: str) -> str:
    for server in settings.iterfind("servers/server"):
        if server.findtext("id") == name and (user := server.findtext("username")):
            pair = f"{_filled_in(user)}:{_filled_in(server.findtext('password', ''))}"
            return "Basic " + base64.b64encode(pair.encode()).decode()
    return ""


def _filled_in(text: str) -> str:
    """Put values for Maven's `${env.NAME}` and `${user.home}`."""
    text = text.strip().replace("${user.home}", str(Path.home()))
    return re.sub(r"\$\{env\.(\w+)\}", lambda found: os.environ.get(found[1], ""), text)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    """Write the lock file again from the POM, by Maven."""
    CACHE.mkdir(exist_ok=True)
    tree = CACHE / "lock-tree"
    shutil.rmtree(tree, ignore_errors=True)
    problem = _by_maven(tree, "-Dmdep.useRepositoryLayout=true")
    if problem is not None:
        print(f"dev/jars.lock needs Maven: {problem or 'install it'}.", file=sys.stderr)
        return 1
    lines = []
    for path in tree.rglob("*.jar"):
        *group, artifact, version, _ = path.relative_to(tree).parts
        lines.append(f"{'.'.join(group)}:{artifact}:{version} sha256:{_sha256(path)}\n")
    shutil.rmtree(tree)
    heading = "# Apache Kafka and all that it runs on, from dev/pom.xml. Written by `make lock`.\n"
    LOCK.write_text(heading + "".join(sorted(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
