"""What rules 3 need: which number of its row a line changes, and goods that came back damaged."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ADDED = {
    "event": (sa.Column("field", sa.SmallInteger), sa.Column("amount", sa.Integer)),
    "stock": (sa.Column("damaged", sa.BigInteger, nullable=False, server_default="0"),),
    "snapshot": (sa.Column("damaged", sa.BigInteger, nullable=False, server_default="0"),),
}


def upgrade() -> None:
    """Take the step; what of it is there already is left as it is. No line is written anew."""
    there = sa.inspect(op.get_bind())
    for table, columns in _ADDED.items():
        known = {column["name"] for column in there.get_columns(table)}
        for column in columns:
            if column.name not in known:
                op.add_column(table, column)


def downgrade() -> None:
    """Take it back."""
    for table, columns in _ADDED.items():
        for column in columns:
            op.drop_column(table, column.name)
