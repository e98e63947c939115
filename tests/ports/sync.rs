//! All who lease do the same.

mod bad;
mod cases;
mod guards;
mod model;

use std::future::Future;

use nitro::host::Host;
use nitro::store::Store;
use nitro::sync::Leases;
use nitro::{Router, durable, remote};

use super::setting::{On, Setting, run};

/// The backends that every suite runs on.
#[derive(Clone, Copy, Debug)]
enum Backend {
    Memory,
    StoredInMemory,
    StoredInFile,
    Remote,
    RemoteStored,
}

impl Backend {
    async fn open(self, setting: &mut Setting) -> Leases {
        let host = setting.host.clone();
        match self {
            Backend::Memory => Leases::memory(&host),
            Backend::StoredInMemory => durable::leases(&host, &Store::memory(&host)),
            Backend::StoredInFile => {
                let path = setting.path("store");
                durable::leases(&host, &Store::file(&host, path).await.unwrap())
            }
            Backend::Remote => reach(setting, &Leases::memory(&host)).await,
            Backend::RemoteStored => {
                let leases = durable::leases(&host, &Store::memory(&host));
                reach(setting, &leases).await
            }
        }
    }
}

async fn reach(setting: &mut Setting, leases: &Leases) -> Leases {
    let router = remote::serve_leases(Router::new(), leases);
    let rpc = setting.serve(router).await;
    remote::leases(&setting.host, rpc)
}

fn on<F: Future<Output = ()>>(on: On, backend: Backend, case: impl FnOnce(Leases, Host) -> F) {
    run(on, async move |mut setting: Setting| {
        let leases = backend.open(&mut setting).await;
        case(leases, setting.host.clone()).await;
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
                a_lock_has_one_holder_at_a_time_and_its_tokens_rise
                a_lease_that_is_not_renewed_ends_after_its_time_and_not_before
                the_same_owner_asking_again_has_the_same_lease
                only_the_holder_releases_and_only_once
                who_waits_is_granted_a_lease_when_it_is_released
                a_semaphore_has_as_many_holders_as_permits
                names_of_which_one_begins_another_are_apart
                an_observer_is_told_when_the_holders_change
            );
            each!($on, $backend, guards:
                a_guard_keeps_its_lease_for_longer_than_its_time
                a_guard_that_is_dropped_lets_its_lease_end
                a_lease_that_others_hold_is_waited_for_no_longer_than_asked
                leaders_follow_each_other_and_observers_see_it
                no_two_hold_a_lock_at_once_and_tokens_rise_among_many
                a_guard_whose_lease_went_to_another_is_told
            );
            each!($on, $backend, bad:
                what_cannot_be_a_name_an_owner_or_a_time_is_refused_with_what_is_right
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
    remote_stored_on_memory_host: Memory, RemoteStored;
    remote_stored_on_this_machine: Machine, RemoteStored;
}
