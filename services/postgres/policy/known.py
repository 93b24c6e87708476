"""What is known of PostgreSQL 13 to 18 and its usual extensions without asking a server.

Tables of names with the reason for each group. Volatile functions are refused unless listed in
`SAFE_VOLATILE`; stable and immutable ones are allowed unless listed in `REFUSED_FUNCTIONS`. The
lists were drawn up by reading pg_proc of PostgreSQL 15 name by name and the release notes of 13 to
18 for the rest; "Functions and Operators" (chapter 9 of the manual) and appendix F say what each
does.
"""

from __future__ import annotations

from dataclasses import dataclass

FUNCTION_REFUSED = "SQL_FUNCTION_REFUSED"
CREDENTIALS_REFUSED = "SQL_CREDENTIALS_REFUSED"


def words(text: str) -> frozenset[str]:
    """Return the words of a text: a table of names that is still readable."""
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Group:
    """Names that are refused for one reason.

    Attributes:
        reason: Completes the sentence "`name`() …".
        suggestion: What to do instead.
        names: Exact names, separated by white space.
        prefixes: Beginnings of names.
        code: The verdict's code.
    """

    reason: str
    suggestion: str
    names: str = ""
    prefixes: tuple[str, ...] = ()
    code: str = FUNCTION_REFUSED


REFUSED_GROUPS: tuple[Group, ...] = (
    Group(
        "runs SQL held in a string, which nobody has checked",
        "Write the inner query as part of the statement itself.",
        """
        query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml
        cursor_to_xmlschema table_to_xml table_to_xmlschema table_to_xml_and_xmlschema
        schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema database_to_xml
        database_to_xmlschema database_to_xml_and_xmlschema ts_stat
        crosstab crosstab2 crosstab3 crosstab4 crosstab_hash connectby xpath_table
        standardize_address
        """,
        prefixes=("pgr_", "_pgr_"),
    ),
    Group(
        "opens connections of its own and runs any SQL over them",
        "Query tables of this database only.",
        "postgres_fdw_disconnect postgres_fdw_disconnect_all run_command_on_workers "
        "run_command_on_shards run_command_on_placements run_command_on_colocated_placements "
        "run_command_on_coordinator run_command_on_all_nodes master_run_on_worker",
        prefixes=("dblink",),
    ),
    Group(
        "runs a stylesheet held in a string, which may fetch and read what it likes",
        "Use xpath() or XMLTABLE.",
        "xslt_process",
    ),
    Group(
        "talks to other machines",
        "Use the fetch service for web pages.",
        "http http_get http_post http_put http_patch http_delete http_head http_set_curlopt",
    ),
    Group(
        "reads files of the database server",
        "Ask the operator for the file; data belongs into tables.",
        "pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_file_read "
        "pg_file_length pg_logdir_ls pg_current_logfile pg_get_loaded_modules",
        prefixes=("pg_ls_",),
    ),
    Group(
        "shows who may connect and how, or configuration files with their secrets",
        "Ask the operator; pg_settings shows the settings in force.",
        "pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings",
        code=CREDENTIALS_REFUSED,
    ),
    Group(
        "works on large objects",
        "Keep such data in bytea columns.",
        "loread lowrite lo_get lo_manage",
        prefixes=("lo_",),
    ),
    Group(
        "takes locks that outlive the statement and would stay in the connection pool",
        "Look at locks in pg_locks instead.",
        prefixes=("pg_advisory_", "pg_try_advisory_"),
    ),
    Group(
        "stops sessions or changes the running server",
        "Look at pg_stat_activity and ask the operator to act.",
        """
        pg_terminate_backend pg_cancel_backend pg_reload_conf pg_rotate_logfile
        pg_rotate_logfile_old pg_logfile_rotate pg_promote pg_switch_wal pg_switch_xlog
        pg_wal_replay_pause pg_wal_replay_resume pg_start_backup pg_stop_backup
        pg_backup_start pg_backup_stop pg_create_restore_point pg_log_backend_memory_contexts
        pg_log_standby_snapshot pg_get_process_memory_contexts pg_import_system_collations
        pg_sync_replication_slots
        pg_stat_clear_snapshot pg_stat_force_next_flush pg_stop_making_pinned_objects
        pg_prewarm autoprewarm_start_worker autoprewarm_dump_now
        """,
        prefixes=(
            "pg_stat_reset",
            "pg_stat_statements_reset",
            "pg_buffercache_evict",
            "pg_buffercache_mark",
            "binary_upgrade_",
        ),
    ),
    Group(
        "changes a setting of the session, which goes back into the connection pool",
        "Say it in the statement itself, for example AT TIME ZONE or explicit formats.",
        "set_config setseed set_limit",
    ),
    Group(
        "sends a message to other sessions",
        "Nothing replaces it: this service only reads.",
        "pg_notify pg_logical_emit_message",
    ),
    Group(
        "writes or keeps replication state",
        "Look at pg_replication_slots and pg_stat_replication instead.",
        """
        pg_export_snapshot pg_logical_slot_get_changes pg_logical_slot_get_binary_changes
        pg_logical_slot_peek_changes pg_logical_slot_peek_binary_changes
        pg_replication_slot_advance pg_drop_replication_slot
        """,
        prefixes=("pg_create_", "pg_copy_", "pg_replication_origin_"),
    ),
    Group(
        "writes to the database",
        "Nothing replaces it: this service only reads.",
        """
        nextval setval brin_summarize_range brin_summarize_new_values brin_desummarize_range
        gin_clean_pending_list pg_nextoid pg_extension_config_dump
        pg_restore_relation_stats pg_restore_attribute_stats pg_clear_relation_stats
        pg_clear_attribute_stats pg_set_relation_stats pg_set_attribute_stats
        heap_force_kill heap_force_freeze pg_truncate_visibility_map
        """,
        prefixes=("pg_file_",),
    ),
    Group(
        "assigns a transaction id, which is a write",
        "Use pg_current_xact_id_if_assigned() or pg_current_snapshot().",
        "txid_current pg_current_xact_id",
    ),
    Group(
        "only waits, and holds a connection while it does",
        "Wait on your side and ask again.",
        "pg_sleep pg_sleep_for pg_sleep_until",
    ),
    Group(
        "shows raw pages or log records, past the rights on tables and rows",
        "Select from the table itself.",
        "get_raw_page pg_get_wal_record_info pg_get_wal_records_info "
        "pg_get_wal_records_info_till_end_of_wal pg_get_wal_block_info",
        prefixes=("pg_logical_slot_",),
    ),
    Group(
        "is machinery of the server and not made for statements",
        "Use a cast, or leave it out.",
        """
        fmgr_c_validator fmgr_internal_validator fmgr_sql_validator plpgsql_validator
        postgresql_fdw_validator pg_isolation_test_session_is_blocked currtid2 currtid amvalidate
        pg_event_trigger_ddl_commands pg_event_trigger_dropped_objects
        satisfies_hash_partition
        """,
    ),
)

SAFE_VOLATILE = words(
    # Randomness, clocks and identifiers: a fresh value and no trace.
    """
    random random_normal clock_timestamp timeofday gen_random_uuid uuidv4 uuidv7
    array_sample array_shuffle
    """
    # Sequences of this session, and the position of a sequence: read only.
    """
    currval lastval pg_sequence_last_value pg_get_sequence_data
    """
    # Sizes, read from the file system's metadata.
    """
    pg_database_size pg_tablespace_size pg_relation_size pg_total_relation_size pg_table_size
    pg_indexes_size
    """
    # State of the server, of replication and of other sessions.
    """
    pg_is_in_recovery pg_is_in_backup pg_backup_start_time pg_current_wal_lsn
    pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_last_wal_receive_lsn
    pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_is_wal_replay_paused
    pg_get_wal_replay_pause_state pg_last_committed_xact pg_xact_commit_timestamp
    pg_xact_commit_timestamp_origin pg_xact_status txid_status pg_blocking_pids
    pg_safe_snapshot_blocking_pids pg_lock_status pg_prepared_xact pg_notification_queue_usage
    pg_jit_available pg_stat_have_stats pg_get_multixact_members pg_get_multixact_stats
    pg_show_replication_origin_status
    pg_get_shmem_allocations pg_get_shmem_allocations_numa pg_get_dsm_registry_allocations
    pg_numa_available pg_get_backend_memory_contexts pg_get_wal_resource_managers
    pg_get_wait_events pg_get_aios pg_get_replication_slots pg_available_wal_summaries
    pg_wal_summary_contents pg_get_wal_summarizer_state pg_control_checkpoint pg_control_init
    pg_control_recovery pg_control_system pg_collation_actual_version
    pg_database_collation_actual_version pg_partition_tree pg_partition_ancestors current_query
    pg_timezone_names pg_timezone_abbrevs pg_timezone_abbrevs_zone pg_timezone_abbrevs_abbrevs
    """
)
"""Volatile functions of pg_catalog that read or compute and leave nothing behind."""

SAFE_VOLATILE_PREFIXES = ("pg_stat_get_",)
"""The statistics collector's readers; what resets statistics is called pg_stat_reset…."""

SAFE_EXTENSION_VOLATILE: dict[str, frozenset[str]] = {
    "pg_stat_statements": frozenset({"pg_stat_statements", "pg_stat_statements_info"}),
    "pgcrypto": words(
        """
        gen_random_bytes gen_random_uuid gen_salt pgp_sym_encrypt pgp_sym_encrypt_bytea
        pgp_pub_encrypt pgp_pub_encrypt_bytea
        """
    ),
    "uuid-ossp": frozenset({"uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4"}),
    "tablefunc": frozenset({"normal_rand"}),
    "pg_buffercache": frozenset(
        {
            "pg_buffercache_pages",
            "pg_buffercache_summary",
            "pg_buffercache_usage_counts",
            "pg_buffercache_numa_pages",
            "pg_buffercache_os_pages",
        }
    ),
    "pg_freespacemap": frozenset({"pg_freespace"}),
    "pg_visibility": frozenset(
        {
            "pg_visibility",
            "pg_visibility_map",
            "pg_visibility_map_summary",
            "pg_check_visible",
            "pg_check_frozen",
        }
    ),
    "pgstattuple": words(
        """
        pgstattuple pgstattuple_approx pgstatindex pg_relpages pgstatginindex pgstathashindex
        """
    ),
    "pgrowlocks": frozenset({"pgrowlocks"}),
    "old_snapshot": frozenset({"pg_old_snapshot_time_mapping"}),
    "postgres_fdw": frozenset({"postgres_fdw_get_connections"}),
    "hypopg": frozenset(
        {
            "hypopg",
            "hypopg_list_indexes",
            "hypopg_relation_size",
            "hypopg_get_indexdef",
            "hypopg_hidden_indexes",
        }
    ),
    "pg_stat_kcache": frozenset({"pg_stat_kcache"}),
    "pg_wait_sampling": frozenset(
        {
            "pg_wait_sampling_get_current",
            "pg_wait_sampling_get_history",
            "pg_wait_sampling_get_profile",
        }
    ),
    "pg_uuidv7": frozenset({"uuid_generate_v7"}),
    "postgis": frozenset({"postgis_full_version"}),
}
"""Volatile functions of extensions that only read or compute."""

CREDENTIAL_RELATIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("pg_catalog", "pg_authid"): ("holds the password hashes of all roles", "Use pg_roles."),
    ("pg_catalog", "pg_shadow"): ("holds the password hashes of all users", "Use pg_user."),
    ("pg_catalog", "pg_user_mapping"): (
        "holds passwords for other servers",
        "Use information_schema.user_mappings.",
    ),
    ("pg_catalog", "pg_user_mappings"): (
        "holds passwords for other servers",
        "Use information_schema.user_mappings.",
    ),
    ("information_schema", "user_mapping_options"): (
        "holds passwords for other servers",
        "Use information_schema.user_mappings.",
    ),
    ("information_schema", "_pg_user_mappings"): (
        "holds passwords for other servers",
        "Use information_schema.user_mappings.",
    ),
    ("pg_catalog", "pg_subscription"): (
        "holds connection strings with passwords",
        "Use pg_stat_subscription.",
    ),
    ("pg_catalog", "pg_hba_file_rules"): (
        "shows who may connect and how",
        "Ask the operator.",
    ),
    ("pg_catalog", "pg_ident_file_mappings"): (
        "shows who may connect as whom",
        "Ask the operator.",
    ),
    ("pg_catalog", "pg_file_settings"): (
        "shows configuration files with their secrets",
        "Use pg_settings.",
    ),
    ("pg_catalog", "pg_largeobject"): (
        "holds all large objects, past the rights on each",
        "Keep such data in bytea columns.",
    ),
    ("pg_catalog", "pg_statistic"): (
        "holds values sampled from all tables, past the rights on each",
        "Use pg_stats.",
    ),
    ("pg_catalog", "pg_statistic_ext_data"): (
        "holds values sampled from all tables, past the rights on each",
        "Use pg_stats_ext.",
    ),
    ("pg_catalog", "pg_dist_authinfo"): ("holds passwords of worker nodes", "Ask the operator."),
    ("vault", "decrypted_secrets"): ("holds secrets in clear text", "Ask the operator."),
    ("vault", "secrets"): ("holds secrets", "Ask the operator."),
}
"""Relations that hold secrets, or rows past the rights on them: (what they hold, what instead)."""

TOAST_SCHEMA = "pg_toast"

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})

SETTINGS_RELATIONS = frozenset({"pg_settings"})
SETTINGS_FUNCTIONS = frozenset({"current_setting", "pg_show_all_settings"})

SECRETIVE_SETTING = (
    r"conninfo|passphrase|passwd|password(?!_encryption)|secret|credential|api_?key"
    r"|private_?key|access_?key|encryption_?key|jwt|_token|token_|root_key"
)
"""Names of settings that hold secrets.

primary_conninfo and ssl_passphrase_command are PostgreSQL's; the others follow what extensions and
hosted databases call theirs (app.jwt_secret, for example).
"""

EXPLAIN_OPTIONS = words(
    """
    analyze verbose costs settings generic_plan buffers serialize wal timing summary memory format
    """
)

ROW_MAKERS = words(
    "json_populate_record json_populate_recordset jsonb_populate_record jsonb_populate_recordset "
    "populate_record"
)
"""Functions that make rows of their first argument's type."""

TYPE_TESTERS = words("pg_input_is_valid pg_input_error_info")
"""Functions that run the input function of a type named in a string (16 and later)."""

SAMPLE_METHODS = frozenset({"system", "bernoulli", "system_rows", "system_time"})

JSON_NODES: dict[str, tuple[str, ...]] = {
    "JsonParseExpr": ("json",),
    "JsonScalarExpr": ("json_scalar",),
    "JsonSerializeExpr": ("json_serialize",),
    "JsonObjectConstructor": ("json_object",),
    "JsonArrayConstructor": ("json_array",),
    "JsonArrayQueryConstructor": ("json_array",),
    "JsonObjectAgg": ("json_objectagg",),
    "JsonArrayAgg": ("json_arrayagg",),
    "JsonFuncExpr": ("json_exists", "json_query", "json_value"),
    "JsonTable": ("json_table",),
}
"""SQL/JSON of PostgreSQL 16 and 17 by node: an older server sees functions of these names."""


def _index() -> tuple[dict[str, Group], tuple[tuple[str, Group], ...]]:
    """Return the refused groups by exact name and by prefix."""
    names = {name: group for group in REFUSED_GROUPS for name in group.names.split()}
    prefixes = tuple((prefix, group) for group in REFUSED_GROUPS for prefix in group.prefixes)
    return names, prefixes


_REFUSED_NAMES, _REFUSED_PREFIXES = _index()
_PREFIX_STARTS = tuple(prefix for prefix, _ in _REFUSED_PREFIXES)


def refused_group(name: str) -> Group | None:
    """Return the group that refuses functions of PostgreSQL or an extension by this name."""
    group = _REFUSED_NAMES.get(name)
    if group is None and name.startswith(_PREFIX_STARTS):
        group = next(group for prefix, group in _REFUSED_PREFIXES if name.startswith(prefix))
    return group


def is_safe_volatile(name: str, extension: str | None) -> bool:
    """Tell whether a volatile function of PostgreSQL or an extension leaves nothing behind."""
    if extension is not None:
        return name in SAFE_EXTENSION_VOLATILE.get(extension, ())
    return name in SAFE_VOLATILE or name.startswith(SAFE_VOLATILE_PREFIXES)


DANGEROUS_WORDS = (
    r"(?i)\m(execute|dblink\w*|pg_read_\w*|pg_ls_\w*|pg_stat_file|lo_(?:import|export|creat|create|unlink|put|get|open|from_bytea|truncate)|pg_(?:try_)?advisory_\w+"
    r"|pg_terminate_backend|pg_cancel_backend|pg_reload_conf|pg_sleep\w*|set_config|pg_notify"
    r"|query_to_xml\w*|cursor_to_xml\w*|ts_stat|crosstab\w*|xpath_table|pg_authid|pg_shadow"
    r"|pg_user_mappings?|pg_promote|pg_switch_wal|pg_rotate_logfile)\M"
)
"""Words (a PostgreSQL regular expression) that a stable or immutable function's body may not hold.

Such a label is a promise that the server does not check: "EXECUTE" runs SQL held in strings, the
others do what is refused in statements.
"""
