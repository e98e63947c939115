//! tarpc, bincode over TCP; it has no streams.

use futures_util::StreamExt;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport};

use crate::work::{Order, Peer};

#[tarpc::service]
trait Echo {
    async fn echo(order: Order) -> Order;
}

#[derive(Clone)]
struct Echoing;

impl Echo for Echoing {
    async fn echo(self, _: context::Context, order: Order) -> Order {
        order
    }
}

#[derive(Clone)]
pub(crate) struct Tarpc(EchoClient);

#[expect(
    clippy::disallowed_methods,
    reason = "tarpc leaves the spawning of its handlers to its user"
)]
async fn serve(mut incoming: impl StreamExt<Item = Accepted> + Unpin) {
    while let Some(Ok(transport)) = incoming.next().await {
        let answering = BaseChannel::with_defaults(transport)
            .execute(Echoing.serve())
            .for_each(|answer| async {
                tokio::spawn(answer);
            });
        tokio::spawn(answering);
    }
}

type Accepted = std::io::Result<
    serde_transport::Transport<
        tokio::net::TcpStream,
        tarpc::ClientMessage<EchoRequest>,
        tarpc::Response<EchoResponse>,
        Bincode<tarpc::ClientMessage<EchoRequest>, tarpc::Response<EchoResponse>>,
    >,
>;

impl Peer for Tarpc {
    const NAME: &'static str = "tarpc";
    const STREAMS: bool = false;

    #[expect(clippy::disallowed_methods, reason = "tarpc is not on nitro's host")]
    async fn start() -> Self {
        let listening = serde_transport::tcp::listen("127.0.0.1:0", Bincode::default);
        let listening = listening.await.unwrap();
        let address = listening.local_addr();
        tokio::spawn(serve(Box::pin(listening)));
        let transport = serde_transport::tcp::connect(address, Bincode::default);
        let transport = transport.await.unwrap();
        Self(EchoClient::new(client::Config::default(), transport).spawn())
    }

    async fn unary(&self, order: Order) -> Order {
        self.0.echo(context::current(), order).await.unwrap()
    }
}
