"""The route table: what is not in it is denied, and a path in disguise stays what it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UnknownRoute
from gateway.routes import MethodNotAllowed, RouteTable


def call() -> None:
    """Stands for what a route does."""


@pytest.fixture
def table() -> RouteTable:
    routes = RouteTable()
    routes.add("GET", "/v1/models", "key", call)
    routes.add("GET", "/v1/models/{id...}", "key", call)
    routes.add("POST", "/v1/models/import", "loopback", call)
    routes.add("GET", "/v1/files/{file}/content", "key", call)
    routes.add("GET", "/v1/files/{file}", "key", call)
    routes.add("GET", "/health/live", "public", call)
    return routes


def test_an_exact_path_leads_to_its_route(table: RouteTable):
    route, params = table.match("GET", "/v1/models")
    assert (route.pattern, route.permission, params) == ("/v1/models", "key", {})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/v1/models/gpt-4o", "gpt-4o"),
        ("/v1/models/meta/llama-3", "meta/llama-3"),
        ("/v1/models/meta%2Fllama-3", "meta/llama-3"),
        ("/v1/models/100%25%2Fx", "100%/x"),
        ("/v1/models/a%252Fb", "a%2Fb"),
        ("/v1/models/../admin", "../admin"),
        ("/v1/models/import", "import"),
    ],
)
def test_the_rest_parameter_takes_slashes_and_is_decoded_once(table: RouteTable, path: str, value: str):
    assert table.match("GET", path)[1] == {"id": value}


def test_a_parameter_is_one_segment(table: RouteTable):
    assert table.match("GET", "/v1/files/f1/content")[1] == {"file": "f1"}
    assert table.match("GET", "/v1/files/a%2Fb")[1] == {"file": "a/b"}
    with pytest.raises(UnknownRoute):
        table.match("GET", "/v1/files/a/b")


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "//", "/v1", "/v1/", "/v1/models/", "//v1/models", "/v1//models", "/v1%2Fmodels", "/V1/models",
        "/v1/Models", "/v1/./models", "/x/../v1/models", "/v1/models;a=b", "v1/models", "http://host/v1/models",
        "/v1/files/", "/v1/files//content", "/health/live/", "/health/live%00", "/health/live\x00", "/" * 8000,
    ],
)
def test_a_disguised_path_leads_nowhere(table: RouteTable, path: str):
    with pytest.raises(UnknownRoute) as caught:
        table.match("GET", path)
    assert caught.value.status == 404
    assert len(caught.value.message) < 400


def test_a_known_path_with_another_method_names_the_methods(table: RouteTable):
    with pytest.raises(MethodNotAllowed) as caught:
        table.match("DELETE", "/v1/models/import")
    assert caught.value.status == 405
    assert caught.value.headers == {"Allow": "GET, HEAD, POST"}
    with pytest.raises(MethodNotAllowed):
        table.match("get", "/v1/models")


def test_head_is_answered_by_the_get_route(table: RouteTable):
    assert table.match("HEAD", "/health/live")[0].pattern == "/health/live"
    assert table.match("HEAD", "/v1/models/x")[1] == {"id": "x"}


@pytest.mark.parametrize("permission", ["", "Key", "admin", None])
def test_a_route_without_a_known_permission_refuses_the_start(permission: str):
    with pytest.raises(ValueError, match="needs one"):
        RouteTable().add("GET", "/x", permission, call)


@pytest.mark.parametrize(
    ("method", "pattern"),
    [
        ("get", "/x"), ("", "/x"), ("GET /", "/x"), ("GET", "x"), ("GET", "/x%2f"), ("GET", "/x?y"), ("GET", "/a{id}"),
        ("GET", "/{id...}/x"), ("GET", "/{id}/{id}"), ("GET", "/{}"), ("GET", "/{a b}"), ("GET", "/{id}x"),
    ],
)
def test_a_bad_route_refuses_the_start(method: str, pattern: str):
    with pytest.raises(ValueError, match="route "):
        RouteTable().add(method, pattern, "key", call)


def test_a_duplicate_refuses_the_start_also_under_another_parameter_name(table: RouteTable):
    with pytest.raises(ValueError, match="two routes for GET /v1/models"):
        table.add("GET", "/v1/models", "public", call)
    with pytest.raises(ValueError, match="registered as /v1/models"):
        table.add("GET", "/v1/models/{name...}", "public", call)


def test_all_routes_can_be_listed(table: RouteTable):
    assert sorted(route.pattern for route in table if route.permission == "public") == ["/health/live"]
    assert len(list(table)) == 6


@given(st.text(alphabet="/v1modelsfi%2F.;\\\x00", max_size=40))
def test_only_paths_of_the_table_match(path: str):
    """Whatever the path, the result is a route whose pattern has exactly that literal prefix, or none."""
    table = RouteTable()
    table.add("GET", "/v1/models", "key", call)
    table.add("GET", "/v1/models/{id...}", "key", call)
    try:
        route, _ = table.match("GET", path)
    except UnknownRoute:
        return
    assert path == "/v1/models" or (path.startswith("/v1/models/") and route.pattern == "/v1/models/{id...}")
