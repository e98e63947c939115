//! Where a suite runs: a host, and whatever must live as long as the port does.

pub(crate) mod simulated;

use std::any::Any;
use std::future::Future;
use std::path::PathBuf;

use nitro::client::balance::Target;
use nitro::host::memory::Machine;
use nitro::rpc::Rpc;
use nitro::server::stack::{ServerSettings, stack};
use nitro::transport::{Exchange, Transport};
use nitro::{Address, Host, Router, Server, remote};

/// The hosts that every suite runs on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum On {
    /// A host in memory, whose time passes at once when nothing else can happen.
    Memory,
    /// This machine: its sockets, its disk, its clock.
    Machine,
    /// A node of a simulated cluster.
    Simulated,
}

/// A place to run a suite.
pub(crate) struct Setting {
    pub(crate) host: Host,
    on: On,
    kept: Vec<Box<dyn Any + Send>>,
}

impl Setting {
    pub(crate) fn new(on: On) -> Self {
        let host = match on {
            On::Memory => Machine::new().host("here"),
            On::Machine => nitro::host::tokio::host(),
            On::Simulated => unreachable!("a node has a host: see Setting::of"),
        };
        Self::of(&host, on)
    }

    /// A place on a host that is there already.
    pub(crate) fn of(host: &Host, on: On) -> Self {
        Self {
            host: host.clone(),
            on,
            kept: Vec::new(),
        }
    }

    /// A path where no file is yet.
    pub(crate) fn path(&mut self, name: &str) -> PathBuf {
        match self.on {
            On::Memory | On::Simulated => PathBuf::from("/data").join(name),
            On::Machine => {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join(name);
                self.keep(directory);
                path
            }
        }
    }

    /// Keeps something for as long as the setting.
    pub(crate) fn keep(&mut self, what: impl Any + Send) {
        self.kept.push(Box::new(what));
    }

    /// Serves methods over a socket; answers how to reach them.
    pub(crate) async fn serve(&mut self, router: Router) -> Rpc {
        let host = &self.host;
        let transport = Transport::new(host.network.clone(), Exchange::new());
        let service = stack(host, &ServerSettings::default(), router);
        let server = Server::new(host, &transport, service);
        let serving = server.listen(&Address::tcp("127.0.0.1", 0)).await.unwrap();
        let target = Target::at(serving.address().clone());
        self.keep(serving);
        let builder = nitro::client::Builder::new(&self.host, &transport, "port");
        builder.timeout(remote::TIMEOUT_MAX).rpc(&[target]).0
    }
}

/// A backend that suites run on.
pub(crate) trait Open: Copy + Send + Sync + 'static {
    /// What the suite uses.
    type Port: Send;

    /// Makes it in a setting.
    fn open(self, setting: &mut Setting) -> impl Future<Output = Self::Port> + Send;
}

/// Runs a case on a backend where it is to run.
pub(crate) fn on<B: Open, F: Future<Output = ()>>(
    on: On,
    backend: B,
    case: impl FnOnce(B::Port, Host) -> F,
) {
    run(on, async move |mut setting: Setting| {
        let port = backend.open(&mut setting).await;
        case(port, setting.host.clone()).await;
    });
}

/// Each case of a suite as a test on the memory host and on this machine, and all of them in a run
/// of each engine of the simulator.
macro_rules! conformance {
    ($name:ident: $backend:expr; $($file:ident::$case:ident)*) => {
        mod $name {
            use super::*;

            mod on_memory_host {
                use super::*;
                $(
                    #[test]
                    fn $case() {
                        setting::on(setting::On::Memory, $backend, $file::$case);
                    }
                )*
            }

            mod on_this_machine {
                use super::*;
                $(
                    #[test]
                    fn $case() {
                        setting::on(setting::On::Machine, $backend, $file::$case);
                    }
                )*
            }

            mod on_simulated_hosts {
                use super::*;
                use crate::setting::simulated::{case, passes, suite};

                fn systems() -> Vec<nitro_sim::System> {
                    let suite = suite();
                    $( let suite = case(suite, stringify!($case), $backend, $file::$case); )*
                    vec![suite]
                }

                #[test]
                fn of_the_event_engine() {
                    passes("event", systems);
                }

                #[test]
                fn of_turmoil() {
                    passes("turmoil", systems);
                }
            }
        }
    };
}
pub(crate) use conformance;

/// Names in the output what is not run, and why.
#[expect(clippy::print_stdout, reason = "it is for whoever reads the output")]
pub(crate) fn not_run(what: &str, why: &str) {
    println!("not run: {what}: {why}");
}

/// Runs a test where it is to run.
pub(crate) fn run(on: On, test: impl AsyncFnOnce(Setting)) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(on == On::Memory);
    let runtime = runtime.build().unwrap();
    runtime.block_on(async { test(Setting::new(on)).await });
}
