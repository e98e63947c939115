//! Two processes that find each other, with nothing to install and nothing to configure: in one
//! terminal `hello serve`, in another `hello call NAME`.

#![expect(clippy::print_stdout, reason = "it talks to a person")]

use std::env;

use nitro::codec::Json;
use nitro::host::tokio::shutdown_signal;
use nitro::rpc::Call;
use nitro::{App, Error, Fabric, Method, Router};

const HELLO: Method<String, String> = Method::unary("hello/hello").idempotent();

async fn hello(_call: Call, name: String) -> nitro::Result<String> {
    println!("{name} called");
    Ok(format!("hello, {name}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> nitro::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let fabric = Fabric::local_network()?;
    match &arguments[..] {
        [verb] if verb == "serve" => {
            let router = Router::new().unary(&HELLO, Json, hello);
            let app = App::new(&fabric, "hello").router(router).start().await?;
            println!("serving at {}, until Ctrl-C", app.node().address);
            shutdown_signal().await?;
            app.stop().await
        }
        [verb, name] if verb == "call" => {
            let answer = fabric
                .client("hello", Json)
                .call(&HELLO, name.clone())
                .await?;
            println!("{answer}");
            Ok(())
        }
        _ => Err(Error::invalid_argument(
            "expected: hello serve, or hello call NAME",
        )),
    }
}
