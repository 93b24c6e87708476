"""One operation of an OpenAPI document, tried with generated requests by Schemathesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.http.hostile import check_harmless

RIGHT, WRONG = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
TOO_LARGE = 413


def check_operation(
    document: dict[str, Any],
    path: str,
    url: str,
    *,
    examples: int,
    refuses: bool,
    known: Mapping[str, Any] | None = None,
) -> None:
    """Check status, content type and body of answers, and that wrong data is refused.

    That null stands for an argument that is left out is not described (core/models.py), and so not
    tried where it would have to be refused.

    Args:
        document: What describes the server.
        path: Of the operation.
        url: Where the server is.
        examples: How many requests are made; about half of them are wrong.
        refuses: Whether requests that fit the description may be refused all the same.
        known: Values of arguments that name something there is. Given, no tool may break, and
            results (not errors) may also name files and programs.
    """
    operation = schemathesis.openapi.from_dict(document)[path]["POST"]

    @settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def answers(data: st.DataObject) -> None:
        mode = data.draw(st.sampled_from([RIGHT, WRONG]))
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if isinstance(case.body, dict) and mode is WRONG:
            assume(None not in case.body.values())
        if isinstance(case.body, dict) and mode is RIGHT and known is not None:
            case.body = _aimed(case.body, document, path, known, data.draw(st.booleans()))
        response = case.call(base_url=url)
        excluded: list[Any] = [positive_data_acceptance] if refuses else []
        if response.status_code == TOO_LARGE:
            excluded.append(negative_data_rejection)  # which does not count it as a refusal
        case.validate_response(response, excluded_checks=excluded)
        assert known is None or b'"TOOL_FAILED"' not in response.content, case.body
        if known is None or response.status_code != 200:
            check_harmless(response.status_code, response.content, path)

    answers()


def _aimed(
    body: dict[str, Any], document: dict[str, Any], path: str, known: Mapping[str, Any], bare: bool
) -> dict[str, Any]:
    """Return arguments that name what there is; only those that are needed when `bare`."""
    content = document["paths"][path]["post"]["requestBody"]["content"]
    required = content["application/json"]["schema"]["required"]
    kept = {name: value for name, value in body.items() if name in required or not bare}
    return kept | {name: known[name] for name in known if name in kept}
