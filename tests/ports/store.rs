//! Every store does the same.

mod bad;
mod cases;
mod crash;
mod file;
mod kill;
mod model;
mod recorded;

use std::future::Future;

use nitro::host::Host;
use nitro::store::Store;
use nitro::{Router, remote};

use super::setting::{On, Setting, run};

/// The backends that every suite runs on.
#[derive(Clone, Copy, Debug)]
enum Backend {
    Memory,
    File,
    RemoteMemory,
    RemoteFile,
}

impl Backend {
    async fn open(self, setting: &mut Setting) -> Store {
        match self {
            Backend::Memory => Store::memory(&setting.host),
            Backend::File => {
                let path = setting.path("store");
                Store::file(&setting.host, path).await.unwrap()
            }
            Backend::RemoteMemory => {
                let store = Store::memory(&setting.host);
                reach(setting, &store).await
            }
            Backend::RemoteFile => {
                let path = setting.path("store");
                let store = Store::file(&setting.host, path).await.unwrap();
                reach(setting, &store).await
            }
        }
    }
}

async fn reach(setting: &mut Setting, store: &Store) -> Store {
    let rpc = setting
        .serve(remote::serve_store(Router::new(), store))
        .await;
    remote::store(&setting.host, rpc)
}

fn on<F: Future<Output = ()>>(on: On, backend: Backend, case: impl FnOnce(Store, Host) -> F) {
    run(on, async move |mut setting: Setting| {
        let store = backend.open(&mut setting).await;
        case(store, setting.host.clone()).await;
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
                a_record_is_read_back_as_it_was_written
                what_is_not_there_is_neither_read_nor_deleted
                a_write_on_a_condition_is_made_only_if_it_holds
                a_commit_is_made_whole_or_not_at_all
                tables_are_apart_even_when_names_run_into_each_other
                lists_are_cut_by_prefix_suffix_limit_offset_and_order
                no_sign_in_a_key_has_a_meaning
                a_list_stops_before_it_is_too_long_and_goes_on_after_its_last_key
                a_record_goes_when_its_time_has_passed
                a_record_whose_time_has_passed_counts_as_absent
                a_watcher_is_told_of_every_change_once_and_in_order
                a_watcher_waits_for_a_change_and_no_longer_than_it_asks
                a_watcher_who_has_missed_too_much_must_list_again
                a_fence_that_was_overtaken_is_refused
                writers_who_check_versions_lose_no_update
            );
            each!($on, $backend, bad:
                what_cannot_be_a_key_a_name_or_a_value_is_refused_with_what_is_right
                the_largest_of_everything_is_taken
            );
        }
    )* };
}

suite! {
    memory_on_memory_host: Memory, Memory;
    memory_on_this_machine: Machine, Memory;
    file_on_memory_host: Memory, File;
    file_on_this_machine: Machine, File;
    remote_memory_on_memory_host: Memory, RemoteMemory;
    remote_memory_on_this_machine: Machine, RemoteMemory;
    remote_file_on_memory_host: Memory, RemoteFile;
    remote_file_on_this_machine: Machine, RemoteFile;
}
