"""A gateway with people in it, on both databases where what is stored matters most."""

import pytest
from people import world
from postgres_server import postgres

EVERY_DATABASE = {"test_users.py", "test_tenants.py", "test_audit.py", "test_keys.py", "test_policies.py", "test_refusals.py",
                  "test_contents.py"}


def pytest_generate_tests(metafunc):
    if "it" in metafunc.fixturenames:
        both = metafunc.definition.path.name in EVERY_DATABASE
        metafunc.parametrize("it", ["sqlite", "postgres"] if both else ["sqlite"], indirect=True)


@pytest.fixture
async def it(request, tmp_path):
    database = postgres().new_database() if request.param == "postgres" else None
    async with world(tmp_path, database=database) as made:
        made.directory = tmp_path
        yield made
