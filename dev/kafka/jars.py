"""Fetch jars of Apache Kafka, by Maven where it is installed and without it elsewhere.

A lock file names each with its SHA-256. Whatever way a jar came, it is used only if it is the
locked one. `python -m dev.kafka.jars` (`make lock`) writes the lock files from the POMs beside
them.
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

from dev.kafka.java import CACHE, KafkaUnavailable, java, one_at_a_time, said_if_slow

CENTRAL = "https://repo1.maven.org/maven2"
#: Names another repository; beats Maven's settings.
VARIABLE = "MAVEN_REPOSITORY"
AT_ONCE = 8
TIMEOUT_S = 30.0


class Bundle(NamedTuple):
    """A Java program: what it is called where it is fetched, and which jars it needs."""

    what: str
    pom: Path
    lock: Path


KAFKA = Bundle(
    "Apache Kafka 4.4 (45 jars, 43 MB)",
    Path(__file__).with_name("pom.xml"),
    Path(__file__).with_name("jars.lock"),
)
MIRROR_MAKER = Bundle(
    "Kafka's MirrorMaker 4.3 (59 jars, 34 MB)",
    Path(__file__).with_name("mirror.pom.xml"),
    Path(__file__).with_name("mirror.lock"),
)


class Jar(NamedTuple):
    """One line of a lock file."""

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


def locked(bundle: Bundle) -> list[Jar]:
    """Every jar that the program needs."""
    lines = (line for line in bundle.lock.read_text().splitlines() if not line.startswith("#"))
    split = (re.split(r":| sha256:", line) for line in lines)
    return [Jar(*fields) for fields in split]


def jars(bundle: Bundle = KAFKA) -> Path:
    """The folder with the program's jars, fetched once and kept in `.kafka/`.

    Raises:
        KafkaUnavailable: nothing could fetch them, or what came is not what is locked.
    """
    folder = CACHE / f"lib-{hashlib.sha256(bundle.lock.read_bytes()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    java()  # its absence is told before all of it is fetched
    with one_at_a_time():
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            with said_if_slow(f"Kafka: fetching {bundle.what} …"):
                _fetch(part, bundle)
            part.rename(folder)
    return folder


def jars_of(version: str) -> Path:
    """The folder with another Kafka's jars, for the tests of what brokers Onhand runs on.

    Not locked: they come by Maven alone, which checks what the repository says of each.

    Raises:
        KafkaUnavailable: there is no Maven, or it could not fetch them.
    """
    folder = CACHE / f"lib-{version}"
    with one_at_a_time():
        if not folder.is_dir():
            pom = CACHE / f"{version}.pom.xml"
            pom.write_text(
                re.sub(
                    r"(kafka_2.13.*?<version>)[^<]*",
                    rf"\g<1>{version}",
                    KAFKA.pom.read_text(),
                    flags=re.S,
                )
            )
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            problem = _by_maven(KAFKA._replace(pom=pom), part)
            if problem is not None:
                raise KafkaUnavailable(f"Kafka {version} needs Maven: {problem or 'install it'}.")
            part.rename(folder)
    return folder


def _fetch(folder: Path, bundle: Bundle) -> None:
    """Put all into the folder: what Maven has loaded before, then what is missing."""
    wanted, local = locked(bundle), local_repository()
    for jar in wanted:
        if (local / jar.path).is_file() and _sha256(local / jar.path) == jar.sha256:
            shutil.copyfile(local / jar.path, folder / jar.name)
    missing = [jar for jar in wanted if not (folder / jar.name).exists()]
    if not missing:
        return
    by_maven = _by_maven(bundle, folder)
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
            f"dev/kafka/{bundle.pom.name} and dev/kafka/{bundle.lock.name} differ in "
            f"{', '.join(sorted(different))}: run `make lock`."
        )
    for jar in wanted:
        if (found := _sha256(folder / jar.name)) != jar.sha256:
            raise KafkaUnavailable(
                f"{jar.name} is not the file that dev/kafka/{bundle.lock.name} names "
                f"(its SHA-256 is {found}, not {jar.sha256}): "
                "ask whoever runs your Maven repository what it is."
            )


def _by_maven(bundle: Bundle, folder: Path, *options: str) -> str | None:
    """Have Maven copy them: None. Else what went wrong; empty if it is not installed."""
    maven = shutil.which("mvn")
    if maven is None:
        return ""
    command = [maven, "--batch-mode", "--quiet", "--file", str(bundle.pom), *options]
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
    """Write the lock files again from the POMs, by Maven."""
    CACHE.mkdir(exist_ok=True)
    for bundle in (KAFKA, MIRROR_MAKER):
        if problem := _write_lock(bundle):
            print(f"dev/kafka/{bundle.lock.name} needs Maven: {problem}.", file=sys.stderr)
            return 1
    return 0


def _write_lock(bundle: Bundle) -> str:
    """An empty text, or what went wrong."""
    tree = CACHE / "lock-tree"
    shutil.rmtree(tree, ignore_errors=True)
    problem = _by_maven(bundle, tree, "-Dmdep.useRepositoryLayout=true")
    if problem is not None:
        return problem or "install it"
    lines = []
    for path in tree.rglob("*.jar"):
        *group, artifact, version, _ = path.relative_to(tree).parts
        lines.append(f"{'.'.join(group)}:{artifact}:{version} sha256:{_sha256(path)}\n")
    shutil.rmtree(tree)
    heading = f"# {bundle.what}, from {bundle.pom.name} beside this. Written by `make lock`.\n"
    bundle.lock.write_text(heading + "".join(sorted(lines)))
    return ""


if __name__ == "__main__":
    sys.exit(main())
