"""Snapshots of long rows, where history begins, and a narrower index of rows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ADDED = {"stock": ("snapped",), "position": ("history_from", "history_at")}
_SUMS = "received dispatched sold returned adjusted events checksum updated_at occurred_until"


def upgrade() -> None:
    """Take the step; what of it is there already is left as it is."""
    there = sa.inspect(op.get_bind())
    for table, names in _ADDED.items():
        known = {column["name"] for column in there.get_columns(table)}
        for name in names:
            if name not in known:
                zero = sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
                op.add_column(table, zero)
    if not there.has_table("snapshot"):
        op.create_table(
            "snapshot",
            *(sa.Column(name, _TEXT, nullable=False) for name in ("sku", "location")),
            sa.Column("topic", sa.SmallInteger, nullable=False),
            *(sa.Column(n, sa.BigInteger, nullable=False) for n in ("off", *_SUMS.split())),
            sa.Column("opening", sa.SmallInteger, nullable=False),
            sa.PrimaryKeyConstraint("sku", "location", "topic", "off", name="snapshot_pkey"),
        )
    op.drop_index("event_row", "event", if_exists=True)
    op.create_index("event_row", "event", ["sku", "location", "topic", "off"])


def downgrade() -> None:
    """Take it back."""
    op.drop_index("event_row", "event")
    op.create_index("event_row", "event", ["sku", "location", "topic", "log_at", "off"])
    op.drop_table("snapshot")
    for table, names in _ADDED.items():
        for name in names:
            op.drop_column(table, name)
