"""A process confined as a unit file of deploy/ says, without systemd: for root, on Linux.

`python -m tests.support.deploying.confined UNIT -- PROGRAM ARGUMENT…` reads the unit and becomes
the program: in mounts of its own, as nobody, without capabilities, behind the filters of system
calls that systemd would load. The sets behind names such as @system-service are systemd's own: it
lists them. A call that is not among them ends the process, where systemd would have it fail: so
what goes well here asked for none.

What systemd does besides is not here: cgroups, a user namespace, and keeping its own state folder.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from ctypes import CDLL, POINTER, Structure, byref, c_char_p, c_int, c_uint, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from dev.workers import ROOT
from tests.support.deploying.units import told

NOBODY = 65534
#: Where the state folder is in there; all else is read-only.
STATE = Path("/mnt/state")
#: Empty in there, and who may write into it.
_HIDDEN = {Path("/mnt"): "755", Path("/root"): "755", Path("/home"): "755", Path("/tmp"): "1777"}
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

# ---- of the kernel's headers
_NEWNS, _NEWUTS, _NEWIPC = 0x00020000, 0x04000000, 0x08000000
_NAMESPACES = (0x00000080, _NEWNS, 0x02000000, _NEWUTS, _NEWIPC, 0x10000000, 0x20000000, 0x40000000)
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 1
_PDEATHSIG, _CAPBSET_DROP, _NO_NEW_PRIVS, _LAST_CAPABILITY = 1, 24, 38, 40
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
_REALTIME, _SETID_BITS = (1, 2, 6), (0o4000, 0o2000)

# ---- of libseccomp's
_KILL, _ALLOW = 0x80000000, 0x7FFF0000
_EQUAL, _GREATER, _MASKED = 4, 6, 7


def _fails_with(number: int) -> int:
    return 0x00050000 | number


class _Argument(Structure):
    """What one argument of a call must be for a rule to hold."""

    _fields_ = (("arg", c_uint), ("op", c_int), ("datum_a", c_uint64), ("datum_b", c_uint64))


class _Attributes(Structure):
    _fields_ = tuple((name, c_uint64) for name in ("set", "clear", "propagation", "userns"))


@cache
def _libc() -> CDLL:
    return CDLL(None, use_errno=True)


def missing() -> str | None:
    """What this machine lacks for it; None: nothing."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "only root may set up mounts."
    if shutil.which("systemd-analyze") is None:
        return "systemd-analyze, which knows the sets of system calls, is not installed."
    try:
        CDLL("libseccomp.so.2")
    except OSError:
        return "libseccomp is not installed."
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=60)
    return None if probe.returncode == 0 else "this container may not have mounts of its own."


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, os.strerror(number))


def _mount(source: str, target: Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    texts = [text.encode() for text in (source, str(target), kind)]
    _checked(_libc().mount(*texts, flags, data.encode()))


# ---- mounts


def _own_mounts(state: Path, kept: Iterable[Path]) -> None:
    """ProtectSystem=strict, ProtectHome, PrivateTmp, PrivateDevices, ProtectProc.

    `kept`: folders that are needed though they lie in what is hidden: of a Python in a home.
    """
    _checked(_libc().unshare(_NEWNS | _NEWUTS | _NEWIPC))
    root = Path("/")
    _mount("none", root, flags=_MS_REC | _MS_PRIVATE)
    held = {path: os.open(path, os.O_PATH) for path in (state, *kept)}
    _set(root, _AT_RECURSIVE, _Attributes(set=_READ_ONLY))
    for hidden, mode in _HIDDEN.items():
        _mount("tmpfs", hidden, "tmpfs", data=f"mode={mode}")
    _bind(held[state], STATE)
    _set(STATE, 0, _Attributes(clear=_READ_ONLY))
    for path in kept:
        _bind(held[path], path)
    _devices()
    _mount("proc", root / "proc", "proc", data="hidepid=invisible")
    for descriptor in held.values():
        os.close(descriptor)


def _set(target: Path, flags: int, attributes: _Attributes) -> None:
    where = (_AT_FDCWD, str(target).encode(), flags)
    size = c_uint64(ctypes.sizeof(attributes))
    _checked(_libc().syscall(_MOUNT_SETATTR, *where, byref(attributes), size))


def _bind(descriptor: int, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    _mount(f"/proc/self/fd/{descriptor}", target, flags=_MS_BIND | _MS_REC)


def _devices() -> None:
    devices = Path("/mnt/dev")
    devices.mkdir()
    for name in _DEVICES:
        (devices / name).touch()
        _mount(f"/dev/{name}", devices / name, flags=_MS_BIND)
    (devices / "shm").mkdir(mode=0o1777)
    (devices / "fd").symlink_to("/proc/self/fd")
    _mount(str(devices), Path("/dev"), flags=_MS_BIND | _MS_REC)


# ---- system calls


class Filter:
    """One filter of system calls, as the kernel gets it.

    Args:
        otherwise: what becomes of a call that no rule is about.
    """

    def __init__(self, otherwise: int) -> None:
        self._lib = CDLL("libseccomp.so.2")
        self._lib.seccomp_init.restype = c_void_p
        self._lib.seccomp_rule_add_array.argtypes = (
            c_void_p, c_uint, c_int, c_uint, POINTER(_Argument)
        )  # fmt: skip
        for name in ("seccomp_load", "seccomp_release"):
            getattr(self._lib, name).argtypes = (c_void_p,)
        self._lib.seccomp_syscall_resolve_name.argtypes = (c_char_p,)
        self._filter = self._lib.seccomp_init(c_uint(otherwise))

    def rule(self, action: int, call: str, *arguments: tuple[int, int, int, int]) -> None:
        """Of a call, where its arguments are so; a name of another architecture is none."""
        number = self._lib.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        array = (_Argument * max(len(arguments), 1))(*(_Argument(*one) for one in arguments))
        _checked(
            self._lib.seccomp_rule_add_array(self._filter, action, number, len(arguments), array)
        )

    def load(self) -> None:
        """From here on it holds, for all that this process starts."""
        _checked(self._lib.seccomp_load(self._filter))
        self._lib.seccomp_release(self._filter)


@cache
def calls_of(group: str) -> frozenset[str]:
    """Names of a set, as systemd has it; of a call: itself."""
    if not group.startswith("@"):
        return frozenset((group,))
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    names = [line.strip() for line in listed.splitlines()[1:]]
    found = [calls_of(name) for name in names if name and not name.startswith("#")]
    return frozenset[str]().union(*found)


def allowed_calls(lines: Sequence[str]) -> frozenset[str]:
    """By all `SystemCallFilter=` of a unit, in their order: the first lets in, `~` takes out."""
    allowed = calls_of("@default")
    for line in lines:
        named = [calls_of(group) for group in line.removeprefix("~").split()]
        some = frozenset[str]().union(*named)
        allowed = allowed - some if line.startswith("~") else allowed | some
    return allowed


def _filters(unit: dict[str, list[str]]) -> list[Filter]:
    """As systemd makes them of the unit: one for each setting."""
    calls = Filter(_KILL)
    for name in sorted(allowed_calls(unit["SystemCallFilter"])):
        calls.rule(_ALLOW, name)

    refused, families = _fails_with(errno.EPERM), Filter(_ALLOW)
    known = sorted(_FAMILIES[name] for name in unit["RestrictAddressFamilies"][0].split())
    unsupported = _fails_with(errno.EAFNOSUPPORT)
    families.rule(unsupported, "socket", (0, _GREATER, known[-1], 0))
    for family in range(known[-1]):
        if family not in known:
            families.rule(unsupported, "socket", (0, _EQUAL, family, 0))

    rest = Filter(_ALLOW)
    assert unit["RestrictNamespaces"] == unit["RestrictRealtime"] == ["yes"]
    assert unit["RestrictSUIDSGID"] == unit["LockPersonality"] == ["yes"]
    # Its flags lie in memory, where no filter looks: the C library then takes clone.
    rest.rule(_fails_with(errno.ENOSYS), "clone3")
    rest.rule(refused, "setns")
    for flag in _NAMESPACES:
        rest.rule(refused, "clone", (0, _MASKED, flag, flag))
        rest.rule(refused, "unshare", (0, _MASKED, flag, flag))
    for policy in _REALTIME:
        rest.rule(refused, "sched_setscheduler", (1, _EQUAL, policy, 0))
    for call, at in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2)):
        for bit in _SETID_BITS:
            rest.rule(refused, call, (at, _MASKED, bit, bit))
    rest.rule(refused, "personality", (0, _GREATER, 0, 0))
    return [families, rest, calls]


# ---- to become it


def confine(unit: dict[str, list[str]], state: Path, kept: Iterable[Path]) -> None:
    """Confine this process, for good. Its state folder is `STATE` from here on.

    Steps, in this order: what each needs, the next one takes away.

    1. Mounts, which root alone may make.
    2. Filters are made, by a program that is started; and not loaded yet.
    3. Capabilities and the user go.
    4. Nothing may be gained any more, without which nobody may load a filter.
    5. Filters are loaded, the one that ends whoever is not content last.
    """
    os.chown(state, NOBODY, NOBODY)
    filters = _filters(unit)
    _own_mounts(state, kept)
    for capability in range(_LAST_CAPABILITY + 1):
        _checked(_libc().prctl(_CAPBSET_DROP, capability, 0, 0, 0))
    os.setgroups(())
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # The change of user has taken this back.
    _checked(_libc().prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    os.umask(int(unit["UMask"][0], 8))
    _checked(_libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    for one in filters:
        one.load()


def main() -> None:
    """See the top of the file; the state folder is ONHAND_DATA_DIR."""
    file, _, *program = sys.argv[1:]
    state = Path(os.environ["ONHAND_DATA_DIR"])
    state.mkdir(parents=True, exist_ok=True)
    needed = {ROOT, Path(sys.prefix), Path(sys.base_prefix).resolve()}
    kept = [path for path in needed if any(one in path.parents for one in _HIDDEN)]
    confine(told(Path(file)), state, kept)
    environment = {**os.environ, "ONHAND_DATA_DIR": str(STATE), "HOME": "/"}
    os.execve(program[0], program, environment)


if __name__ == "__main__":
    main()
