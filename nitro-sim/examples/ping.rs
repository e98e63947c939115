//! A system of one's own: the whole command line over it, and a test in one line.

use std::process::ExitCode;

use nitro::codec::Json;
use nitro::{Address, App, Fabric, Method, Router};
use nitro_sim::{Node, System};

const PING: Method<u64, u64> = Method::unary("ping/ping").idempotent();

fn system() -> System {
    let server = |node: Node| async move {
        let router = Router::new().unary(&PING, Json, |_, number: u64| async move { Ok(number) });
        let app = App::new(&Fabric::new(node.host()), "ping").router(router);
        let app = app.listen(Address::tcp(node.name(), 7000));
        app.run_until(node.stop_requested()).await
    };
    let client = |node: Node| async move {
        let ping = Fabric::new(node.host()).client_builder("ping");
        let ping = ping.address(Json, Address::tcp("server-1", 7000));
        node.workload(move |operation| {
            let ping = ping.clone().timeout(operation.timeout);
            async move { Ok(ping.call(&PING, operation.value).await?.into()) }
        })
        .await
    };
    let system = System::new("ping").operation("ping");
    system.role("server", server).role("client", client)
}

fn main() -> ExitCode {
    nitro_sim::main(|| vec![system()])
}

#[test]
fn ping_survives_a_partition() {
    nitro_sim::assert_passes_seeds("nitro-sim/examples/ping.toml", 20, || vec![system()]);
}
