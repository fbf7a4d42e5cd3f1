//! The list of all rules, and what it takes to have them run over a store.

/// Runs every rule over the store that `$make` (an `async fn() -> Rig`) opens.
macro_rules! conformance {
    ($store:ident, $make:path) => {
        mod $store {
            rules! { $make, arrows:
                the_table_has_no_arrow_that_is_not_walked_here
                a_job_without_delay_begins_ready
                a_delayed_job_begins_scheduled
                scheduled_becomes_ready_when_due
                scheduled_becomes_ready_by_hand
                scheduled_becomes_cancelled
                ready_becomes_running_by_a_claim
                ready_becomes_cancelled
                running_becomes_completed
                running_becomes_scheduled_by_a_failure
                running_becomes_scheduled_by_a_snooze
                running_becomes_ready_by_a_release
                running_becomes_ready_when_its_holder_dies
                running_becomes_dead
                running_becomes_cancelled_by_its_handler
                dead_becomes_ready_by_hand
                completed_and_cancelled_are_final
            }
            rules! { $make, enqueueing:
                an_acknowledged_job_survives_a_restart
                the_same_id_again_is_a_duplicate_and_changes_nothing
                the_same_id_is_a_duplicate_while_running_and_when_finished
                a_batch_may_hold_the_same_id_and_the_same_key_twice
                a_unique_key_keeps_a_second_job_away_while_the_first_lives
                a_unique_key_is_free_when_its_job_is_finished
                a_unique_key_is_free_when_its_job_crashed_for_good
                a_unique_key_with_a_window_outlives_its_job
                a_window_counts_from_the_enqueue_and_never_cuts_a_life_short
                a_window_survives_a_restart_and_the_pruning_of_its_job
                a_batch_is_kept_whole_or_not_at_all
                a_full_batch_is_kept_and_a_larger_one_refused
                an_empty_batch_is_nothing
                a_time_in_the_past_means_now
                a_queue_declared_again_keeps_its_jobs
            }
            rules! { $make, claiming:
                priority_goes_first_then_the_order_of_arrival
                jobs_of_one_batch_go_in_its_order
                never_more_than_asked_for
                one_claim_touches_no_more_than_the_bound
                a_claim_tells_all_that_a_worker_needs
                each_claim_raises_the_epoch
                a_claim_takes_from_its_own_queue_only
                a_scheduled_job_is_not_handed_out
                an_unknown_queue_is_refused
                an_incarnation_that_never_beat_gets_nothing
                a_dead_incarnation_gets_nothing
                a_worker_that_shall_drain_gets_nothing
                a_signed_off_incarnation_gets_nothing
                a_paused_queue_gives_nothing_until_resumed
                a_pause_leaves_running_jobs_alone
                a_queues_rate_bounds_the_claims_of_all_workers
                a_claim_that_finds_nothing_uses_none_of_the_rate
            }
            rules! { $make, waiting:
                an_enqueue_wakes_a_waiting_claim
                a_claim_and_an_enqueue_at_the_same_time_meet
                a_promotion_wakes_a_waiting_claim
                a_resume_wakes_a_waiting_claim
                a_rescue_wakes_a_waiting_claim
                a_release_a_retry_by_hand_and_a_child_each_wake_a_waiting_claim
                one_job_wakes_one_of_many_waiting_claims
                a_waiting_claim_of_another_queue_sleeps_on
                a_claim_answers_empty_when_its_wait_is_over
                a_waiting_claim_ends_when_its_worker_is_declared_dead_or_leaves
                a_waiting_claim_that_is_dropped_takes_no_job_with_it
                a_claim_dropped_after_it_was_woken_hands_its_job_back
                a_claim_dropped_at_any_moment_loses_nothing
            }
            rules! { $make, settling:
                complete_keeps_the_result_and_the_time
                retry_counts_the_attempt_and_waits_its_delay
                snooze_does_not_count_the_attempt
                release_goes_back_at_once_and_does_not_count
                a_released_job_keeps_its_place
                dead_keeps_the_reason_and_the_error
                cancel_keeps_the_reason
                only_the_last_ten_failures_are_kept
                a_long_error_is_cut_at_two_kibibytes_between_letters
                children_come_to_life_with_the_completion
                a_child_that_is_there_already_does_not_stop_the_completion
                a_job_may_leave_its_unique_key_to_its_child
                a_child_for_an_unknown_queue_fails_the_settle_and_changes_nothing
                a_batch_is_answered_in_its_order
                every_kind_of_end_in_one_batch_changes_its_own_job_alone
                a_settle_over_the_bound_is_refused_and_changes_nothing
                progress_is_kept_and_bounded
                the_last_two_hundred_log_lines_are_kept_oldest_first
            }
            rules! { $make, fencing:
                a_stale_settle_is_refused_and_changes_no_byte
                a_stale_settle_after_the_end_is_refused
                a_settle_between_rescue_and_the_next_claim_is_refused
                stale_progress_is_refused_and_changes_no_byte
                a_stale_log_line_is_refused_and_changes_no_byte
                the_same_settlement_again_is_refused
                the_own_lease_of_an_earlier_attempt_is_stale_too
                a_job_its_own_worker_has_claimed_again_refuses_the_overrun_attempt
                a_dead_worker_settles_nothing_though_its_job_waits_for_the_next_round
                in_a_mixed_batch_the_good_are_settled_and_the_stale_refused_in_order
                a_deleted_jobs_lease_is_stale
                a_revived_job_refuses_its_first_holder
            }
            rules! { $make, dying:
                beats_keep_a_lease_for_ever
                without_a_beat_a_job_is_rescued_after_the_lease_and_not_before
                a_late_beat_counts_while_nobody_has_noticed
                an_incarnation_declared_dead_never_beats_again
                one_worker_dies_and_its_neighbour_keeps_its_jobs
                a_rescue_is_bounded_and_says_when_there_is_more
                the_third_crash_is_the_end
                a_failed_attempt_does_not_count_as_crash
                a_job_past_its_deadline_is_taken_from_a_living_worker
                a_clean_stop_gives_its_jobs_back_at_once_and_uncharged
                the_dead_can_not_sign_off
                a_worker_is_shown_while_it_lives
                a_worker_that_shall_drain_is_told_with_its_next_beat
            }
            rules! { $make, promoting:
                only_what_is_due_is_promoted
                a_round_is_bounded_takes_the_earliest_and_says_when_there_is_more
                promoted_jobs_are_handed_out_in_the_order_they_were_due
                all_queues_are_promoted
                a_restart_forgets_no_due_time
                the_signal_rings_for_a_new_delayed_job
                the_signal_rings_for_an_earlier_job_than_the_next
                the_signal_rings_for_a_retry_a_snooze_and_a_delayed_child
            }
            rules! { $make, cancelling:
                a_waiting_job_is_cancelled_at_once_and_keeps_the_reason
                the_holder_of_a_running_job_is_told_with_its_next_beat
                a_request_frees_nothing_before_the_holder_answers
                a_finish_before_the_cancel_wins
                a_finish_after_the_request_still_counts
                cancel_and_finish_at_the_same_time_have_one_winner
                after_a_request_no_new_attempt_begins
                after_a_request_a_dead_holders_job_is_cancelled
                after_a_request_a_clean_stop_cancels_the_job
                a_job_that_is_not_there_can_not_be_cancelled
            }
            rules! { $make, operating:
                a_revived_job_begins_from_zero
                only_dead_and_scheduled_jobs_can_be_retried
                a_job_whose_key_another_has_is_not_revived
                a_revived_job_has_its_key_again
                only_finished_jobs_can_be_deleted
                a_purge_cancels_what_waits_and_nothing_else
                a_purge_is_bounded
                unknown_queues_and_jobs_are_named
            }
            rules! { $make, listing:
                a_list_is_filtered
                a_filter_that_matches_little_still_reaches_the_end
                a_list_of_an_unknown_queue_says_so
                each_state_is_listed_in_the_order_that_suits_it
                readers_that_go_away_take_no_place_with_them
                a_page_holds_no_more_than_its_limit_and_the_last_says_so
                pages_stay_true_while_jobs_come_and_go
                a_cursor_that_is_none_is_refused
                counters_equal_a_full_list_at_every_step
                completed_total_never_falls
                the_oldest_ready_job_is_measured_from_its_due_time
                queues_are_counted_in_the_order_of_their_names
                the_store_tells_its_name_its_promise_and_its_clock
            }
            rules! { $make, explaining:
                a_running_job_runs
                a_finished_job_is_finished
                a_scheduled_job_is_not_due
                a_job_of_a_paused_queue_waits_for_the_resume
                a_job_without_a_live_worker_waits_for_one
                a_job_of_a_used_up_queue_waits_for_the_next_window
                a_waiting_job_counts_those_before_it
                counting_those_before_stops_at_a_thousand
            }
            rules! { $make, pruning:
                finished_jobs_go_when_they_are_old
                what_is_not_finished_never_goes
                of_too_many_finished_jobs_the_newest_stay
                each_queue_has_its_own_retention
                a_round_of_pruning_is_bounded_and_says_when_there_is_more
                log_lines_go_with_their_job
                expired_small_things_go_too
                a_dead_worker_with_jobs_left_is_not_forgotten
            }
            rules! { $make, schedules:
                a_new_schedule_starts_at_now_and_a_known_one_keeps_its_place
                a_due_time_is_enqueued_once
                two_nodes_that_tick_at_once_enqueue_once
                a_job_of_a_tick_may_carry_jitter
                with_skip_a_due_time_is_left_out_while_the_last_job_lives
                with_allow_jobs_of_one_schedule_overlap
                with_queue_one_the_newest_waits_until_the_last_job_ends
                two_nodes_release_a_held_due_time_once
                a_paused_schedule_does_not_fire_and_resumes_from_now
                run_by_hand_leaves_the_cursor_and_minds_no_overlap
                due_times_left_out_after_downtime_are_on_record
                history_is_newest_first_bounded_and_tells_all
                a_tick_whose_job_can_not_be_kept_decides_nothing
                an_unknown_schedule_is_named
                a_schedules_job_wakes_a_worker_like_any_other
            }
            rules! { $make, shared:
                a_cached_value_is_there_until_its_time_is_over
                a_cached_value_is_replaced_and_forgotten
                tenants_never_see_each_others_values
                a_value_that_is_too_large_is_refused
                a_repeated_request_gets_the_first_ones_reply
                a_key_used_for_another_request_is_a_mismatch
                a_released_key_may_be_tried_again_by_the_same_request
                a_key_whose_holder_crashed_is_free_for_the_same_request_after_its_lease
                a_reserved_key_is_free_when_its_time_is_over
                scopes_do_not_share_keys
                of_two_requests_at_once_one_is_granted
                a_breaker_opens_after_failures_in_a_row
                an_open_breaker_lets_one_probe_through_after_its_cooldown
                a_failed_probe_opens_the_breaker_again_at_once
                a_failed_probe_after_a_mere_pause_is_one_failure_of_many
                a_probe_that_never_reports_does_not_block_for_ever
                a_breaker_closed_by_hand_is_closed_and_has_its_own_name
            }
            rules! { $make, rates:
                a_fixed_window_never_grants_more_than_its_limit
                a_sliding_window_counts_the_last_one_by_its_share_in_view
                a_token_bucket_never_grants_more_than_its_burst_and_refill
                a_full_budget_can_be_used_at_once
                a_limit_is_shared_by_all_processes_and_survives_a_restart
                takes_at_once_never_exceed_the_limit
            }
            rules! { $make, crowd:
                eight_tasks_share_two_thousand_jobs_and_run_each_once
                two_processes_share_two_thousand_jobs_and_run_each_once
                what_the_dead_held_is_run_once_by_the_living
            }
        }
    };
}

pub(super) use conformance;
