"""What a tool can ask the person or model behind the client, in the shape of each revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from core.models import input_schema_of

ModelT = TypeVar("ModelT", bound=BaseModel)
AnswerT = TypeVar("AnswerT", covariant=True)


class Question(Protocol[AnswerT]):
    """Something to ask the client: one row of `inputRequests`, or one server→client request."""

    method: str

    def capability(self) -> dict[str, Any]:
        """Return the client capability that the question needs, as `requiredCapabilities`."""

    def params(self, revision: str) -> dict[str, Any]:
        """Return the request's parameters in the shape of a revision."""

    def parse(self, raw: Any) -> AnswerT:
        """Turn the client's result into an answer.

        Raises:
            ValueError: The result is not a valid answer; the question is asked again.
        """


@dataclass(frozen=True, slots=True)
class Elicited(Generic[ModelT]):
    """A person's answer to a form.

    Attributes:
        action: `accept`, `decline` or `cancel`.
        content: The validated form; None unless accepted.
    """

    action: Literal["accept", "decline", "cancel"]
    content: ModelT | None = None


@dataclass(frozen=True, slots=True)
class Elicit(Generic[ModelT]):
    """Ask the person behind the client to fill in a flat form. Never ask for secrets this way.

    Attributes:
        message: The question.
        form: A model of strings, numbers, booleans and enumerations; its schema is the form.
        schema: The form's JSON Schema where the model's own will not do.
    """

    message: str
    form: type[ModelT]
    schema: dict[str, Any] | None = None
    method = "elicitation/create"

    def capability(self) -> dict[str, Any]:
        """Return what the client has to offer for this."""
        return {"elicitation": {}}

    def params(self, revision: str) -> dict[str, Any]:
        """Return the request's parameters in the shape of a revision."""
        schema = self.schema or input_schema_of(self.form)
        schema = {k: v for k, v in schema.items() if k != "additionalProperties"}
        mode = {} if revision < "2025-11-25" else {"mode": "form"}
        return {**mode, "message": self.message, "requestedSchema": schema}

    def parse(self, raw: Any) -> Elicited[ModelT]:
        """Return the checked answer; ValueError for anything else."""
        action = raw.get("action") if isinstance(raw, dict) else None
        if action == "accept":
            content = self.form.model_validate(raw.get("content"), strict=False)
            return Elicited("accept", content)
        if action == "decline" or action == "cancel":
            return Elicited(action)
        raise ValueError("an elicitation result needs an action")


@dataclass(frozen=True, slots=True)
class ElicitURL:
    """Ask the person behind the client to open a page, for what must not pass through the client.

    Attributes:
        url: Carries no personal data and no credentials.
    """

    message: str
    url: str
    elicitation_id: str
    method = "elicitation/create"

    def capability(self) -> dict[str, Any]:
        """Return what the client has to offer for this."""
        return {"elicitation": {"url": {}}}

    def params(self, revision: str) -> dict[str, Any]:
        """Return the request's parameters in the shape of a revision."""
        params = {"mode": "url", "message": self.message, "url": self.url}
        if revision == "2025-11-25":
            params["elicitationId"] = self.elicitation_id
        return params

    def parse(self, raw: Any) -> Elicited[BaseModel]:
        """Return the checked answer; ValueError for anything else."""
        action = raw.get("action") if isinstance(raw, dict) else None
        if action in ("accept", "decline", "cancel"):
            return Elicited(action)
        raise ValueError("an elicitation result needs an action")


@dataclass(frozen=True, slots=True)
class Sample:
    """Ask the client's model for a completion.

    Attributes:
        messages: Text of the user turn, or full `messages` entries.
        more: Further members of `sampling/createMessage`, such as `systemPrompt`.
    """

    messages: str | list[dict[str, Any]]
    max_tokens: int = 1000
    more: Mapping[str, Any] = field(default_factory=dict)
    method = "sampling/createMessage"

    def capability(self) -> dict[str, Any]:
        """Return what the client has to offer for this."""
        return {"sampling": {"tools": {}} if "tools" in self.more else {}}

    def params(self, revision: str) -> dict[str, Any]:
        """Return the request's parameters in the shape of a revision."""
        messages = self.messages
        if isinstance(messages, str):
            messages = [{"role": "user", "content": {"type": "text", "text": messages}}]
        return {"messages": messages, "maxTokens": self.max_tokens, **self.more}

    def parse(self, raw: Any) -> dict[str, Any]:
        """Return the checked answer; ValueError for anything else."""
        if not isinstance(raw, dict) or "content" not in raw or "role" not in raw:
            raise ValueError("a sampling result needs role and content")
        return raw


@dataclass(frozen=True, slots=True)
class ListRoots:
    """Ask the client which roots it works in."""

    method = "roots/list"

    def capability(self) -> dict[str, Any]:
        """Return what the client has to offer for this."""
        return {"roots": {}}

    def params(self, revision: str) -> dict[str, Any]:
        """Return the request's parameters in the shape of a revision."""
        return {}

    def parse(self, raw: Any) -> list[dict[str, Any]]:
        """Return the checked answer; ValueError for anything else."""
        roots = raw.get("roots") if isinstance(raw, dict) else None
        if not isinstance(roots, list) or not all(isinstance(r, dict) for r in roots):
            raise ValueError("a roots result needs a list of roots")
        return roots


class Answers(NamedTuple):
    """What the client of a 2026-07-28 call has answered so far, unchecked.

    Attributes:
        raw: Results by the keys of their questions.
        asked_id: Names the time that they were asked; None when nothing was.
    """

    raw: Mapping[str, Any]
    asked_id: str | None


class InputRequired(Exception):
    """Ends a 2026-07-28 call with questions; the dispatcher turns it into a result.

    Args:
        questions: What to ask, by key.
        answers: Raw results that are settled already and travel in the sealed `requestState`.
    """

    def __init__(self, questions: Mapping[str, Question[Any]], answers: Mapping[str, Any]) -> None:
        super().__init__("input required")
        self.questions = questions
        self.answers = answers


def covers(declared: Mapping[str, Any], needed: Mapping[str, Any]) -> bool:
    """Return whether declared client capabilities include the needed ones.

    `elicitation: {}` means forms only (2025-11-25 elicitation, capabilities).
    """
    for name, parts in needed.items():
        have = declared.get(name)
        if not isinstance(have, Mapping):
            return False
        if any(part not in have for part in parts):
            return False
        if name == "elicitation" and not parts and have and "form" not in have:
            return False
    return True
