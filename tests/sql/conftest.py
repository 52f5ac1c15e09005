from tests.sql.given import opened  # noqa: F401 - the fixture `connection`
