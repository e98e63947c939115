//! Every broker does the same.

mod bad;
mod cases;
mod groups;
mod model;

use std::future::Future;

use nitro::broker::Broker;
use nitro::host::Host;
use nitro::store::Store;
use nitro::{Router, durable, remote};

use super::setting::{On, Setting, run};

/// The backends that every suite runs on.
#[derive(Clone, Copy, Debug)]
enum Backend {
    Memory,
    StoredInMemory,
    StoredInFile,
    Remote,
}

impl Backend {
    async fn open(self, setting: &mut Setting) -> Broker {
        let host = setting.host.clone();
        match self {
            Backend::Memory => Broker::memory(&host),
            Backend::StoredInMemory => durable::broker(&host, &Store::memory(&host)),
            Backend::StoredInFile => {
                let path = setting.path("store");
                durable::broker(&host, &Store::file(&host, path).await.unwrap())
            }
            Backend::Remote => {
                let broker = Broker::memory(&host);
                let router = remote::serve_broker(Router::new(), &broker);
                let rpc = setting.serve(router).await;
                remote::broker(&setting.host, rpc)
            }
        }
    }
}

fn on<F: Future<Output = ()>>(on: On, backend: Backend, case: impl FnOnce(Broker, Host) -> F) {
    run(on, async move |mut setting: Setting| {
        let broker = backend.open(&mut setting).await;
        case(broker, setting.host.clone()).await;
    });
}

/// One test for each case.
macro_rules! each {
    ($on:ident, $backend:ident, $file:ident: $($case:ident)*) => { $(
        #[test]
        fn $case() {
            on(On::$on, Backend::$backend, $file::$case);
        }
    )* };
}

/// Each case as a test, in a module for each host and backend.
macro_rules! suite {
    ($($module:ident: $on:ident, $backend:ident;)*) => { $(
        mod $module {
            use super::*;
            each!($on, $backend, cases:
                a_message_comes_as_it_was_published
                a_topic_without_subscribers_is_no_error
                patterns_say_which_topics_come
                a_message_that_is_not_acknowledged_comes_again
                a_message_that_failed_comes_again_after_its_delay
                a_message_that_fails_too_often_is_a_dead_letter_with_the_reason
                acknowledging_twice_late_or_for_nothing_is_an_error_each
                a_message_published_twice_comes_once
                messages_of_one_key_come_one_after_another
                a_handler_that_fails_or_panics_does_not_end_the_others
            );
            each!($on, $backend, groups:
                each_group_gets_all_and_each_member_its_share
                who_receives_alone_gets_all
                a_group_keeps_what_comes_while_nobody_is_there
                joining_a_group_on_other_terms_is_refused
                a_full_group_that_refuses_gives_the_publisher_an_error
                a_full_group_that_drops_loses_the_oldest_and_counts_them
                a_full_group_that_blocks_makes_the_publisher_wait
                what_was_published_before_can_be_had_from_a_number_on
                nobody_loses_or_doubles_a_message_among_many
            );
            each!($on, $backend, bad:
                what_cannot_be_published_or_received_is_refused_with_what_is_right
            );
        }
    )* };
}

suite! {
    memory_on_memory_host: Memory, Memory;
    memory_on_this_machine: Machine, Memory;
    stored_in_memory_on_memory_host: Memory, StoredInMemory;
    stored_in_memory_on_this_machine: Machine, StoredInMemory;
    stored_in_file_on_memory_host: Memory, StoredInFile;
    stored_in_file_on_this_machine: Machine, StoredInFile;
    remote_on_memory_host: Memory, Remote;
    remote_on_this_machine: Machine, Remote;
}
