"""Every refusal is one of a closed set, in one shape, with a page behind it."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from web.http.problems import PAGES, PROBLEM_JSON, Page, Problem, page_of, problem

# docs/http.md lists them: these names and statuses are published and never change.
PUBLISHED = {
    "invalid-request": 400,
    "missing-identity": 400,
    "unknown-key": 404,
    "method-not-allowed": 405,
    "too-large": 413,
    "unsupported-media-type": 415,
    "too-busy": 503,
    "not-ready": 503,
    "not-caught-up": 503,
    "too-stale": 503,
    "partitions-unavailable": 503,
    "append-failed": 503,
    "append-incomplete": 503,
}
ADDED = {"log-unavailable": 503, "unknown-path": 404, "request-timeout": 408, "internal-error": 500}
ADDED |= {"audit-not-running": 503}
ADDED |= {"history-not-running": 503, "missing-scope": 403, "repair-refused": 409}
ADDED |= {"unreadable-document": 422, "lines-refused": 422, "load-unfinished": 503}
ADDED |= {"already-loaded": 409, "document-conflict": 409}
ADDED |= {"before-history": 404, "unauthenticated": 401}


def body_of(response: web.Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


def test_every_problem_has_a_page_and_the_published_status() -> None:
    assert {str(name): page.status for name, page in PAGES.items()} == PUBLISHED | ADDED
    assert set(PAGES) == set(Problem)


@pytest.mark.parametrize("name", Problem)
def test_a_problem_is_rfc_9457(name: Problem) -> None:
    response = problem(name, "This very case.", errors=[{"line": 1}])

    body = json.loads(body_of(response))
    assert response.status == body["status"] == PAGES[name].status
    assert response.headers["Content-Type"] == PROBLEM_JSON
    assert body["type"] == f"/problems/{name}"
    assert body["title"]
    assert body["detail"] == "This very case."
    assert body["errors"] == [{"line": 1}]


@pytest.mark.parametrize("name", Problem)
def test_every_503_and_only_a_503_says_when_to_come_back(name: Problem) -> None:
    retry_after = problem(name, "…").headers.get("Retry-After")

    if PAGES[name].status == 503:
        assert retry_after is not None
        assert int(retry_after) >= 1
    else:
        assert retry_after is None


def test_retry_after_is_rounded_up_to_whole_seconds() -> None:
    assert problem(Problem.NOT_READY, "…", retry_after_s=0.2).headers["Retry-After"] == "1"
    assert problem(Problem.NOT_READY, "…", retry_after_s=2.1).headers["Retry-After"] == "3"


@pytest.mark.parametrize(("name", "page"), PAGES.items())
async def test_every_problem_has_a_page_for_people(name: Problem, page: Page) -> None:
    request = make_mocked_request("GET", f"/problems/{name}", match_info={"name": str(name)})

    response = await page_of(request)

    assert response.status == 200
    assert response.content_type == "text/html"
    text = body_of(response).decode()
    assert page.title in text
    assert name in text
    assert "What to do" in text
    assert len(text) < 4096
    assert text.count("<code>") == text.count("</code>")


async def test_a_page_that_does_not_exist_is_a_problem_itself() -> None:
    request = make_mocked_request("GET", "/problems/no", match_info={"name": "no"})

    assert (await page_of(request)).status == 404
