"""What connector authors test with: contract suites, strategies, faults, real servers. Needs pytest."""

import pytest

pytest.register_assert_rewrite("vecferry.testing.contracts")
