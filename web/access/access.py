"""May this request be answered? Asked once, before anything else looks at it.

Both doors of a worker ask here: the usual one by `guarding`, around each handler, and the short
way by `at_once`, on bytes. What cannot be let through there goes the usual way, which says why.
Whoever gets in by a worker's proof is judged by this worker's own tokens again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias

from aiohttp import web

from web.access import proofs
from web.access.beats import Beats
from web.access.callers import CALLER, Caller, Scope
from web.access.certificates import PLAIN, Tls
from web.access.denials import Denial
from web.access.proofs import NOBODY, PROOF, PeerMode, PeerSecrets
from web.access.tokens import Tokens
from web.access.watched import WatchedFile
from web.http.connections import leave_out
from web.http.gate import judged_again_by
from web.http.problems import Problem, problem
from web.http.raw.shortcuts import Shortcut, Take
from web.http.replies import Handler

#: What only workers may say begins so.
_OF_WORKERS = "onhand-"
_BEGINNINGS = (b"\r\nAuthorization: Bearer ", b"\r\nauthorization: Bearer ")
#: How many of a worker's callers are known again by their headers, and by how long ones: whoever
#: may read could fill the memory else.
_SEEN = 1024
_SEEN_BYTES = 2048
#: What a worker of another version passes on is what any client asks, proof or no proof.
_HOP, _BY_DOOR = "Onhand-Hop", "door"
_REALM = 'Bearer realm="onhand"'
_READING = ("GET", "HEAD")


class Demand(StrEnum):
    """What a call asks for that asks for no scope.

    NOTHING: open to all. ANY_TOKEN: whatever it is good for. WORKER: the proof of a worker.
    OPERATOR: either that, or a token with `operate`.
    """

    NOTHING = "nothing"
    ANY_TOKEN = "any token"  # noqa: S105 - no password
    WORKER = "worker"
    OPERATOR = "operate, or a worker"


#: Bytes of a request that is let in, without what says who calls; who it is. None: anybody.
_Admitted: TypeAlias = tuple[bytes, Caller | None]


class Access:
    """Judges the requests of one process. With neither file, everybody may do everything.

    Args:
        tokens: who may call what; None: off.
        secrets: by which workers prove to be workers; None: off.
        url: of this process, as others reach it.
        metrics_are_open: /metrics asks for nothing.
        tls: what connections are secured by.
    """

    def __init__(
        self,
        tokens: WatchedFile[Tokens] | None = None,
        secrets: WatchedFile[PeerSecrets] | None = None,
        url: str = "",
        *,
        metrics_are_open: bool = False,
        tls: Tls = PLAIN,
    ) -> None:
        self._tokens, self._secrets, self._url = tokens, secrets, url
        self._metrics_are_open = metrics_are_open
        self.tls = tls
        #: Is there anything to judge?
        self.is_on = tokens is not None or secrets is not None
        self.has_tokens = tokens is not None
        #: Headers of those who were let in by these tokens, and what is left of them: a client
        #: sends the same ones each time, and to judge them takes a third of a read.
        #: Plain pairs, asked for in `at_once` itself: a call and a named tuple more cost a tenth.
        self._seen: dict[bytes, _Admitted] = {}
        self._seen_of: Tokens | None = None
        self.refused: Counter[str] = Counter({each: 0 for each in Denial})

    # ---- what this worker says to others

    def signed(self, url: str, request: bytes) -> bytes:
        """A request to another worker, with the proof and whom it is for."""
        if self._secrets is None:
            return request
        caller = CALLER.get()
        by = NOBODY if caller is None else caller.id
        return proofs.signed(self._secrets.get(), request, url, by)

    def beats(self, topic: str) -> Beats:
        """For those who write and read heartbeats."""
        return Beats(self._secrets, topic, self.refused)

    # ---- the short way

    def at_once(
        self, data: bytes, take: Take, shortcut: Shortcut, need: Scope = Scope.READ
    ) -> bytes | None:
        """As the shortcut answers, in the name of who calls; None: not at once.

        It is given the bytes without what this room reads. data: a head, or what begins with one.
        """
        if self._tokens is None and (self._secrets is None or self._secrets.get() is None):
            return shortcut(data, take)  # anybody's, as it is: every read goes through here
        at = data.find(b"\r\n")
        if self._tokens is None or self._tokens.get() is not self._seen_of:
            admitted = self._admitted(data, at)
        elif (seen := self._seen.get(data[at:])) is not None:
            rest, caller = seen
            admitted = data[:at] + rest, caller
        else:
            admitted = self._admitted(data, at)
        if admitted is None:
            return None
        request, caller = admitted
        if caller is not None and need not in caller.scopes:
            return None
        before = CALLER.set(caller)
        try:
            return shortcut(request, take)
        finally:
            CALLER.reset(before)

    def _admitted(self, data: bytes, at: int) -> _Admitted | None:
        """For the first time by these headers, which begin there."""
        secrets = None if self._secrets is None else self._secrets.get()
        if self._tokens is None:
            return self._plain(data, secrets)
        tokens = self._tokens.get()
        if tokens is not self._seen_of:
            self._seen.clear()
            self._seen_of = tokens
        admitted = self._plain(data, secrets)
        is_short = len(data) - at <= _SEEN_BYTES
        if admitted is not None and is_short and PROOF.encode() not in data:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            left, caller = admitted
            self._seen[data[at:]] = left[at:], caller
        return admitted

    def _plain(self, data: bytes, secrets: PeerSecrets | None) -> _Admitted | None:
        if secrets is not None:
            found = proofs.split(data)
            if found is not None:
                return self._of_worker(secrets, *found)
            if b"onhand-" in data.lower():
                return None
        if self._tokens is None:
            return data, None
        for beginning in _BEGINNINGS:
            at = data.find(beginning)
            if at >= 0:
                start = at + len(beginning)
                end = data.find(b"\r\n", start)
                caller = self._tokens.get().caller_of(data[start:end])
                return None if caller is None else (data[:at] + data[end:], caller)
        return None

    def _of_worker(self, secrets: PeerSecrets, value: bytes, rest: bytes) -> _Admitted | None:
        by = proofs.vouched(secrets, value, rest.removesuffix(b"\r\n\r\n"), self._url)
        if by is None:
            return None
        if self._tokens is None:
            return rest, None
        if by == NOBODY:
            return (rest, None) if secrets.mode is PeerMode.SIGN else None
        caller = self._tokens.get().named(by)
        return None if caller is None else (rest, caller)

    # ---- the usual way

    def guarding(self, need: Scope | Demand) -> Callable[[str, Handler], Handler]:
        """For all routes that need the same."""
        return lambda path, handler: self._guarded(need, handler)

    def of_operations(self) -> Callable[[str, Handler], Handler]:
        """For the calls of those who run it."""
        metrics = Demand.NOTHING if self._metrics_are_open else Scope.OPERATE
        probes = dict.fromkeys(("/live", "/ready"), Demand.NOTHING)
        needs = {**probes, "/metrics": metrics, "/v1/cluster": Scope.OPERATE}
        return lambda path, handler: self._guarded(needs.get(path, Scope.OPERATE), handler)

    def admits(self, request: web.Request, need: Scope) -> bool:
        """Whether a request that was let in would be let in now: of an answer without an end."""
        return not self.is_on or not isinstance(self._judge(request, need), web.Response)

    def _guarded(self, need: Scope | Demand, handler: Handler) -> Handler:
        if not self.is_on or need is Demand.NOTHING:
            return handler

        async def handle(request: web.Request) -> web.StreamResponse:
            known = None if self._tokens is None else self._tokens.get()
            proven = self._proven(request, need)
            if isinstance(proven, web.Response):
                return proven
            by: str | None = proven
            judged = self._by_tokens(request, need, by)
            if isinstance(judged, web.Response):
                return judged

            def again() -> web.Response | None:
                # What was proven stays so; whose token it is may have changed.
                nonlocal known
                if self._tokens is None or self._tokens.get() is known:
                    return None
                known = self._tokens.get()
                now = self._by_tokens(request, need, by)
                if isinstance(now, web.Response):
                    return now
                CALLER.set(now)
                return None

            before = CALLER.set(judged)
            try:
                with judged_again_by(again):
                    answer = await handler(request)
                    # What was only read may be kept back still; what was done may not.
                    is_read = need is Scope.READ or request.method in _READING
                    late = again() if is_read and not answer.prepared else None
                    return answer if late is None else late
            finally:
                CALLER.reset(before)

        return handle

    def _judge(self, request: web.Request, need: Scope | Demand) -> Caller | web.Response | None:
        """Who calls, or the refusal."""
        by = self._proven(request, need)
        return by if isinstance(by, web.Response) else self._by_tokens(request, need, by)

    def _proven(self, request: web.Request, need: Scope | Demand) -> str | web.Response | None:
        """For whom a worker asks; None: no worker does. Or the refusal.

        What only workers may say is taken out of others' requests.
        """
        by, is_required = None, self.has_tokens
        if self._secrets is not None:
            secrets = self._secrets.get()
            is_required |= secrets.mode is PeerMode.REQUIRE
            by = self._vouched(request, secrets)
        if by is None and any(name.lower().startswith(_OF_WORKERS) for name in request.headers):
            self.refused[Denial.UNPROVEN_REQUEST] += 1
            if is_required:
                leave_out(request, _OF_WORKERS)
        if need is Demand.WORKER and is_required and (by is None or _is_passed_on(request)):
            return self._unauthenticated("Only another worker may ask this.", "")
        return by

    def _by_tokens(
        self, request: web.Request, need: Scope | Demand, by: str | None
    ) -> Caller | web.Response | None:
        """Who calls, or the refusal; by: as `_proven` says."""
        if self._tokens is None:
            return None
        if need is Demand.OPERATOR and (by is None or _is_passed_on(request)):
            need = Scope.OPERATE
        if by is not None:
            return self._known(by, need, self._tokens.get())
        return self._bearer(request, need, self._tokens.get())

    def _vouched(self, request: web.Request, secrets: PeerSecrets) -> str | None:
        values = request.headers.getall(PROOF, [])
        if len(values) != 1:
            return None
        lines = [f"{request.method} {request.raw_path} HTTP/1.1".encode(errors="surrogateescape")]
        lines += [b"%b: %b" % pair for pair in request.raw_headers if pair[0] != PROOF.encode()]
        value = values[0].encode(errors="surrogateescape")
        return proofs.vouched(secrets, value, b"\r\n".join(lines), self._url)

    def _known(self, by: str, need: Scope | Demand, tokens: Tokens) -> Caller | web.Response | None:
        """Whom another worker has let in, by this worker's tokens."""
        caller = tokens.named(by)
        if need in (Demand.WORKER, Demand.OPERATOR):
            return caller
        if by == NOBODY:
            assert self._secrets is not None
            if self._secrets.get().mode is PeerMode.SIGN:
                return None  # it runs without tokens still
            return self._missing(need, "Another worker asks for somebody who has no token.")
        if caller is None:
            detail = f"Another worker knows a token {by}, this one does not: their files differ."
            return self._missing(need, detail)
        return self._scoped(caller, need)

    def _bearer(
        self, request: web.Request, need: Scope | Demand, tokens: Tokens
    ) -> Caller | web.Response:
        given = request.headers.getall("Authorization", [])
        if not given:
            return self._unauthenticated("This call needs a token: `Authorization: Bearer …`.", "")
        scheme, _, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer":
            detail = "There must be one Authorization header, and it must say Bearer."
            return self._unauthenticated(detail, "")
        caller = tokens.caller_of(token.strip(" ").encode(errors="surrogateescape"))
        if caller is None:
            detail = "The token is not one that is known here, or no longer."
            return self._unauthenticated(detail, ', error="invalid_token"')
        return self._scoped(caller, need)

    def _scoped(self, caller: Caller, need: Scope | Demand) -> Caller | web.Response:
        if isinstance(need, Scope) and need not in caller.scopes:
            held = ", ".join(sorted(caller.scopes))
            return self._missing(need, f"This call needs the scope {need}; the token has {held}.")
        return caller

    def _unauthenticated(self, detail: str, error: str) -> web.Response:
        self.refused[Denial.UNAUTHENTICATED] += 1
        headers = {"WWW-Authenticate": _REALM + error}
        return problem(Problem.UNAUTHENTICATED, detail, headers=headers)

    def _missing(self, need: Scope | Demand, detail: str) -> web.Response:
        self.refused[Denial.MISSING_SCOPE] += 1
        return missing_scope(detail, need if isinstance(need, Scope) else None)


def _is_passed_on(request: web.Request) -> bool:
    """Whether the worker that asks only hands on what its client asks for."""
    return request.headers.get(_HOP) == _BY_DOOR


def missing_scope(detail: str, scope: Scope | None = None, **members: Any) -> web.Response:
    """403: who calls is known and may not. `scope`: None where it is not for want of one."""
    error = f'{_REALM}, error="insufficient_scope"'
    if scope is not None:
        members["scope"] = scope
        error += f', scope="{scope}"'
    return problem(Problem.MISSING_SCOPE, detail, headers={"WWW-Authenticate": error}, **members)


#: Everybody may do everything.
OPEN = Access()
