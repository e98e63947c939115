//! Where a suite runs: a host, and whatever must live as long as the port does.

use std::any::Any;
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
}

/// A place to run a suite.
pub(crate) struct Setting {
    pub(crate) host: Host,
    on: On,
    kept: Vec<Box<dyn Any>>,
}

impl Setting {
    pub(crate) fn new(on: On) -> Self {
        let host = match on {
            On::Memory => Machine::new().host("here"),
            On::Machine => nitro::host::tokio::host(),
        };
        let kept = Vec::new();
        Self { host, on, kept }
    }

    /// A path where no file is yet.
    pub(crate) fn path(&mut self, name: &str) -> PathBuf {
        match self.on {
            On::Memory => PathBuf::from("/data").join(name),
            On::Machine => {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join(name);
                self.keep(directory);
                path
            }
        }
    }

    /// Keeps something for as long as the setting.
    pub(crate) fn keep(&mut self, what: impl Any) {
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

/// Runs a test where it is to run.
pub(crate) fn run(on: On, test: impl AsyncFnOnce(Setting)) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(on == On::Memory);
    let runtime = runtime.build().unwrap();
    runtime.block_on(async { test(Setting::new(on)).await });
}
