"""Tools for people and tests; the service never imports them."""
