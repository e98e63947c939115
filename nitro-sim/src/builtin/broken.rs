//! Systems with one bug each, and the same without it: they show that the checks bite, and how
//! soon a seed is found that shows it (`cargo bench --bench time_to_find`).
//!
//! Each is built on nitro as a user would, in a file of its own, with a scenario of its name under
//! `scenarios/broken/`. The scenario's parameter `broken` says which of the two runs; nothing else
//! is different, and the checks do not know. Each bug is one that has been made in earnest.
//!
//! | system | the bug | found by |
//! |---|---|---|
//! | `cache_filled_late` | a cache takes in what was read before the last write | linearizable |
//! | `calls_retried_in_a_storm` | clients try again at once and without end | converged |
//! | `chief_by_wall_clock` | a lease ends by the clock of whoever looks | fenced |
//! | `connections_kept` | who has failed is put aside with its connection | leaked |
//! | `counter_add_retried` | a call that must not be made twice is said to be idempotent | linearizable |
//! | `counter_update_lost` | what was read is written back on no condition | linearizable |
//! | `directory_cached` | a node that has left for good is asked for ever | converged |
//! | `duty_write_skew` | two write what they have, each on condition of the other's | linearizable |
//! | `gate_wakeup_lost` | who waits asks to be woken after having looked | `max_failed` |
//! | `jobs_acked_before_handling` | a message is acknowledged, then handled | delivered |
//! | `jobs_taken_twice` | two members of a group take one job | delivered once |
//! | `leader_deposed_reads` | an overtaken leader answers reads from memory | linearizable |
//! | `payment_key_forgotten` | what is done already is not remembered over a restart | linearizable |
//! | `permits_not_returned` | a permit is lost when its caller gives up | converged |
//! | `quorum_of_one` | a write is acknowledged before most replicas have it | linearizable |
//! | `quorum_reads_once` | what is read from a quorum is not written back | linearizable |
//! | `quota_applied_twice` | a configuration is applied again after a lost connection | agreed |
//! | `registration_forgotten` | heartbeats go on to a registry that has forgotten the node | converged |
//! | `replica_applies_as_it_comes` | changes are applied in the order they arrive | agreed |
//! | `replica_read_behind` | reads go to any replica, however far behind | monotonic reads |
//! | `snapshot_loses_tail` | a snapshot cuts the log by more than it has | linearizable |
//! | `stream_deadline_on_head` | a time limit ends where the stream begins | answered |
//! | `subscriptions_left` | who waits in vain for news leaves its subscription behind | leaked |
//! | `swap_timeout_is_no` | no answer in time is told as "it was not done" | linearizable |
//! | `tickets_reused` | numbers are given out again after a restart | unique |
//! | `transfer_in_two_commits` | a batch is two commits, and a crash comes between | linearizable |
//! | `transfer_not_resumed` | what had begun before a crash is not finished | agreed |
//! | `view_misses_changes` | what happens between a list and a watch is missed | agreed |
//! | `votes_forgotten` | a voter votes again after a restart | one leader per term |
//! | `wire_reused_after_half_close` | a connection is kept though its server has ended its side | converged |
//! | `wire_reused_after_timeout` | a connection is used again with an answer on its way | linearizable |
//!
//! Six more are variants of systems that stand beside this module: `feed_acks_before_sync`,
//! `leader_unfenced`, `ledger_acks_before_sync`, `locks_unfenced`, `locks_wall_clock_lease` and
//! `queue_acks_before_sync`.

mod cache_filled_late;
mod calls_retried_in_a_storm;
mod chief_by_wall_clock;
mod connections_kept;
mod counter_add_retried;
mod counter_update_lost;
mod directory_cached;
mod duty_write_skew;
mod gate_wakeup_lost;
mod jobs_acked_before_handling;
mod jobs_taken_twice;
mod leader_deposed_reads;
mod payment_key_forgotten;
mod permits_not_returned;
mod quorum;
mod quota_applied_twice;
mod registration_forgotten;
mod replica_applies_as_it_comes;
mod replica_read_behind;
mod service;
mod snapshot_loses_tail;
mod stream_deadline_on_head;
mod subscriptions_left;
mod swap_timeout_is_no;
mod tickets_reused;
mod transfer_in_two_commits;
mod transfer_not_resumed;
mod view_misses_changes;
mod votes_forgotten;
mod wire_reused_after_half_close;
mod wire_reused_after_timeout;

use crate::plan::{Parameter, Plan};
use crate::system::System;

/// Variants that are systems of their own, each with the one it is a variant of.
const VARIANTS: [(&str, &str); 6] = [
    ("feed_acks_before_sync", "feed"),
    ("leader_unfenced", "leader"),
    ("ledger_acks_before_sync", "ledger"),
    ("locks_unfenced", "locks"),
    ("locks_wall_clock_lease", "locks"),
    ("queue_acks_before_sync", "queue"),
];

/// The same plan for the same system without its bug; none for a system that has none.
pub fn mended(plan: &Plan) -> Option<Plan> {
    let mut plan = plan.clone();
    let variant = VARIANTS.iter().find(|(broken, _)| *broken == plan.system);
    if let Some((_, right)) = variant {
        plan.system = (*right).to_owned();
        return Some(plan);
    }
    let broken = plan.parameters.get_mut("broken")?;
    *broken = Parameter::Boolean(false);
    Some(plan)
}

/// All of them.
pub fn systems() -> Vec<System> {
    vec![
        cache_filled_late::system(),
        calls_retried_in_a_storm::system(),
        chief_by_wall_clock::system(),
        connections_kept::system(),
        counter_add_retried::system(),
        counter_update_lost::system(),
        directory_cached::system(),
        duty_write_skew::system(),
        gate_wakeup_lost::system(),
        jobs_acked_before_handling::system(),
        jobs_taken_twice::system(),
        leader_deposed_reads::system(),
        payment_key_forgotten::system(),
        permits_not_returned::system(),
        quorum::of_one(),
        quorum::reads_once(),
        quota_applied_twice::system(),
        registration_forgotten::system(),
        replica_applies_as_it_comes::system(),
        replica_read_behind::system(),
        snapshot_loses_tail::system(),
        stream_deadline_on_head::system(),
        subscriptions_left::system(),
        swap_timeout_is_no::system(),
        tickets_reused::system(),
        transfer_in_two_commits::system(),
        transfer_not_resumed::system(),
        view_misses_changes::system(),
        votes_forgotten::system(),
        wire_reused_after_half_close::system(),
        wire_reused_after_timeout::system(),
    ]
}
