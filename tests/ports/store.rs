//! Every store does the same.

mod bad;
mod cases;
mod crash;
mod file;
mod kill;
mod model;
mod pages;
mod recorded;

use nitro::cache::{Settings, cached};
use nitro::store::Store;
use nitro::{Router, remote};

use super::setting::{self, On, Open, Setting, conformance, run};

/// The backends that every suite runs on.
#[derive(Clone, Copy, Debug)]
enum Backend {
    Memory,
    File,
    RemoteMemory,
    RemoteFile,
    Cached,
}

impl Open for Backend {
    type Port = Store;

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
            Backend::Cached => {
                let store = Store::memory(&setting.host);
                cached(&setting.host, &store, Settings::default())
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

/// The cases, on a backend.
macro_rules! cases {
    ($name:ident: $backend:expr) => {
        conformance! {
            $name: $backend;
            cases::a_record_is_read_back_as_it_was_written
            cases::what_is_not_there_is_neither_read_nor_deleted
            cases::a_write_on_a_condition_is_made_only_if_it_holds
            cases::a_commit_is_made_whole_or_not_at_all
            cases::tables_are_apart_even_when_names_run_into_each_other
            cases::lists_are_cut_by_prefix_suffix_limit_offset_and_order
            cases::no_sign_in_a_key_has_a_meaning
            cases::a_list_stops_before_it_is_too_long_and_goes_on_after_its_last_key
            pages::a_list_in_pages_has_once_all_that_stays_while_others_come_and_go
            cases::a_record_goes_when_its_time_has_passed
            cases::a_record_whose_time_has_passed_counts_as_absent
            cases::a_watcher_is_told_of_every_change_once_and_in_order
            cases::a_watcher_waits_for_a_change_and_no_longer_than_it_asks
            cases::a_watcher_who_has_missed_too_much_must_list_again
            cases::a_fence_that_was_overtaken_is_refused
            cases::writers_who_check_versions_lose_no_update
            bad::what_cannot_be_a_key_a_name_or_a_value_is_refused_with_what_is_right
            bad::the_largest_of_everything_is_taken
        }
    };
}

cases!(memory: Backend::Memory);
cases!(in_file: Backend::File);
cases!(remote_memory: Backend::RemoteMemory);
cases!(remote_file: Backend::RemoteFile);
cases!(behind_a_cache: Backend::Cached);
