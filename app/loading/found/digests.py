"""What a document says, as a digest that is remembered of it."""

from __future__ import annotations

import hashlib

from app.loading.pieces import DocumentPiece


class DocumentDigest:
    """A name for what a document says, however it is cut: it is remembered for ever."""

    def __init__(self) -> None:
        self._facts = hashlib.blake2b(digest_size=16)
        # Made when there is something: most documents of EPCIS are one fact.
        self._others: hashlib.blake2b | None = None
        self._besides: hashlib.blake2b | None = None
        self._is_contained = False

    def add(self, piece: DocumentPiece) -> None:
        """Take in a part of it."""
        self._facts.update(b"".join([fact.value for fact in piece.facts]))
        besides, contained = piece.said_besides(), piece.said_of_containers()
        if besides or contained:
            self._others = _more(self._others, besides + contained)
        if besides:
            self._besides = _more(self._besides, besides)
        self._is_contained |= bool(contained)

    def hexdigest(self) -> str:
        """Of all that came in."""
        return self._with(self._others)

    def uncontained(self) -> str:
        """As builds wrote it that knew of no containers; "" where that is the same."""
        return self._with(self._besides) if self._is_contained else ""

    def _with(self, others: hashlib.blake2b | None) -> str:
        return self._facts.hexdigest() + ("" if others is None else others.hexdigest())


def _more(so_far: hashlib.blake2b | None, said: bytes) -> hashlib.blake2b:
    found = so_far or hashlib.blake2b(digest_size=16)
    found.update(said)
    return found
