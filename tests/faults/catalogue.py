"""The catalogue of faults: what can go wrong, what has to be seen then, and the tests that try it.

`make faults` runs them all, the slow ones too, and prints a table; `make test` runs the quick ones.
"""

from typing import NamedTuple


class Case(NamedTuple):
    """One fault."""

    fault: str
    outcome: str  # what a user has to see
    tests: tuple[str, ...]  # FILE::TEST under tests/, without parameters; with [..] for some of them


PLACES = "faults/test_places.py::"
KILLED = f"{PLACES}test_a_run_killed_here_ends_as_an_undisturbed_one"
DISK = f"{PLACES}test_a_disk_that_fails_here_is_73_and_the_next_start_ends_well"
CHAMPION, RACE = "tasks/test_champion.py::test_", "tasks/test_promotion_race.py::test_"
FILES, INGEST = "tasks/test_ingest_files.py::test_", "tasks/test_ingest.py::test_"
CONTRACT, VALIDATE = "tasks/test_contract.py::test_", "tasks/test_validate.py::test_"
TRACKING, CONNECTION = "tasks/test_tracking.py::test_", "tasks/test_connection.py::test_"
ARTEFACT, CHECKPOINT = "rnn_model/test_artefact.py::test_", "rnn_model/test_checkpoint.py::test_"
RESUME, TRAINING = "rnn_model/test_resume.py::test_", "rnn_model/test_training_faults.py::test_"
BATCHES, FORECAST = "tasks/test_batches.py::test_", "tasks/test_forecast.py::test_"
REPEATING, CLI = "flows/test_repeating.py::test_", "flows/test_cli.py::test_"
SERVERS, PINNING = "tasks/test_servers.py::test_", "tasks/test_pinning.py::test_"

CASES: dict[int, Case] = {
    # a crash, a signal, a new start
    1: Case("killed while a target is read", "the next start ends with equal figures", (f"{KILLED}[published:raw]",)),
    2: Case("killed in validation", "nothing published; equal figures later", (f"{KILLED}[written:validated]",)),
    3: Case("killed while windows are written", "the staging folder is swept", (f"{KILLED}[sealed:windows]",)),
    4: Case("killed in a training", "goes on from the last state, equal weights", (f"{KILLED}[training step@3]",)),
    6: Case(
        "killed around a state",
        "the newest intact state counts",
        (
            f"{KILLED}[state written@2]",
            f"{KILLED}[state kept@2]",
            f"{RESUME}a_damaged_state_is_passed_over_and_named",
        ),
    ),
    7: Case("killed in fine-tuning", "the pretraining is not repeated", (f"{KILLED}[sealed:models@2]",)),
    8: Case(
        "killed in the backtest",
        "equal metrics, logged once",
        (
            f"{KILLED}[written:backtests]",
            f"{KILLED}[published:backtests]",
        ),
    ),
    9: Case(
        "killed around log_model and register",
        "one version of a model",
        (
            f"{KILLED}[model logged]",
            f"{KILLED}[version made]",
            f"{TRACKING}the_next_start_fails_models_that_a_killed_run_was_logging_and_no_others",
        ),
    ),
    10: Case(
        "killed around the move of the alias",
        "the move is finished or reverted",
        (
            f"{RACE}a_promotion_that_was_killed_is_finished_by_the_next_start",
            f"{RACE}a_run_that_was_killed_while_it_promoted_does_not_promote_twice",
        ),
    ),
    11: Case(
        "killed while forecasts are written",
        "readers see the old set or the new one",
        (
            f"{BATCHES}a_folder_that_a_kill_left_without_a_line_is_taken",
            f"{BATCHES}a_batch_that_fails_leaves_the_old_one_and_nothing_else",
        ),
    ),
    12: Case(
        "killed three times while it recovers",
        "equal figures",
        (f"{PLACES}test_a_run_killed_twice_while_it_recovers_ends_as_an_undisturbed_one",),
    ),
    14: Case(
        "SIGTERM in a training",
        "143; the next start goes on",
        (
            f"{PLACES}test_a_run_terminated_in_training_keeps_its_steps",
            f"{CLI}what_ends_a_process_ends_it_in_order_and_once",
        ),
    ),
    16: Case("Ctrl-C", "130, and how to go on", (f"{CLI}a_stopped_process_says_so_and_leaves_no_server_behind",)),
    21: Case(
        "nobody left to close a run",
        "the next start closes it",
        (
            f"{TRACKING}the_next_start_closes_runs_whose_process_is_gone_and_no_others",
            f"{TRACKING}a_number_that_another_process_got_since_does_not_keep_a_run_alive",
            "tasks/test_killed.py::test_the_next_flow_closes_the_run_of_a_killed_process_and_its_tasks",
            "tasks/test_killed.py::test_runs_that_are_alive_or_not_ours_are_left_alone",
        ),
    ),
    22: Case(
        "a finished run is asked for again",
        "nothing to do",
        (
            f"{REPEATING}a_finished_run_is_found_and_opens_no_other",
            f"{REPEATING}the_command_says_so_without_a_server",
        ),
    ),
    23: Case(
        "a lock file without a holder",
        "no manual step",
        (f"{ARTEFACT}what_one_process_is_making_no_other_makes_and_the_holder_is_named",),
    ),
    24: Case(
        "another setting, code or data",
        "another run",
        (
            f"{REPEATING}another_setting_is_another_run",
            f"{REPEATING}other_data_are_another_run",
        ),
    ),
    # two at once
    26: Case(
        "the same run twice at once",
        "the second says who is at it (75)",
        (f"{REPEATING}a_second_start_is_told_who_is_at_it",),
    ),
    28: Case(
        "two promotions race",
        "the better model is champion",
        (
            f"{RACE}after_every_round_the_champion_is_the_better_one",
            f"{RACE}the_ledger_of_a_race_is_linear_and_only_ever_gets_better",
            f"{RACE}no_update_is_lost_and_losers_are_told_why",
        ),
    ),
    29: Case(
        "a version is deleted while it is promoted",
        "the champion stays",
        (f"{CHAMPION}a_version_deleted_while_it_is_promoted_leaves_the_champion",),
    ),
    30: Case(
        "a promotion during a batch forecast",
        "the batch has one version",
        (f"{PINNING}the_whole_batch_is_the_version_that_was_champion_when_it_began",),
    ),
    31: Case(
        "tonight starts while yesterday still runs",
        "cancelled, and visible",
        ("flows/test_on_a_server.py::test_of_two_nights_at_once_the_second_is_cancelled_and_says_so",),
    ),
    32: Case(
        "two first starts on one store",
        "both succeed",
        (
            f"{CONNECTION}two_processes_that_start_on_a_fresh_store_at_once_both_succeed",
            "tasks/test_schema.py::test_a_first_start_waits_for_another_one",
            "tasks/test_schema.py::test_a_kill_in_a_first_start_leaves_what_the_next_start_uses",
            "tasks/test_schema.py::test_a_half_made_store_without_runs_is_made_anew",
        ),
    ),
    # services
    34: Case(
        "tracking is down at the start",
        "69 within 10 s, no password shown",
        (f"{CONNECTION}a_closed_port_is_named_within_ten_seconds_and_without_the_password",),
    ),
    35: Case(
        "tracking fails in mid-run",
        "69 in one line",
        (
            f"{TRACKING}a_store_that_fails_in_mid_run_is_a_service_that_failed",
            "tasks/test_delivery.py::test_a_server_that_comes_back_in_mid_run_has_every_point_once_and_in_order",
        ),
    ),
    36: Case(
        "tracking stays away for the rest of a run",
        "kept, sent by carryover sync; the run ends in time",
        (
            "tasks/test_delivery.py::test_a_server_that_stays_away_leaves_everything_to_sync_and_the_run_ends_in_time",
            "tasks/test_delivery.py::test_two_that_sync_at_once_send_every_point_once",
            "tasks/test_delivery.py::test_a_kill_between_the_sending_and_the_dropping_sends_again_what_changes_nothing",
        ),
    ),
    38: Case(
        "the store was put back to an older state",
        "the run is made anew from what is known",
        ("tasks/test_delivery.py::test_a_run_that_the_store_has_lost_is_made_anew_with_all_that_is_known",),
    ),
    39: Case(
        "a server answers 500, 429, HTML, cut JSON, or hangs",
        "a line for each cause, within seconds",
        (
            "tasks/test_reasons.py::test_what_a_server_answers_is_told_by_its_cause",
            "tasks/test_delivery.py::test_a_point_that_a_server_does_not_take_is_kept_within_seconds",
        ),
    ),
    40: Case(
        "a store that is locked, damaged or without room",
        "75, 76, 73",
        (
            "tasks/test_reasons.py::test_a_store_that_another_process_writes_to_is_busy",
            "tasks/test_reasons.py::test_a_damaged_store_is_told_from_one_that_is_away",
            "tasks/test_reasons.py::test_a_small_disk_is_told_as_a_disk_without_room",
        ),
    ),
    41: Case(
        "Prefect is down at the start",
        "69, no password shown",
        (
            f"{CLI}a_prefect_server_that_is_down_exits_69_without_its_password",
            "tasks/test_prefect_api.py::test_an_address_with_nothing_there_is_told",
            "tasks/test_prefect_api.py::test_each_answer_of_a_server_has_its_line",
            "tasks/test_proxies.py::test_a_flow_on_the_embedded_server_runs_behind_a_dead_proxy",
        ),
    ),
    44: Case(
        "versions under which Prefect's server cannot start",
        "found by a test",
        (
            "flows/test_deployments.py::test_prefect_server_can_be_imported_with_the_pinned_versions",
            "flows/test_on_a_server.py::test_a_schedule_gives_runs",
            "flows/test_doctor.py::test_it_works_where_no_library_can_be_imported",
            "tasks/test_reachable.py::test_a_server_of_another_version_is_named_with_both",
        ),
    ),
    45: Case("a port in use", "named with its option", (f"{SERVERS}a_port_in_use_is_named_with_its_option",)),
    46: Case(
        "no alias, a version not READY, files gone",
        "76, and the earlier forecasts stay",
        (
            f"{CHAMPION}an_alias_that_points_to_nothing_is_an_error",
            f"{CHAMPION}a_version_that_is_not_ready_is_never_promoted",
            f"{CHAMPION}a_champion_whose_files_are_not_what_they_were_is_an_error",
            f"{PINNING}no_champion_is_said_with_what_to_do",
        ),
    ),
    47: Case(
        "bad requests to the served model",
        "400 and the reason",
        (
            "flows/test_serving.py::test_a_bad_request_gets_400_and_the_reason",
            "flows/test_serving.py::test_a_real_server_forecasts_with_the_champion_and_refuses_nan",
        ),
    ),
    # disk, memory, clock
    48: Case(
        "a full disk at a state",
        "73; the next start goes on",
        (
            f"{DISK}[full-state written]",
            f"{CHECKPOINT}a_full_disk_leaves_no_folder_and_is_named",
            "tasks/test_room.py::test_a_small_disk_is_refused_with_need_and_have",
        ),
    ),
    49: Case(
        "a full disk at a stage",
        "73; nothing half written",
        (
            f"{DISK}[full-written:raw]",
            f"{DISK}[full-sealed:validated]",
            f"{DISK}[full-written:backtests]",
        ),
    ),
    51: Case(
        "an input/output error",
        "73; counted as failed",
        (
            f"{DISK}[broken-written:raw]",
            f"{DISK}[broken-sealed:models]",
            f"{DISK}[broken-state written]",
        ),
    ),
    52: Case(
        "a folder of someone else",
        "77",
        (
            f"{ARTEFACT}the_system_says_no_and_the_error_says_which_kind",
            "tasks/test_room.py::test_what_is_closed_to_a_user_is_refused_before_the_work",
        ),
    ),
    53: Case(
        "no inodes, limits of the shell",
        "73, with the cause",
        (
            "tasks/test_room.py::test_a_disk_without_inodes_is_refused",
            "tasks/test_room.py::test_limits_of_the_shell_are_named",
        ),
    ),
    58: Case(
        "nightly over the change of the clock",
        "one run on each local day",
        ("flows/test_deployments.py::test_there_is_one_run_on_each_local_day_when_the_clock_changes",),
    ),
    # artefacts that are not what they were
    60: Case(
        "a cut state or file",
        "passed over and named, or refused",
        (
            f"{RESUME}a_damaged_state_is_passed_over_and_named",
            f"{CHECKPOINT}a_truncated_file_is_refused",
        ),
    ),
    62: Case(
        "no intact state", "76, nothing deleted", (f"{RESUME}without_an_intact_state_nothing_is_begun_anew_or_deleted",)
    ),
    63: Case(
        "missing, extra or misshaped weights, a newer format",
        "76, named",
        (
            f"{CHECKPOINT}a_missing_weight_is_refused_by_name",
            f"{CHECKPOINT}an_extra_weight_is_refused_by_name",
            f"{CHECKPOINT}a_weight_of_another_shape_is_refused_with_both_shapes",
            f"{CHECKPOINT}a_newer_format_is_refused_with_both_versions",
        ),
    ),
    65: Case(
        "Parquet that is cut, or none",
        "65 in one line",
        (
            f"{FILES}a_cut_parquet_file_is_refused_in_one_line",
            f"{FILES}text_named_parquet_is_refused",
        ),
    ),
    66: Case(
        "a manifest that is missing or edited",
        "76",
        (
            f"{CHECKPOINT}a_manifest_that_is_none_is_refused",
            f"{ARTEFACT}a_missing_file_is_named",
        ),
    ),
    67: Case(
        "a kept stage that was edited or lost",
        "made again",
        (
            f"{REPEATING}what_lost_a_folder_or_its_run_is_done_again",
            f"{ARTEFACT}a_damaged_folder_is_replaced",
        ),
    ),
    68: Case(
        "a champion whose files changed",
        "76",
        (
            f"{CHAMPION}a_champion_whose_files_are_not_what_they_were_is_an_error",
            f"{CHAMPION}a_champion_whose_weights_are_not_those_registered_is_an_error",
            f"{BATCHES}a_model_that_changed_after_it_was_pinned_is_refused",
            "tasks/test_identity.py::test_a_champion_whose_card_was_edited_with_its_manifest_is_refused",
            "tasks/test_identity.py::test_a_champion_edited_together_with_its_tag_is_found_by_the_ledger",
        ),
    ),
    # bad data
    69: Case(
        "a byte order mark, CRLF", "read, the same data", (f"{INGEST}spellings_of_the_same_rows_are_the_same_data",)
    ),
    70: Case(
        "not UTF-8, NUL, lines that end in CR",
        "65 with the byte",
        (
            f"{FILES}another_encoding_is_refused_with_its_byte_offset",
            f"{FILES}lines_that_end_in_cr_alone_are_refused",
        ),
    ),
    71: Case("no rows", "65", (f"{FILES}a_file_without_rows_is_refused", f"{FILES}parquet_without_rows_is_refused")),
    72: Case(
        "missing or double columns",
        "65 with the nearest name",
        (
            f"{FILES}a_missing_column_is_refused_with_what_was_found_and_the_nearest",
            f"{FILES}a_column_that_occurs_twice_is_refused",
        ),
    ),
    73: Case(
        "text among numbers",
        "65 with its row, wherever it stands",
        (f"{INGEST}text_among_a_million_numbers_is_refused_by_row_wherever_it_stands",),
    ),
    74: Case(
        "1,234.5, $, NA",
        "65, or by a declared rule",
        (
            f"{INGEST}what_is_no_number_is_refused_by_row",
            f"{INGEST}a_declared_null_value_is_missing",
        ),
    ),
    76: Case(
        "NaN and infinities",
        "NaN is missing, infinity is set aside",
        (
            f"{INGEST}numbers_missing_values_and_infinities_are_read",
            f"{CONTRACT}a_series_that_breaks_a_rule_is_set_aside_whole_and_the_others_go_on",
        ),
    ),
    78: Case(
        "a series that never changes",
        "forecast as it was",
        ("tasks/test_odd_series.py::test_what_never_changed_is_forecast_as_it_was",),
    ),
    79: Case("no value at all", "set aside", ("tasks/test_odd_series.py::test_odd_series_are_forecast_or_named",)),
    80: Case(
        "a series that is too short",
        "set aside with need and have",
        (f"{VALIDATE}a_series_too_short_is_refused_with_need_and_have",),
    ),
    82: Case(
        "two rows of one time",
        "equal ones dropped and counted, others set aside",
        (
            f"{CONTRACT}equal_duplicates_are_dropped_and_counted",
            f"{CONTRACT}a_series_that_breaks_a_rule_is_set_aside_whole_and_the_others_go_on",
        ),
    ),
    83: Case("rows in another order", "the same data", (f"{INGEST}the_order_of_rows_does_not_matter",)),
    84: Case(
        "gaps, steps of another frequency",
        "by policy and counted, or set aside",
        (
            f"{CONTRACT}absent_rows_become_missing_steps_and_are_counted",
            f"{CONTRACT}another_frequency_than_declared_breaks_a_rule",
        ),
    ),
    85: Case(
        "local times over the change of the clock",
        "by the wall clock, or by a declared zone",
        (
            "tasks/test_clock.py::test_days_of_a_clock_that_changes_are_those_of_the_text",
            "tasks/test_repeats.py::test_the_hour_that_is_there_twice_is_resolved_by_order",
            "tasks/test_repeats.py::test_the_missing_hour_is_no_gap",
        ),
    ),
    86: Case(
        "times with a zone and times without",
        "65 with both",
        (f"{INGEST}times_with_and_without_zone_in_two_files_are_refused",),
    ),
    87: Case("the years 1 and 9999", "set aside, no crash", (f"{VALIDATE}a_time_no_library_can_hold_is_named",)),
    88: Case(
        "30 February, two formats of date", "65 with the row", (f"{INGEST}a_time_unlike_the_first_is_refused_by_row",)
    ),
    89: Case(
        "ids that differ in type, blanks, case or form",
        "one id with a word, or apart with a word",
        (
            "tasks/test_ids.py::test_ids_that_differ_in_type_or_blanks_are_one_and_named",
            "tasks/test_ids.py::test_ids_that_look_alike_stay_apart_and_are_named",
        ),
    ),
    90: Case(
        "quotes out of their place",
        "65 with the row",
        ("tasks/test_quotes.py::test_a_quote_that_closes_rows_later_is_refused_with_both_rows",),
    ),
    91: Case(
        "ids that a spreadsheet would run",
        "escaped in CSV, exact in Parquet",
        (
            f"{FORECAST}a_name_that_a_spreadsheet_would_run_is_escaped_in_csv_and_exact_in_parquet",
            "tasks/test_csv.py::test_a_formula_behind_what_is_not_seen_is_a_text",
            "tasks/test_csv.py::test_numbers_and_times_stay_and_parquet_is_exact",
        ),
    ),
    92: Case(
        "every series set aside",
        "65 before any training",
        (
            f"{VALIDATE}with_no_series_left_the_run_stops_whatever_share_is_allowed",
            "flows/test_forecast.py::test_what_cannot_be_forecast_is_refused_in_one_line_and_old_forecasts_stay",
        ),
    ),
    93: Case(
        "more series set aside than allowed",
        "65 with counts for each rule",
        (f"{VALIDATE}past_the_allowed_share_the_run_stops_with_counts_per_rule",),
    ),
    98: Case(
        "a model of another frequency", "2", ("tasks/test_finetune.py::test_a_model_of_another_frequency_is_refused",)
    ),
    # numbers in a training
    101: Case(
        "a loss that is not finite",
        "70 before the step",
        (f"{TRAINING}a_loss_that_is_not_finite_stops_before_the_step",),
    ),
    102: Case(
        "a gradient that is not finite",
        "70 before the step",
        (f"{TRAINING}a_gradient_that_is_not_finite_stops_before_the_step",),
    ),
    103: Case(
        "a validation loss that is not finite",
        "70, nothing called best",
        (f"{TRAINING}a_validation_loss_that_is_not_finite_is_a_fault",),
    ),
    105: Case(
        "a base model that is absent or of another shape",
        "2 or 76 with both",
        (
            "tasks/test_pretrain.py::test_another_network_than_the_models_is_refused_with_both",
            f"{CHECKPOINT}a_folder_that_is_not_there_is_refused",
        ),
    ),
    106: Case(
        "a setting out of its bounds",
        "2 with the bounds",
        (
            "rnn_model/test_config.py::test_a_value_out_of_bounds_is_refused",
            f"{CLI}a_wrong_option_exits_2_and_names_the_field",
        ),
    ),
    # hostile content
    107: Case(
        "a pickle in the place of weights",
        "refused, not run",
        (
            f"{CHECKPOINT}a_pickle_is_refused_and_does_not_run",
            "tasks/test_foreign_models.py::test_a_pickle_is_refused_and_does_not_run",
        ),
    ),
    109: Case(
        "malformed safetensors",
        "76",
        (
            "rnn_model/test_tensor_file.py::test_a_malformed_file_is_an_integrity_fault",
            "rnn_model/test_tensor_file.py::test_a_claim_of_terabytes_allocates_nothing",
        ),
    ),
    111: Case(
        "names that lead out of their folder",
        "other names, inside",
        (
            "tasks/test_registry.py::test_every_target_name_gives_a_name_that_registry_and_files_take",
            "flows/test_secrets.py::test_a_name_that_leads_elsewhere_is_refused",
        ),
    ),
    112: Case(
        "links that lead out of their folder",
        "77",
        (
            "rnn_model/test_private.py::test_a_planted_link_is_refused_and_not_followed",
            "flows/test_secrets.py::test_a_planted_log_leads_nowhere",
        ),
    ),
    113: Case(
        "passwords in addresses",
        "shown nowhere",
        (
            "flows/test_sources.py::test_the_secret_stands_in_no_file_and_no_database",
            f"{CONNECTION}an_address_is_shown_without_credentials_and_query",
            "flows/test_secrets.py::test_no_option_shows_or_stores_a_secret",
            "flows/test_secrets.py::test_no_configuration_file_shows_or_stores_a_secret",
            "flows/test_secrets.py::test_no_variable_shows_or_stores_a_secret",
            "flows/test_secrets.py::test_a_whole_command_leaves_no_secret_in_any_store",
            "flows/test_unexpected.py::test_nothing_of_prefect_speaks_after_the_last_line",
        ),
    ),
    114: Case(
        "folders and files that others may change",
        "77; ours are 0700 and 0600",
        (
            "tasks/test_settling.py::test_a_new_data_folder_and_what_is_put_there_are_private",
            "rnn_model/test_private.py::test_a_place_in_which_everybody_may_change_something_is_refused",
        ),
    ),
}
