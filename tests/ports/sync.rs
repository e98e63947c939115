//! All who lease do the same.

mod bad;
mod cases;
mod guards;
mod model;
mod told;

use nitro::store::Store;
use nitro::sync::Leases;
use nitro::{Router, durable, remote};

use super::setting::{self, On, Open, Setting, conformance};

/// The backends that every suite runs on.
#[derive(Clone, Copy, Debug)]
enum Backend {
    Memory,
    StoredInMemory,
    StoredInFile,
    Remote,
    RemoteStored,
}

impl Open for Backend {
    type Port = Leases;

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

/// The cases, on a backend.
macro_rules! cases {
    ($name:ident: $backend:expr) => {
        conformance! {
            $name: $backend;
            cases::a_lock_has_one_holder_at_a_time_and_its_tokens_rise
            cases::a_lease_that_is_not_renewed_ends_after_its_time_and_not_before
            cases::the_same_owner_asking_again_has_the_same_lease
            cases::only_the_holder_releases_and_only_once
            cases::who_waits_is_granted_a_lease_when_it_is_released
            cases::a_semaphore_has_as_many_holders_as_permits
            cases::names_of_which_one_begins_another_are_apart
            cases::an_observer_is_told_when_the_holders_change
            guards::a_guard_keeps_its_lease_for_longer_than_its_time
            guards::a_guard_that_is_dropped_lets_its_lease_end
            guards::a_lease_that_others_hold_is_waited_for_no_longer_than_asked
            guards::leaders_follow_each_other_and_observers_see_it
            guards::no_two_hold_a_lock_at_once_and_tokens_rise_among_many
            guards::a_guard_whose_lease_went_to_another_is_told
            bad::what_cannot_be_a_name_an_owner_or_a_time_is_refused_with_what_is_right
        }
    };
}

cases!(memory: Backend::Memory);
cases!(stored_in_memory: Backend::StoredInMemory);
cases!(stored_in_file: Backend::StoredInFile);
cases!(remote_memory: Backend::Remote);
cases!(remote_stored: Backend::RemoteStored);
