//! Every registry does the same.

mod cases;
mod multicast;

use nitro::mdns::{Interfaces, Mdns, Settings};
use nitro::registry::Registry;
use nitro::{Router, remote};

use super::setting::{self, On, Open, Setting, conformance};

/// The backends that every suite runs on.
#[derive(Clone, Copy, Debug)]
enum Backend {
    Memory,
    Remote,
    Mdns,
}

impl Open for Backend {
    type Port = Registry;

    async fn open(self, setting: &mut Setting) -> Registry {
        let host = setting.host.clone();
        match self {
            Backend::Memory => Registry::memory(&host),
            Backend::Remote => {
                let registry = Registry::memory(&host);
                let router = remote::serve_registry(Router::new(), &registry);
                let rpc = setting.serve(router).await;
                remote::registry(&host, rpc)
            }
            Backend::Mdns => {
                let settings = Settings {
                    port: multicast::port(),
                    interfaces: Interfaces::Loopback,
                };
                let mdns = Mdns::start(&host, settings).unwrap();
                let registry = mdns.registry();
                setting.keep(mdns);
                registry
            }
        }
    }
}

/// The cases, on a backend: where each host has it, or only on this machine.
macro_rules! cases {
    ($name:ident: $backend:expr) => {
        cases! { conformance! $name: $backend }
    };
    ($name:ident, on this machine: $backend:expr) => {
        cases! { on_this_machine! $name: $backend }
    };
    ($where:ident! $name:ident: $backend:expr) => {
        $where! {
            $name: $backend;
            cases::a_node_is_listed_as_it_was_registered
            cases::a_node_goes_when_its_heartbeats_stop
            cases::a_node_that_leaves_is_gone_at_once
            cases::a_watcher_is_told_of_every_change_once_and_in_order
            cases::a_watcher_waits_for_a_change_and_no_longer_than_it_asks
            cases::a_watcher_who_comes_from_elsewhere_is_told_how_it_is
            cases::what_nobody_could_find_or_call_is_refused_with_what_is_right
            cases::who_keeps_a_node_registered_and_who_follows_it_agree
        }
    };
}

/// Each case as a test on this machine alone.
macro_rules! on_this_machine {
    ($name:ident: $backend:expr; $($file:ident::$case:ident)*) => {
        mod $name {
            use super::*;
            $(
                #[test]
                fn $case() {
                    setting::on(On::Machine, $backend, $file::$case);
                }
            )*
        }
    };
}

cases!(memory: Backend::Memory);
cases!(remote_memory: Backend::Remote);
cases!(by_multicast, on this machine: Backend::Mdns);

#[test]
fn where_multicast_is_not_run_is_told_by_name() {
    let why = "it has sockets of its own, which simulated hosts do not carry";
    setting::not_run("by_multicast: on memory and simulated hosts", why);
}
