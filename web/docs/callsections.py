"""The calls of an OpenAPI document, each with what it takes and gives, as HTML."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from web.docs.shapes import Field, Shapes, example, fields_table
from web.http.multipart import FORM_DATA
from web.http.problems import PAGES, PROBLEM_JSON, prose

CALL_SHAPES = "shape-"


def call_sections(document: Mapping[str, Any]) -> Iterator[str]:
    """A section for each group of calls."""
    shapes = Shapes(document["components"]["schemas"], CALL_SHAPES)
    url = document["servers"][0]["url"]
    for tag in document["tags"]:
        calls = "".join(
            _call(method, path, call, shapes, url)
            for path, methods in document["paths"].items()
            for method, call in methods.items()
            if tag["name"] in call.get("tags", ())
        )
        name = html.escape(tag["name"])
        anchor = group_anchor(tag["name"])
        text = f"<p>{prose(tag['description'])}</p>"
        yield f'<section id="{anchor}"><h2>Calls: {name}</h2>{text}{calls}</section>'


def group_anchor(tag: str) -> str:
    """Where the calls of a group begin."""
    return "calls-" + tag.replace(" ", "-")


def _call(method: str, path: str, call: Mapping[str, Any], shapes: Shapes, url: str) -> str:
    parts = (
        f"<h3><code>{method.upper()} {html.escape(path)}</code></h3>",
        f"<p>{prose(call['summary'])}</p>",
        _needs(call),
        _parameters(call, shapes),
        _body(call, shapes),
        *_answers(call, shapes),
        example("With curl", curl_of(method, path, call, url)),
    )
    return f'<article id="{html.escape(call["operationId"])}">{"".join(parts)}</article>'


def _needs(call: Mapping[str, Any]) -> str:
    scopes = [scope for way in call.get("security", ()) for scope in way.get("token", ())]
    if not scopes:
        return ""
    return f'<p class="dim">Needs a token with the scope {prose(f"`{scopes[0]}`")}.</p>'


def _parameters(call: Mapping[str, Any], shapes: Shapes) -> str:
    return fields_table(
        "Parameter",
        (
            Field(
                f"{each['name']}",
                f"{shapes.kind(each['schema'])} <small>in the {each['in']}</small>",
                each.get("description", ""),
                each.get("required", False),
            )
            for each in call.get("parameters", ())
        ),
    )


def _body(call: Mapping[str, Any], shapes: Shapes) -> str:
    if "requestBody" not in call:
        return ""
    shown = ""
    for media, form in call["requestBody"]["content"].items():
        shown += f"<p>Takes <code>{html.escape(media)}</code>: {shapes.kind(form['schema'])}</p>"
        if "example" in form:
            shown += example("Example of a body", form["example"])
    return shown


def _answers(call: Mapping[str, Any], shapes: Shapes) -> Iterator[str]:
    """What it gives when it says yes, then how it says no."""
    refusals = []
    for status, response in call["responses"].items():
        for media, form in response.get("content", {}).items():
            if media == PROBLEM_JSON:
                refusals += _problems(form["schema"])
                continue
            kind = shapes.kind(form["schema"])
            yield f"<p>{status} <code>{html.escape(media)}</code>: {kind}</p>"
            if "example" in form:
                yield example(f"Example of {status}", form["example"])
        if not response.get("content"):
            yield f"<p>{status}: {prose(response['description'])}</p>"
        if names := [name for name in response.get("headers", {}) if int(status) < 400]:
            shown = ", ".join(f"<code>{html.escape(name)}</code>" for name in names)
            yield f'<p class="dim">{status} has headers {shown}</p>'
    if refusals:
        yield f'<p class="dim">Says no by {", ".join(refusals)}</p>'


def _problems(schema: Mapping[str, Any]) -> list[str]:
    names = [one["$ref"].rpartition("/")[2] for one in schema.get("oneOf", [schema])]
    return [f'<a href="problems/{name}">{PAGES[name].status} {name}</a>' for name in names]


def curl_of(method: str, path: str, call: Mapping[str, Any], url: str) -> str:
    """The call as somebody types it, by the document's own examples."""
    query = []
    for each in call.get("parameters", ()):
        given = each.get("example", (each["schema"].get("enum") or [None])[0])
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", quote(str(given), safe=""))
        elif each["in"] == "query" and each.get("required"):
            query.append(f"{each['name']}={quote(str(given or 'x'), safe='')}")
    words = ["curl", "-s", url + path + ("?" + "&".join(query) if query else "")]
    if any("token" in way for way in call.get("security", ())):
        words += ["-H", "Authorization: Bearer $ONHAND_TOKEN"]
    if method == "post":
        content = call["requestBody"]["content"]
        media, form = next(iter(content.items()))
        if media == FORM_DATA:
            for name in form["example"]:
                words += ["-F", f"{name}=@{name.upper()}"]
        else:
            if media != "application/json":
                words += ["-H", f"Content-Type: {media}"]
            words += ["-d", json.dumps(form["example"], ensure_ascii=False)]
    # In double quotes, so that the shell puts the token in.
    return " ".join(f'"{w}"' if "$ONHAND_TOKEN" in w else shlex.quote(w) for w in words)
