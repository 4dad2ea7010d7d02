"""Versions side by side: their record, who runs them, and what people do with them."""
