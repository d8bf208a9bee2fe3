"""As pure as the unit tests: no Ray, no sleep."""

from tests.unit.conftest import _pure  # noqa: F401  a fixture
