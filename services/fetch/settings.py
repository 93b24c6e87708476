"""Every knob of the fetch service: `MCP_FETCH_<KEY>`, or `fetch:` in the file."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from core.settings import MAX_BYTES, MAX_COUNT, ServiceSettings
from services.fetch.policy.urls import UrlPolicy

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
MIB = 1024 * 1024


class FetchSettings(ServiceSettings):
    """What may be fetched, how politely, within which limits."""

    section = "fetch"
    one_process = "pages that can be read on are in its memory"

    user_agent: str = Field(
        "mcp-fetch/0.1 (fetches single pages for a person's assistant)",
        min_length=1,
        max_length=200,
        pattern=r"^[ -~]+$",
        description="User-Agent of every request; robots.txt is asked for the word before the "
        "first slash.",
    )
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        (80, 443, 8080, 8443), description="Ports that URLs may name, comma-separated."
    )
    allow_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that may be fetched, comma-separated: example.org, or *.example.org for "
        "everything below it. Every public one when empty.",
    )
    deny_hosts: tuple[str, ...] = Field(
        (), description="Hosts that may not be fetched, written likewise; over allow_hosts."
    )
    allow_networks: tuple[IPNetwork, ...] = Field(
        (),
        description="Networks that may be connected to although they are not public, "
        "comma-separated: 10.1.0.0/16. For pages of your own intranet.",
    )
    robots: Literal["respect", "ignore"] = Field(
        "respect", description="Whether robots.txt decides what is fetched (RFC 9309)."
    )
    robots_ttl_s: float = Field(
        3600, ge=0, le=86_400, description="Seconds for which a robots.txt is believed."
    )
    connect_timeout_s: float = Field(
        5, gt=0, le=60, description="Seconds in which a connection has to be made."
    )
    timeout_s: float = Field(
        20, gt=0, le=600, description="Seconds a page may take by default, redirects included."
    )
    max_timeout_s: float = Field(
        40, gt=0, le=600, description="Seconds that timeout_s of a call may ask for."
    )
    max_redirects: int = Field(8, ge=0, le=50, description="Redirects that are followed.")
    max_wire_bytes: int = Field(
        10 * MIB,
        ge=1024,
        le=MAX_BYTES,
        description="Bytes of one answer as it travels, compressed.",
    )
    max_decoded_bytes: int = Field(
        20 * MIB, ge=1024, le=MAX_BYTES, description="Bytes of one answer after decompression."
    )
    max_concurrent_requests: int = Field(
        32, ge=1, le=1000, description="Requests that run at once, of all calls."
    )
    max_requests_per_host: int = Field(
        4, ge=1, le=100, description="Requests that run at once to one host."
    )
    max_urls: int = Field(20, ge=1, le=100, description="URLs that one fetch_many may name.")
    cache_bytes: int = Field(
        64 * MIB,
        ge=0,
        le=MAX_BYTES,
        description="Bytes of answers kept by the HTTP cache; 0 for no cache.",
    )
    snapshot_bytes: int = Field(
        64 * MIB,
        ge=1024,
        le=MAX_BYTES,
        description="Bytes of converted pages kept for paging and search.",
    )
    snapshot_ttl_s: float = Field(
        900, gt=0, le=86_400, description="Seconds for which a page can be paged and searched."
    )
    workers: int = Field(
        2, ge=1, le=32, description="Processes that convert pages, started when first needed."
    )
    worker_memory_bytes: int = Field(
        512 * MIB,
        ge=128 * MIB,
        le=MAX_BYTES,
        description="Memory of one such process; it is ended beyond.",
    )
    convert_timeout_s: float = Field(
        10, gt=0, le=120, description="Seconds the conversion of one page may take."
    )
    max_length: int = Field(
        20_000,
        ge=100,
        le=MAX_COUNT,
        description="Characters of a page that a call returns by default.",
    )
    answer_bytes: int = Field(
        64_000,
        ge=4_096,
        le=1_000_000,
        description="Bytes of JSON after which a list is cut, and a page by default.",
    )

    @field_validator("ports")
    @classmethod
    def _are_ports(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or not all(1 <= port <= 65535 for port in value):
            raise ValueError("at least one port, each from 1 to 65535")
        return value

    @field_validator("allow_hosts", "deny_hosts")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        UrlPolicy(ports=(), allow_hosts=value)
        return value

    @model_validator(mode="after")
    def _limits_fit(self) -> FetchSettings:
        for low, high in (("timeout_s", "max_timeout_s"), ("connect_timeout_s", "timeout_s")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is larger than {high}")
        return self
