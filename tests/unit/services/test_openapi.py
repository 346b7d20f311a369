"""The OpenAPI documents: valid, complete, and made from the types that the code uses."""

import dataclasses
import json
import re
from enum import Enum
from typing import get_type_hints

from geminivideo.runtime.http import Text

METHODS = {"get", "post"}
SCHEMA_KEYS = {
    "$ref", "title", "description", "type", "properties", "required", "items", "prefixItems",
    "minItems", "maxItems", "anyOf", "oneOf", "enum", "default", "additionalProperties", "format",
    "const",
}  # fmt: skip


def walk(node, path=()):
    """Every (path, mapping) of a document."""
    if isinstance(node, dict):
        yield path, node
        for name, value in node.items():
            yield from walk(value, (*path, name))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, (*path, index))


def follow(document, ref):
    node = document
    for part in ref.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def test_the_document_is_openapi_3_1(api, ask):
    """The served document has what OpenAPI 3.1 demands: version, info, paths with operations."""
    status, document, _ = ask(api, "GET", "/openapi.json")
    assert status == 200
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"]
    for path, item in document["paths"].items():
        assert path.startswith("/")
        assert set(item) <= METHODS
        for operation in item.values():
            assert operation["responses"]
            assert operation["summary"]
            assert all(answer["description"] for answer in operation["responses"].values())


def test_every_reference_resolves(api):
    """Every $ref points at a schema of the document, and every schema is pointed at."""
    document = api.openapi()
    refs = {node["$ref"] for _, node in walk(document) if isinstance(node.get("$ref"), str)}
    assert refs
    for ref in refs:
        assert isinstance(follow(document, ref), dict)
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert schemas == refs


def test_component_names_are_allowed(api):
    """Names of components keep to the characters that OpenAPI allows."""
    for name in api.openapi()["components"]["schemas"]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+", name)


def test_schemas_use_known_keywords(api):
    """Schemas are JSON Schema 2020-12: no keyword that it does not have."""
    for name, schema in api.openapi()["components"]["schemas"].items():
        assert set(schema) <= SCHEMA_KEYS, name
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), name


def test_every_route_is_listed(api):
    """Every route with its method, path parameters, query and body is in the document."""
    document = api.openapi()
    for route in api.routes:
        operation = document["paths"][route.path][route.method.lower()]
        given = {(one["in"], one["name"]) for one in operation["parameters"]}
        in_path = {("path", name) for name in re.findall(r"{(\w+)}", route.path)}
        assert given == in_path | {("query", name) for name in route.query}
        assert all(one["required"] for one in operation["parameters"] if one["in"] == "path")
        assert ("requestBody" in operation) is (route.body is not None)
        assert str(route.status) in operation["responses"]
    listed = {(path, method) for path, item in document["paths"].items() for method in item}
    assert listed == {(route.path, route.method.lower()) for route in api.routes}


def test_operations_of_the_general_rules(api):
    """Health, metrics and the document itself are on every service."""
    paths = api.openapi()["paths"]
    for path in ("/health", "/health/ready", "/health/live", "/metrics", "/openapi.json"):
        assert "get" in paths[path]
    assert "text/plain" in paths["/metrics"]["get"]["responses"]["200"]["content"]


def test_schemas_are_made_from_the_types(api):
    """A body's or answer's schema has exactly the members of its dataclass."""
    schemas = api.openapi()["components"]["schemas"]
    kinds = [k for r in api.routes for t in (r.body, r.answer) for k in _each(t)]
    for kind in kinds:
        if not dataclasses.is_dataclass(kind) or kind is Text:
            continue
        schema = schemas[kind.__name__]
        names = {f.name for f in dataclasses.fields(kind)}
        assert set(schema["properties"]) == names
        missing = dataclasses.MISSING
        needed = {
            f.name
            for f in dataclasses.fields(kind)
            if f.default is missing and f.default_factory is missing
        }
        assert set(schema.get("required", ())) == needed


def _each(kind):
    return () if kind is None else kind if isinstance(kind, tuple) else (kind,)


def test_every_type_is_documented(api):
    """Each body and answer says what it is, and so does each handler."""
    for route in api.routes:
        assert route.handler.__doc__, route.path
        for kind in (*_each(route.body), *_each(route.answer)):
            if dataclasses.is_dataclass(kind):
                assert kind.__doc__, kind


def test_enums_list_their_values(apis):
    """A member that is an enum lists its values in the schema."""
    schemas = apis["gateway"].openapi()["components"]["schemas"]
    from geminivideo.records import FlowStatus

    assert schemas["FlowStatus"]["enum"] == sorted(one.value for one in FlowStatus)
    assert issubclass(get_type_hints(_flow())["status"], Enum)


def _flow():
    from geminivideo.records import Flow

    return Flow


def test_the_documents_are_stable(apis):
    """Building a document twice gives the same bytes."""
    for api in apis.values():
        assert json.dumps(api.openapi()) == json.dumps(api.openapi())


def test_routes_of_the_reference(apis):
    """The routes that this landing promises are there, on the services that promise them."""
    promised = {
        "gateway": {
            "POST /api/ingest/local/folder", "POST /api/ingest/drive/folder", "POST /api/uploads",
            "GET /api/assets", "GET /api/assets/{id}", "GET /api/assets/{id}/clips",
            "POST /api/score/storyboard", "POST /api/campaigns", "GET /api/campaigns/{id}",
            "GET /api/render/jobs/{id}", "GET /api/pending-ad-changes",
            "GET /api/ad-change-history", "POST /api/ml/predict-ctr", "POST /api/ml/predict/ctr",
            "GET /api/flows", "GET /api/flows/{id}",
        },
        "drive_intel": {
            "POST /ingest/local/folder", "POST /ingest/drive/folder", "GET /assets",
            "GET /assets/{id}/clips", "POST /search/clips",
        },
        "video_agent": {
            "POST /api/render/remix", "GET /api/pro/health", "GET /api/pro/job/{id}",
        },
        "meta_publisher": {"GET /api/pending-ad-changes", "GET /api/ad-change-history"},
        "ml_service": {"POST /api/ml/predict-ctr"},
        "titan_core": {"POST /director/generate", "POST /council/evaluate"},
    }  # fmt: skip
    for name, wanted in promised.items():
        assert wanted <= {f"{route.method} {route.path}" for route in apis[name].routes}
