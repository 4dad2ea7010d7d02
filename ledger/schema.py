"""The ledger's tables: one schema for SQLite and PostgreSQL.

`event` holds every record of the log, one line each, whatever became of it. What was refused
is kept in `refusal` besides, exactly as it came. `stock` holds the sums of all applied events,
`position` how far each topic-partition is; both change in the transaction of the lines.
`snapshot` saves adding up long rows.

Times are microseconds since the epoch in bigint columns: no time zone, no driver's rounding,
the same order in both databases. Texts are compared byte by byte in both. Nothing in an index
is in descending order: an index is read backwards as well, and SQLite's reflection does not see
the difference.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from domain.rows import ROW_FIELDS, UPDATED_AT
from ledger.sums import QUANTITIES

METADATA: Final = MetaData()
_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")


def _some(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


#: One record. topic: number of its role, 0 to 2. log_at: the greatest broker's time so far in
#: its topic-partition, which never goes back; recorded_at: the broker's own. occurred_at: as
#: recorded_at where the event does not say it. outcome: `ledger.lines.OUTCOMES`. repeat_of:
#: offset of the event that it says again. kind, quantity, crc, content, identity: as in
#: `domain/columns.py`. field, amount: as there, where the rules make them something else than
#: kind and quantity (`ledger/sums.py`); by rules 2 always NULL.
#: Nothing but the first five and the outcome is known of every record.
event_table: Final = Table(
    "event",
    METADATA,
    _some("topic", SmallInteger),
    _some("part", Integer),
    _some("off", BigInteger),
    _some("log_at", BigInteger),
    _some("recorded_at", BigInteger),
    Column("occurred_at", BigInteger),
    _some("outcome", SmallInteger),
    Column("repeat_of", BigInteger),
    Column("kind", SmallInteger),
    Column("quantity", Integer),
    Column("crc", BigInteger),
    Column("content", BigInteger),
    Column("identity", BigInteger),
    Column("sku", _TEXT),
    Column("location", _TEXT),
    Column("source", _TEXT),
    Column("id", _TEXT),
    Column("reference", _TEXT),
    Column("reason", _TEXT),
    Column("actor", _TEXT),
    Column("field", SmallInteger),
    Column("amount", Integer),
    PrimaryKeyConstraint("topic", "part", "off", name="event_pkey"),
    # Of one row and topic, offsets and log_at rise together: no time is in the index.
    Index("event_row", "sku", "location", "topic", "off"),
    # Of a hash, not of the texts: source and id may have 1,024 characters each, and a line of
    # PostgreSQL's index takes about 2,700 bytes. The texts are compared after. Not unique: an
    # id that comes again beyond the window is another event.
    Index("event_identity", "identity"),
)

#: A refused record as it came, and why. headers: MessagePack, a list of [name, content].
refusal_table: Final = Table(
    "refusal",
    METADATA,
    _some("topic", SmallInteger),
    _some("part", Integer),
    _some("off", BigInteger),
    _some("reason", _TEXT),
    _some("detail", _TEXT),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    _some("headers", LargeBinary),
    PrimaryKeyConstraint("topic", "part", "off", name="refusal_pkey"),
)


def _sums() -> list[Column[Any]]:
    """As `ledger/sums.py`; those that came with newer rules are 0 in lines of before."""
    added = QUANTITIES.keys() - range(UPDATED_AT)
    return [
        Column(name, BigInteger, nullable=False, server_default="0" if number in added else None)
        for number, name in enumerate(ROW_FIELDS)
    ]


#: Sums of what was applied, by SKU and location. checksum: as in the table, before the modulo.
#: snapped: how many of the events are in the snapshots of the row.
stock_table: Final = Table(
    "stock",
    METADATA,
    _some("sku", _TEXT),
    _some("location", _TEXT),
    _some("part", Integer),
    *_sums(),
    Column("snapped", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("sku", "location", name="stock_pkey"),
)

#: What one transaction adds to `stock`; each session of PostgreSQL has its own, empty again
#: after every commit.
change_table: Final = Table(
    "stock_change",
    MetaData(),
    _some("sku", _TEXT),
    _some("location", _TEXT),
    _some("part", Integer),
    *_sums(),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)

#: Sums of a row's applied events of one topic below an offset. Such a prefix never changes, so
#: anybody can make one at any time; it saves adding up what is before it, and it is all that
#: is left of what was before `position.history_from`.
#: occurred_until: the latest time at which one of them happened. opening: 1 of what stands for
#: lines that are gone, else 0.
snapshot_table: Final = Table(
    "snapshot",
    METADATA,
    _some("sku", _TEXT),
    _some("location", _TEXT),
    _some("topic", SmallInteger),
    _some("off", BigInteger),
    *_sums(),
    _some("occurred_until", BigInteger),
    _some("opening", SmallInteger),
    PrimaryKeyConstraint("sku", "location", "topic", "off", name="snapshot_pkey"),
)

#: How far one topic-partition is, and what must be known of its past to go on.
#: complete_until: no record that is still to come has a log_at up to this time.
#: head: of the chain over every record so far (`ledger/chain.py`).
#: first_at, first_crc, last_off, last_at, last_crc: tell the topic from another one of its name;
#: the times are the broker's, in ms.
#: history_from: lines below this offset are gone (`onhand ledger compact`), and snapshots
#: stand for them. history_at: log_at of the last of those, 0 if there are none.
position_table: Final = Table(
    "position",
    METADATA,
    _some("topic", SmallInteger),
    _some("part", Integer),
    _some("next_offset", BigInteger),
    _some("log_at", BigInteger),
    _some("complete_until", BigInteger),
    _some("applied", BigInteger),
    _some("repeated", BigInteger),
    _some("refused", BigInteger),
    _some("head", LargeBinary),
    Column("first_at", BigInteger),
    Column("first_crc", BigInteger),
    Column("last_off", BigInteger),
    Column("last_at", BigInteger),
    Column("last_crc", BigInteger),
    Column("history_from", BigInteger, nullable=False, server_default="0"),
    Column("history_at", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("topic", "part", name="position_pkey"),
)

#: By which rules this ledger was written.
agreed_table: Final = Table(
    "agreed",
    METADATA,
    _some("name", _TEXT),
    _some("value", _TEXT),
    PrimaryKeyConstraint("name", name="agreed_pkey"),
)
