import pytest

# Here, because it is imported before all that imports the suites: their assertions then say what
# they compared.
pytest.register_assert_rewrite("ringfence.testing")
