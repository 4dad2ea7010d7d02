"""A registry that speaks HTTP; one for all tests, whose schemas stay."""

from collections.abc import Iterator

import pytest

from tests.support.topics.registries import Registry, serving


@pytest.fixture(scope="session")
def long_registry() -> Iterator[Registry]:
    with serving(Registry()) as running:
        yield running


@pytest.fixture
def registry(long_registry: Registry) -> Registry:
    long_registry.quiet()
    return long_registry
