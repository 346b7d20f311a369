"""docs/http.md tells the routes as they are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "http.md"
BEGIN, END = "<!-- routes: begin -->", "<!-- routes: end -->"


def section(name, port, document):
    """One service's routes as a table: method and path, body, answer, what it does."""
    lines = [f"## {name} :{port}", "", "| route | body | answer | |", "|---|---|---|---|"]
    for path, item in sorted(document["paths"].items()):
        for method, operation in sorted(item.items()):
            lines.append(row(method.upper(), path, operation))
    return [*lines, ""]


def row(method, path, operation):
    query = [p["name"] for p in operation["parameters"] if p["in"] == "query"]
    asked = f"?{'&'.join(f'{name}=' for name in query)}" if query else ""
    success = next(status for status in operation["responses"] if status.startswith("2"))
    body = kinds(operation.get("requestBody", {}))
    answer = f"{success} {kinds(operation['responses'][success])}".strip()
    summary = operation["summary"].removesuffix(".")
    return f"| {method} `{path}{asked}` | {body} | {answer} | {summary} |"


def kinds(content):
    """The schema names of a body or answer."""
    (found,) = content.get("content", {"": {"schema": {}}}).items()
    media, schema = found[0], found[1]["schema"]
    every = [one.get("$ref", "") for one in schema.get("oneOf", [schema])]
    names = [f"`{ref.rpartition('/')[2]}`" for ref in every if ref]
    return " or ".join(names) or ("text" if media == "text/plain" else "")


def routes(apis):
    """The generated part of the page."""
    from geminivideo.topology import SERVICES

    ports = {step.name: step.wakes_on.local_port for step in SERVICES}
    in_order = sorted(apis, key=ports.__getitem__)
    lines = [line for name in in_order for line in section(name, ports[name], apis[name].openapi())]
    return "\n".join([BEGIN, "", *lines, END])


def test_the_page_is_not_stale(apis):
    """The page's tables are those of the OpenAPI documents; GV_WRITE_PAGES=1 writes them."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    fresh = before + routes(apis) + after
    if os.environ.get("GV_WRITE_PAGES"):
        PAGE.write_text(fresh, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == fresh, "run this test with GV_WRITE_PAGES=1"


def test_every_service_is_on_the_page(apis):
    """Each service of the map has its section with its port."""
    from geminivideo.topology import SERVICES

    text = PAGE.read_text(encoding="utf-8")
    assert {step.name for step in SERVICES} == set(apis)
    for step in SERVICES:
        assert f"## {step.name} :{step.wakes_on.local_port}" in text


def test_every_setting_on_the_page_is_read_somewhere():
    """Environment variables that the page names are read by the code."""
    import re

    named = set(re.findall(r"`(GV_[A-Z_]+)`", PAGE.read_text(encoding="utf-8")))
    code = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "shared" / "geminivideo").rglob("*.py")
    )
    assert named
    assert {name for name in named if name not in code} == {"GV_WRITE_PAGES"} & named
