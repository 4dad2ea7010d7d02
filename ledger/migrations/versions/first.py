"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Take the step."""
    place = ("topic", "part", "off")
    op.create_table(
        "event",
        *_some("topic", sa.SmallInteger),
        *_some("part", sa.Integer),
        *_some("off log_at recorded_at", sa.BigInteger),
        *_maybe("occurred_at", sa.BigInteger),
        *_some("outcome", sa.SmallInteger),
        *_maybe("repeat_of", sa.BigInteger),
        *_maybe("kind", sa.SmallInteger),
        *_maybe("quantity", sa.Integer),
        *_maybe("crc content identity", sa.BigInteger),
        *_maybe("sku location source id reference reason actor", _TEXT),
        sa.PrimaryKeyConstraint(*place, name="event_pkey"),
    )
    op.create_index("event_row", "event", ["sku", "location", "topic", "log_at", "off"])
    op.create_index("event_identity", "event", ["identity"])
    op.create_table(
        "refusal",
        *_some("topic", sa.SmallInteger),
        *_some("part", sa.Integer),
        *_some("off", sa.BigInteger),
        *_some("reason detail", _TEXT),
        *_maybe("key value", sa.LargeBinary),
        *_some("headers", sa.LargeBinary),
        sa.PrimaryKeyConstraint(*place, name="refusal_pkey"),
    )
    op.create_table(
        "stock",
        *_some("sku location", _TEXT),
        *_some("part", sa.Integer),
        *_some("received dispatched sold returned adjusted", sa.BigInteger),
        *_some("events checksum updated_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("sku", "location", name="stock_pkey"),
    )
    op.create_table(
        "position",
        *_some("topic", sa.SmallInteger),
        *_some("part", sa.Integer),
        *_some("next_offset log_at complete_until", sa.BigInteger),
        *_some("applied repeated refused", sa.BigInteger),
        *_some("head", sa.LargeBinary),
        *_maybe("first_at first_crc last_off last_at last_crc", sa.BigInteger),
        sa.PrimaryKeyConstraint("topic", "part", name="position_pkey"),
    )
    op.create_table(
        "agreed",
        *_some("name value", _TEXT),
        sa.PrimaryKeyConstraint("name", name="agreed_pkey"),
    )


def downgrade() -> None:
    """Take it back."""
    for name in ("agreed", "position", "stock", "refusal", "event"):
        op.drop_table(name)


def _some(names: str, kind: object) -> list["sa.Column[object]"]:
    return [sa.Column(name, kind, nullable=False) for name in names.split()]  # type: ignore[arg-type]  # any type


def _maybe(names: str, kind: object) -> list["sa.Column[object]"]:
    return [sa.Column(name, kind) for name in names.split()]  # type: ignore[arg-type]  # any type
