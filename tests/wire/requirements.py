"""What the wire promises, sentence by sentence, and the tests that show it.

The sections follow the path of a message; `§5` in the docstring of a test is section 5 here. Where
the specification leaves room, the sentence is our own choice and its source says so.
`test_requirements.py` holds this list and the tests together in both directions.
"""

from __future__ import annotations

from typing import NamedTuple

_SPEC = "https://modelcontextprotocol.io/specification/"
OURS = "our choice, where the specification leaves room"
CLIENTS = "what released clients send and need"
TRANSPORT_2024 = _SPEC + "2024-11-05/basic/transports"
LIFECYCLE = _SPEC + "2025-11-25/basic/lifecycle"
TRANSPORT_2025 = _SPEC + "2025-11-25/basic/transports"
TRANSPORT_2026 = _SPEC + "2026-07-28/basic/transports"
VERSIONING = _SPEC + "2026-07-28/basic/versioning"
BASIC_2026 = _SPEC + "2026-07-28/basic"
BATCHES = _SPEC + "2025-03-26/basic"
TOOLS = _SPEC + "2025-11-25/server/tools"
RESOURCES = _SPEC + "2025-11-25/server/resources"
PAGINATION = _SPEC + "2025-11-25/server/utilities/pagination"
LOGGING = _SPEC + "2025-11-25/server/utilities/logging"
COMPLETION = _SPEC + "2025-11-25/server/utilities/completion"
PROGRESS = _SPEC + "2025-11-25/basic/utilities/progress"
CANCELLATION = _SPEC + "2025-11-25/basic/utilities/cancellation"
ELICITATION = _SPEC + "2025-11-25/client/elicitation"
SUBSCRIPTIONS = _SPEC + "2026-07-28/basic/utilities/subscriptions"
QUESTIONS = _SPEC + "2026-07-28/basic/utilities/mrtr"
JSON_RPC = "https://www.jsonrpc.org/specification"
RFC_6455 = "https://www.rfc-editor.org/rfc/rfc6455"

SECTIONS = {
    3: "How one endpoint tells the revisions apart",
    4: "Version negotiation",
    5: "Streamable HTTP of 2025-03-26, 2025-06-18 and 2025-11-25",
    6: "HTTP+SSE of 2024-11-05",
    7: "Requests of 2026-07-28",
    8: "Methods",
    9: "Shapes of results in each revision",
    10: "Pagination, progress, cancellation, logging, completion",
    11: "Error codes and statuses",
    12: "Change notifications",
    13: "Input from the client",
    14: "Tasks",
    15: "Limits, credentials, Host and Origin",
    16: "Batches",
    17: "POST /rpc",
    18: "WebSocket",
}


class Requirement(NamedTuple):
    """One promise.

    Attributes:
        id: `<section>.<number>`.
        sentence: What holds.
        source: Where it is written, or why we chose it.
        tests: `<module>.<test>`, without the `test_` that both begin with.
    """

    id: str
    sentence: str
    source: str
    tests: tuple[str, ...]


def _need(id_: str, sentence: str, source: str, *tests: str) -> Requirement:
    return Requirement(id_, sentence, source, tests)


REQUIREMENTS = (
    # --- 3: classification, first matching row wins -------------------------------------------
    _need(
        "3.1",
        "GET and DELETE without a version header, or with a legacy one, belong to a session.",
        TRANSPORT_2025,
        "classification.get_and_delete_belong_to_the_older_revisions",
    ),
    _need(
        "3.2",
        "GET and DELETE with any other version are 405 with Allow: POST.",
        TRANSPORT_2026,
        "classification.get_and_delete_with_another_version_are_not_allowed",
    ),
    _need(
        "3.3",
        "A body that is not JSON is 400, -32700, with a null id.",
        JSON_RPC,
        "classification.post_that_is_not_json_is_a_parse_error",
    ),
    _need(
        "3.4",
        "An empty array, or one under a modern header or with a claim in it, is 400, -32600.",
        BASIC_2026,
        "classification.batch_outside_2025_03_26_is_refused",
    ),
    _need(
        "3.6",
        "What is no object with jsonrpc 2.0 is 400, -32600.",
        JSON_RPC,
        "classification.post_that_is_no_message_is_refused",
    ),
    _need(
        "3.7",
        "initialize without a claim is the legacy handshake, whatever the header says.",
        OURS,
        "classification.initialize_is_legacy_whatever_the_header_says",
    ),
    _need(
        "3.8",
        "A request with a claim is never handled as legacy; a header that differs is -32020.",
        TRANSPORT_2026,
        "classification.claim_under_a_legacy_header_is_a_mismatch",
        "classification.initialize_with_a_claim_is_an_unknown_modern_method",
    ),
    _need(
        "3.9",
        "A request without a claim under a modern header lacks its _meta: 400, -32602.",
        TRANSPORT_2026,
        "classification.modern_header_without_a_claim_lacks_its_meta",
    ),
    _need(
        "3.10",
        "Any other request without a claim is session traffic.",
        TRANSPORT_2025,
        "classification.request_without_claim_is_session_traffic",
    ),
    _need(
        "3.11",
        "A modern notification is 202 and dropped.",
        OURS,
        "classification.modern_notification_is_accepted_and_dropped",
    ),
    _need(
        "3.12",
        "A notification under an unknown version is 400, -32022.",
        VERSIONING,
        "classification.notification_of_an_unknown_revision_is_refused",
    ),
    _need(
        "3.13",
        "Other notifications and responses go to their session and are 202 without a body.",
        TRANSPORT_2025,
        "classification.legacy_notification_and_response_go_to_the_session",
        "questions.response_to_nothing_is_accepted",
    ),
    _need(
        "3.14",
        "A response posted under the modern header is 400, -32600.",
        TRANSPORT_2026,
        "classification.response_posted_under_a_modern_header_is_refused",
    ),
    _need(
        "3.15",
        "A present id is a string or an integer.",
        JSON_RPC,
        "classification.id_that_is_neither_string_nor_integer_is_refused",
    ),
    # --- 4: negotiation -----------------------------------------------------------------------
    _need(
        "4.1",
        "initialize answers the requested legacy revision, or 2025-11-25; never 2026-07-28.",
        LIFECYCLE,
        "classification.initialize_answers_the_requested_legacy_revision_or_the_newest",
    ),
    _need(
        "4.2",
        "The negotiated revision holds for the session; an unknown header value is 400.",
        TRANSPORT_2025,
        "classification.session_keeps_its_negotiated_revision",
        "classification.unknown_version_header_in_a_session_is_refused",
    ),
    _need(
        "4.3",
        "A version that is not served this way is 400, -32022, with the versions that are.",
        VERSIONING,
        "classification.unsupported_modern_version_names_the_supported_ones",
        "classification.legacy_version_in_meta_is_unsupported_that_way",
    ),
    _need(
        "4.4",
        "A header that differs from the body is told before a version that is not served.",
        TRANSPORT_2026,
        "classification.disagreement_is_told_before_lack_of_support",
    ),
    # --- 5: Streamable HTTP -------------------------------------------------------------------
    _need(
        "5.1",
        "The answer is JSON where the handler emits nothing and the client takes JSON.",
        TRANSPORT_2025,
        "streamable.call_without_notifications_is_one_json_object",
        "streamable.client_that_accepts_json_alone_gets_json",
        "streamable.client_that_accepts_streams_alone_gets_a_stream",
    ),
    _need(
        "5.2",
        "Messages of a request travel on its own stream, then the response ends it.",
        TRANSPORT_2025,
        "streamable.notifications_of_a_call_travel_on_its_own_stream",
        "sockets.stream_arrives_event_by_event",
    ),
    _need(
        "5.3",
        "Accept is 406 only if neither JSON nor a stream is acceptable; none means both.",
        CLIENTS,
        "streamable.missing_accept_and_any_type_mean_both",
        "streamable.accept_of_neither_is_refused",
        "streamable.get_needs_a_client_that_reads_streams",
    ),
    _need(
        "5.4",
        "Other content types than JSON in UTF-8 are 415.",
        OURS,
        "streamable.other_content_types_are_refused",
    ),
    _need(
        "5.5",
        "Streams tell proxies not to cache, change or buffer them.",
        CLIENTS,
        "streamable.stream_has_the_headers_that_proxies_need",
    ),
    _need(
        "5.6",
        "A dropped connection is not a cancel.",
        TRANSPORT_2025,
        "streamable.dropped_connection_does_not_cancel",
        "streamable.client_that_leaves_a_held_call_does_not_cancel_it",
        "sockets.leaving_a_session_call_does_not_stop_the_work",
    ),
    _need(
        "5.7",
        "initialize sets a session id: visible ASCII, unguessable.",
        TRANSPORT_2025,
        "streamable.initialize_sets_an_unguessable_printable_session_id",
    ),
    _need(
        "5.8",
        "A missing id is 400; an unknown, changed, ended or expired one is 404.",
        TRANSPORT_2025,
        "streamable.missing_session_id_is_400",
        "streamable.unknown_session_id_is_404",
        "streamable.changed_session_id_is_404",
        "streamable.session_id_with_another_ending_is_404",
        "streamable.session_of_another_key_is_404",
        "streamable.expired_session_is_404",
    ),
    _need(
        "5.9",
        "A session is bound to its principal; to others it does not exist.",
        OURS,
        "streamable.session_of_another_principal_is_404",
    ),
    _need(
        "5.10",
        "DELETE ends a session, its streams and its calls, for good.",
        TRANSPORT_2025,
        "streamable.deleted_session_is_gone",
        "questions.ending_the_session_ends_what_waits",
    ),
    _need(
        "5.11",
        "A session goes on in any server with the same key, after a restart too.",
        CLIENTS,
        "streamable.session_goes_on_in_another_process",
        "sockets.sessions_of_one_server_are_taken_by_another",
    ),
    _need(
        "5.12",
        "Sessions in memory are limited: idle ones make room, busy ones are not dropped.",
        OURS,
        "streamable.too_many_sessions_make_room_for_new_ones",
        "streamable.full_server_of_busy_sessions_is_503",
    ),
    _need(
        "5.13",
        "Requests before notifications/initialized are served.",
        OURS,
        "streamable.requests_before_initialized_are_served",
    ),
    _need(
        "5.14",
        "Without sessions there is no id, and GET and DELETE are 405.",
        TRANSPORT_2025,
        "streamable.stateless_mode_gives_no_session",
    ),
    _need(
        "5.15",
        "A session has one standalone stream; a second is 409.",
        OURS,
        "streamable.second_get_stream_is_409",
    ),
    _need(
        "5.16",
        "Streams begin with a priming event in 2025-11-25 and not before.",
        TRANSPORT_2025,
        "streamable.only_2025_11_25_streams_begin_with_a_priming_event",
    ),
    _need(
        "5.17",
        "Event ids are unique in the session and name their stream.",
        TRANSPORT_2025,
        "streamable.event_ids_are_unique_in_the_session_and_name_their_stream",
    ),
    _need(
        "5.18",
        "Last-Event-ID replays what followed on that stream, goes on live and ends with it.",
        TRANSPORT_2025,
        "streamable.resuming_replays_what_followed_and_nothing_else",
        "streamable.resuming_a_running_call_goes_on_live",
        "streamable.resuming_the_standalone_stream_replays_changes",
        "streamable.unknown_event_id_is_harmless",
        "streamable.event_ids_of_another_session_find_nothing",
    ),
    _need(
        "5.19",
        "A quiet stream gets comments.",
        OURS,
        "streamable.quiet_stream_gets_comments",
    ),
    _need(
        "5.20",
        "What belongs to no request travels on the standalone stream.",
        TRANSPORT_2025,
        "streamable.list_changes_go_to_the_get_stream",
    ),
    _need(
        "5.21",
        "POST, GET and DELETE work on /sse and / too, with and without a slash.",
        CLIENTS,
        "streamable.streamable_http_is_spoken_wherever_users_paste_it",
    ),
    _need(
        "5.22",
        "A client that resumes the standalone stream takes it over from its old connection.",
        OURS,
        "streamable.resuming_takes_the_standalone_stream_over",
    ),
    _need(
        "5.23",
        "Ending a session stops its running calls.",
        OURS,
        "utilities.ending_the_session_stops_its_calls",
    ),
    # --- 6: HTTP+SSE --------------------------------------------------------------------------
    _need(
        "6.1",
        "The first event is endpoint, a relative address with a random id and any prefix.",
        TRANSPORT_2024,
        "old_stream.first_event_names_the_endpoint",
        "old_stream.both_spellings_serve_the_stream",
        "old_stream.endpoint_carries_the_prefix_of_a_proxy_or_mount",
    ),
    _need(
        "6.2",
        "The second event announces service, version, tools and digest, unless switched off.",
        OURS,
        "old_stream.second_event_announces_the_server",
        "old_stream.announcement_can_be_switched_off",
    ),
    _need(
        "6.3",
        "A post is 202; every message of the server is an event without an id.",
        TRANSPORT_2024,
        "old_stream.post_is_answered_with_202_and_the_response_on_the_stream",
        "old_stream.notifications_and_questions_travel_on_the_stream",
    ),
    _need(
        "6.4",
        "A missing id is 400, an unknown one 404, bad JSON 400, another method 405.",
        OURS,
        "old_stream.missing_session_id_is_400",
        "old_stream.unknown_session_id_is_404",
        "old_stream.bad_json_is_400",
        "old_stream.other_methods_on_messages_are_405",
    ),
    _need(
        "6.5",
        "The stream is the session: closing it cancels its calls.",
        OURS,
        "old_stream.closed_stream_cancels_its_calls_and_ends_its_session",
        "old_stream.session_belongs_to_the_principal_of_its_stream",
        "sockets.closing_the_old_stream_stops_its_calls",
    ),
    _need(
        "6.6",
        "Every revision can be spoken over it.",
        CLIENTS,
        "old_stream.every_legacy_revision_can_be_negotiated",
        "old_stream.modern_requests_work_on_the_old_stream",
    ),
    _need("6.7", "A quiet stream gets comments.", OURS, "old_stream.quiet_stream_gets_comments"),
    # --- 7: 2026-07-28 ------------------------------------------------------------------------
    _need(
        "7.1",
        "_meta has version and capabilities of the right types; clientInfo is optional.",
        BASIC_2026,
        "modern.incomplete_meta_is_refused_first",
        "modern.client_info_is_not_required",
    ),
    _need(
        "7.2",
        "Version, method and name headers repeat the body: else 400, -32020.",
        TRANSPORT_2026,
        "modern.header_that_is_missing_or_contradicts_is_refused",
        "modern.name_header_repeats_prompt_and_uri",
        "modern.name_header_without_a_name_in_the_body_is_refused",
        "modern.headers_are_case_insensitive_and_trimmed",
        "modern.duplicate_header_is_refused",
    ),
    _need(
        "7.3",
        "Values may be base64 of UTF-8 between exact markers, decoded strictly.",
        TRANSPORT_2026,
        "modern.encoded_name_is_decoded",
        "modern.encoded_form_of_a_plain_name_is_accepted",
        "modern.badly_encoded_name_is_refused",
    ),
    _need(
        "7.4",
        "Mcp-Param headers repeat annotated arguments: strings, numbers, true and false.",
        TRANSPORT_2026,
        "modern.header_parameters_repeat_the_arguments",
        "modern.null_argument_counts_as_absent",
        "modern.other_param_headers_are_ignored",
    ),
    _need(
        "7.5",
        "Older revisions do not look at these headers.",
        CLIENTS,
        "modern.older_revisions_ignore_the_new_headers",
    ),
    _need(
        "7.6",
        "A client capability that is needed and not declared is 400, -32021.",
        BASIC_2026,
        "modern.missing_client_capability_is_told",
        "questions.only_declared_capabilities_are_asked",
    ),
    _need(
        "7.7",
        "Results say resultType and serverInfo inside result; cacheable ones how long.",
        BASIC_2026,
        "modern.every_result_says_its_type_and_the_server",
        "modern.cacheable_results_say_how_long",
        "modern.legacy_results_have_none_of_this",
    ),
    _need(
        "7.8",
        "Never a session id, an event id or a retry; those of the client are ignored.",
        TRANSPORT_2026,
        "modern.answer_carries_no_session_and_no_event_ids",
    ),
    _need(
        "7.9",
        "JSON until something is emitted or it takes long; errors then ride the stream.",
        OURS,
        "modern.quiet_call_is_answered_with_json",
        "modern.first_notification_turns_the_answer_into_a_stream",
        "modern.long_silence_turns_the_answer_into_a_stream",
        "modern.error_after_the_stream_began_travels_on_it",
        "modern.client_that_accepts_json_alone_gets_no_notifications",
        "modern.client_that_accepts_streams_alone_gets_one",
    ),
    _need(
        "7.10",
        "A client that leaves cancels its request.",
        TRANSPORT_2026,
        "modern.leaving_cancels_the_call",
        "modern.leaving_cancels_calls_of_the_plain_doors",
        "sockets.leaving_stops_the_work",
    ),
    _need(
        "7.11",
        "Nothing is remembered from one request to the next.",
        BASIC_2026,
        "modern.nothing_is_remembered_between_requests",
    ),
    _need(
        "7.12",
        "Lists have a stable order.",
        OURS,
        "encoding.order_of_lists_is_stable",
    ),
    # --- 8: methods ---------------------------------------------------------------------------
    _need(
        "8.1",
        "Methods of the other era are unknown: 404, -32601.",
        BASIC_2026,
        "modern.method_of_another_era_is_404",
    ),
    _need(
        "8.2",
        "A method behind a capability that is not declared is unknown.",
        LIFECYCLE,
        "encoding.method_of_an_undeclared_capability_is_unknown",
        "encoding.capabilities_match_what_is_offered",
    ),
    # --- 9: shapes ----------------------------------------------------------------------------
    _need(
        "9.1",
        "Structured content and output schemas exist since 2025-06-18; text always.",
        TOOLS,
        "encoding.structured_content_came_with_2025_06_18",
    ),
    _need(
        "9.2",
        "Results that are no objects are wrapped for the older revisions.",
        TOOLS,
        "encoding.result_that_is_no_object_is_wrapped_for_legacy",
    ),
    _need(
        "9.3",
        "Blocks that a revision does not know become text.",
        OURS,
        "encoding.unknown_block_types_become_text",
    ),
    _need(
        "9.4",
        "server/discover names versions, capabilities and instructions, and no serverInfo.",
        VERSIONING,
        "modern.discover_describes_the_server",
    ),
    _need(
        "9.5",
        "Bad arguments and failures are results that the model reads, telling no inside.",
        TOOLS,
        "encoding.bad_arguments_are_told_to_the_model",
        "encoding.crash_of_a_tool_tells_nothing_of_the_inside",
    ),
    _need(
        "9.6",
        "A missing resource is an error with its URI: -32002, in 2026-07-28 -32602.",
        RESOURCES,
        "encoding.missing_resource_names_its_uri",
    ),
    _need(
        "9.7",
        "Names and descriptions are fit for clients; schemas have no references.",
        CLIENTS,
        "encoding.descriptions_and_names_are_fit_for_clients",
    ),
    # --- 10: utilities ------------------------------------------------------------------------
    _need(
        "10.1",
        "Cursors are opaque, belong to their list, and are refused when altered.",
        PAGINATION,
        "utilities.pages_hold_everything_once",
        "utilities.cursor_belongs_to_its_list",
    ),
    _need(
        "10.2",
        "Progress only for a token, strictly increasing, limited in rate, none afterwards.",
        PROGRESS,
        "utilities.progress_carries_the_token_and_increases",
        "utilities.no_token_no_progress",
        "utilities.progress_is_rate_limited",
        "utilities.progress_message_came_with_2025_03_26",
    ),
    _need(
        "10.3",
        "A cancelled request stops and gets no result; unknown ids are ignored.",
        CANCELLATION,
        "utilities.cancelled_request_stops_and_has_no_result",
        "utilities.cancelled_stream_just_ends",
        "utilities.cancel_of_nothing_is_ignored",
        "utilities.cancel_reaches_requests_of_its_own_session_only",
        "old_stream.cancel_on_the_old_stream_stops_the_call",
        "questions.cancelling_a_call_that_asks_withdraws_it",
        "batches.cancelled_request_of_a_batch_leaves_the_others",
    ),
    _need(
        "10.4",
        "Log messages at or above the session's level, or the level of the modern request.",
        LOGGING,
        "utilities.session_hears_its_level_and_above",
        "utilities.level_is_of_one_session",
        "utilities.modern_request_hears_logs_only_if_it_asks",
    ),
    _need(
        "10.5",
        "Completion returns at most 100 values and says how many there are.",
        COMPLETION,
        "utilities.completion_of_prompt_arguments",
        "utilities.completion_has_at_most_100_values",
        "utilities.completion_of_something_else_is_invalid",
        "utilities.argument_without_completions_has_none",
    ),
    _need(
        "10.6",
        "Equal request ids of different sessions do not meet.",
        JSON_RPC,
        "utilities.equal_ids_of_two_sessions_do_not_mix",
        "sockets.two_hundred_calls_at_once_get_their_own_answers",
    ),
    _need(
        "10.7",
        "Empty results are exactly {}.",
        LIFECYCLE,
        "utilities.empty_results_are_exactly_empty",
    ),
    # --- 11: errors ---------------------------------------------------------------------------
    _need(
        "11.1",
        "A legacy JSON-RPC error is HTTP 200; 4xx are transport and session faults.",
        TRANSPORT_2025,
        "encoding.legacy_error_is_200_with_its_code",
    ),
    _need(
        "11.2",
        "A modern error of a handler is HTTP 200; internal errors have a generic text.",
        OURS,
        "encoding.modern_error_of_a_handler_is_200",
        "encoding.crash_of_a_resource_tells_nothing_of_the_inside",
    ),
    # --- 12: changes --------------------------------------------------------------------------
    _need(
        "12.1",
        "A listen stream begins with the honoured subset under its subscription id.",
        SUBSCRIPTIONS,
        "changes.first_frame_acknowledges_what_is_honoured",
        "changes.unknown_and_false_kinds_are_left_out",
        "changes.wrong_wish_is_refused_before_a_stream_begins",
        "changes.listen_needs_a_client_that_reads_streams",
    ),
    _need(
        "12.2",
        "It hears what it named and nothing else; each frame carries the id.",
        SUBSCRIPTIONS,
        "changes.listen_stream_hears_what_it_named_and_nothing_else",
        "changes.client_that_leaves_is_forgotten",
        "sockets.client_that_never_reads_holds_nobody_up",
    ),
    _need(
        "12.3",
        "The server ends it with the final response.",
        SUBSCRIPTIONS,
        "changes.server_ends_a_listen_stream_with_its_result",
    ),
    _need(
        "12.4",
        "Listen streams are kept alive, and limited before the acknowledgement.",
        OURS,
        "changes.quiet_listen_stream_gets_comments",
        "changes.too_many_listen_streams_are_refused_before_the_acknowledgement",
    ),
    _need(
        "12.5",
        "A legacy session hears the resources it subscribed to, until it unsubscribes.",
        RESOURCES,
        "changes.session_hears_the_resources_it_subscribed_to",
        "changes.subscription_is_of_one_session",
        "changes.unsubscribing_from_nothing_is_no_error",
    ),
    _need(
        "12.6",
        "List changes reach every stream of both eras.",
        RESOURCES,
        "changes.changes_are_told_on_both_transports_and_in_both_eras",
        "old_stream.list_changes_arrive_on_the_stream",
        "old_stream.nothing_is_told_before_the_answer_to_initialize",
    ),
    # --- 13: questions ------------------------------------------------------------------------
    _need(
        "13.1",
        "A question is an input_required result with method, params and a state.",
        QUESTIONS,
        "questions.question_is_a_result",
        "questions.prompts_and_resources_ask_too",
        "questions.clients_with_forms_are_asked",
    ),
    _need(
        "13.2",
        "The same request with the answers completes, in any process with the key.",
        QUESTIONS,
        "questions.repeated_call_with_the_answer_completes",
        "questions.person_may_decline",
        "questions.several_rounds_go_through_any_server",
    ),
    _need(
        "13.3",
        "Missing, partial or invalid answers are asked for again.",
        QUESTIONS,
        "questions.missing_or_invalid_answer_is_asked_for_again",
        "questions.partial_answers_are_kept_in_the_state",
    ),
    _need(
        "13.4",
        "A state is sealed over request, arguments, principal and expiry; else -32602.",
        QUESTIONS,
        "questions.changed_state_is_refused",
        "questions.state_that_is_none_of_ours_is_refused",
        "questions.state_belongs_to_its_request",
        "questions.order_of_arguments_does_not_matter",
        "questions.state_belongs_to_its_principal",
        "questions.state_belongs_to_its_person",
        "questions.state_expires",
        "questions.session_id_and_cursor_are_no_state",
    ),
    _need(
        "13.5",
        "Older revisions get real requests on the stream of the call, matched by id.",
        ELICITATION,
        "questions.legacy_question_is_a_request_on_the_stream_of_the_call",
        "questions.questions_at_once_are_answered_in_any_order",
        "questions.answer_of_another_session_is_ignored",
    ),
    _need(
        "13.6",
        "A client that cannot be asked, refuses, or answers nonsense fails the call.",
        OURS,
        "questions.legacy_call_fails_where_the_client_cannot_be_asked",
        "questions.refused_question_fails_the_call",
        "questions.wrong_answer_is_asked_for_again_and_not_for_ever",
    ),
    _need(
        "13.7",
        "Answers count only beside the state that came with their questions.",
        OURS,
        "questions.answer_to_a_question_that_was_not_asked_is_none",
    ),
    # --- 14: tasks ----------------------------------------------------------------------------
    _need(
        "14.1",
        "Tasks are not declared, so a task member is ignored.",
        _SPEC + "2025-11-25/basic/utilities/tasks",
        "encoding.task_member_of_a_call_is_ignored",
    ),
    # --- 15: limits ---------------------------------------------------------------------------
    _need(
        "15.1",
        "Time, concurrency and size limits of calls are told to the model.",
        OURS,
        "encoding.time_limit_of_a_tool_is_told_to_the_model",
        "encoding.too_many_calls_at_once_are_told_busy",
        "encoding.result_over_the_limit_is_told_to_the_model",
    ),
    _need(
        "15.2",
        "Streams, subscriptions and batches are limited.",
        OURS,
        "old_stream.too_many_streams_are_503",
        "changes.subscriptions_in_a_session_are_limited",
        "batches.huge_batch_is_refused",
    ),
    # --- 16: batches --------------------------------------------------------------------------
    _need(
        "16.1",
        "2025-03-26 takes requests and notifications together, initialize excepted.",
        BATCHES,
        "batches.2025_03_26_takes_requests_and_notifications_together",
        "batches.batch_without_requests_is_202",
        "batches.initialize_inside_a_batch_is_refused",
        "batches.wrong_params_fail_their_own_request_only",
    ),
    _need(
        "16.2",
        "Later revisions take one message; the negotiated revision decides.",
        TRANSPORT_2025,
        "batches.later_sessions_have_no_batches",
    ),
    _need(
        "16.3",
        "On /messages a batch is answered one by one.",
        OURS,
        "batches.batch_on_messages_is_answered_one_by_one",
    ),
    # --- 17: /rpc -----------------------------------------------------------------------------
    _need(
        "17.1",
        "One request, one answer, no session and no MCP headers.",
        OURS,
        "rpc.methods_are_answered_without_a_session",
        "rpc.mcp_headers_are_neither_needed_nor_trusted",
        "rpc.progress_tokens_are_ignored",
    ),
    _need(
        "17.2",
        "Shapes of 2025-11-25, or of 2026-07-28 for a caller that names it.",
        OURS,
        "rpc.plain_result_has_the_shape_of_2025_11_25",
        "rpc.caller_that_names_the_newest_revision_gets_its_shape",
        "rpc.plain_call_that_needs_input_says_so",
    ),
    _need(
        "17.3",
        "Methods that need a session or a stream are unknown.",
        OURS,
        "rpc.methods_that_need_more_are_refused",
    ),
    _need(
        "17.4",
        "Batches as JSON-RPC 2.0 has them; notifications alone are 204.",
        JSON_RPC,
        "rpc.batch_is_answered_with_an_array",
        "rpc.notifications_alone_are_204",
    ),
    _need(
        "17.5",
        "HTTP errors for parsing, size, method and content type; it can be switched off.",
        OURS,
        "rpc.http_errors_are_for_what_is_not_json_rpc",
        "rpc.endpoint_can_be_switched_off",
    ),
    _need(
        "18.1",
        "The subprotocol is `mcp`; what is refused before the upgrade is refused as HTTP.",
        RFC_6455,
        "websocket.our_subprotocol_is_answered_where_it_is_offered",
        "websocket.client_that_offers_other_subprotocols_only_is_refused",
        "websocket.plain_request_is_told_to_upgrade",
    ),
    _need(
        "18.2",
        "Nothing is compressed.",
        OURS,
        "websocket.nothing_is_compressed",
    ),
    _need(
        "18.3",
        "The socket is the session, of any revision, and each text frame a message.",
        CLIENTS,
        "websocket.every_legacy_revision_can_be_negotiated",
        "websocket.requests_of_both_eras_take_turns",
        "websocket.request_of_2026_needs_no_session",
        "websocket.array_is_answered_message_by_message",
    ),
    _need(
        "18.4",
        "Requests run at the same time, each with its own answer.",
        OURS,
        "websocket.quick_request_overtakes_a_slow_one",
        "websocket.hundred_calls_of_ten_sockets_get_their_own_answers",
    ),
    _need(
        "18.5",
        "Notifications, questions and answers travel on the socket.",
        CLIENTS,
        "websocket.progress_and_log_messages_come_before_the_result",
        "websocket.server_asks_the_client_on_the_socket",
        "websocket.question_of_2026_travels_in_the_result",
    ),
    _need(
        "18.6",
        "A call stops when it is cancelled, and when its socket is closed.",
        CANCELLATION,
        "websocket.cancelled_call_stops_without_an_answer",
        "websocket.call_that_is_cancelled_in_the_same_breath_stops",
        "websocket.closing_the_socket_cancels_its_calls",
    ),
    _need(
        "18.7",
        "A server that stops closes with 1001, after the calls that run.",
        RFC_6455,
        "websocket.server_that_stops_answers_what_runs_and_closes_then",
        "websocket.call_that_outlasts_the_grace_is_told_so",
    ),
    _need(
        "18.8",
        "Changes are told to sessions, and to requests to listen until either side ends them.",
        SUBSCRIPTIONS,
        "websocket.session_hears_of_changes",
        "websocket.listening_of_2026_works_until_it_is_cancelled",
        "websocket.listening_is_answered_when_the_server_stops",
        "websocket.listening_in_vain_is_refused",
    ),
    _need(
        "18.9",
        "What is no message is answered with an error, and the socket stays.",
        JSON_RPC,
        "websocket.nonsense_is_answered_and_the_socket_stays",
        "websocket.notification_is_never_answered",
    ),
    _need(
        "18.10",
        "Each endpoint has the door, and takes its sockets with it.",
        OURS,
        "websocket.every_endpoint_has_the_door",
        "websocket.sockets_outlive_a_new_endpoint_and_end_with_their_own",
    ),
)
