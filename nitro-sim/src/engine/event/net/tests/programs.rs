//! Socket programs that know nothing of where they run.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join};
use nitro::address::Address;
use nitro::host::{Clock, Datagram, Listener, Network, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where a program runs, and what it has seen.
pub(super) struct Place {
    pub(super) server: Arc<dyn Network>,
    pub(super) client: Arc<dyn Network>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) name: String,
    pub(super) seen: Vec<String>,
}

pub(super) type Program = for<'a> fn(&'a mut Place) -> BoxFuture<'a, ()>;

/// Long enough for anything on its way to arrive.
const SETTLE: Duration = Duration::from_millis(30);

impl Place {
    fn see<T: Debug>(&mut self, what: &str, result: io::Result<T>) {
        self.seen.push(match result {
            Ok(value) => format!("{what} {value:?}"),
            Err(error) => format!("{what} {:?}", error.kind()),
        });
    }

    async fn settle(&self) {
        self.clock.sleep(SETTLE).await;
    }

    fn at(&self, port: u16) -> Address {
        Address::tcp(self.name.clone(), port)
    }

    async fn listen(&self) -> (Box<dyn Listener>, Address) {
        let listener = self.server.listen(&self.at(0)).await.unwrap();
        let at = listener.address();
        (listener, at)
    }

    /// The client's end, then the server's.
    async fn pair(&self) -> (Box<dyn Stream>, Box<dyn Stream>) {
        let (mut listener, at) = self.listen().await;
        let (near, far) = join(self.client.connect(&at), listener.accept()).await;
        (near.unwrap(), far.unwrap().0)
    }

    async fn read(&mut self, who: &str, stream: &mut Box<dyn Stream>) {
        let mut buffer = [0; 64];
        let read = self.clock.timeout(SETTLE * 10, stream.read(&mut buffer));
        match read.await {
            Ok(read) => {
                let text = read.map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned());
                self.see(&format!("{who} reads"), text);
            }
            Err(_) => self.seen.push(format!("{who} waits")),
        }
    }

    async fn write(&mut self, who: &str, stream: &mut Box<dyn Stream>, bytes: &[u8]) {
        let written = stream.write(bytes).await;
        self.see(&format!("{who} writes"), written);
        self.settle().await;
    }

    async fn datagrams(&self) -> (Box<dyn Datagram>, Box<dyn Datagram>) {
        let at = |port| SocketAddr::new(self.name.parse().unwrap(), port);
        let server = self.server.datagram(at(0)).await.unwrap();
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        (self.client.datagram(any).await.unwrap(), server)
    }

    async fn receive(&mut self, socket: &dyn Datagram, room: usize) {
        let mut buffer = vec![0; room];
        let received = self.clock.timeout(SETTLE * 3, socket.receive(&mut buffer));
        match received.await {
            Ok(received) => self.see("receives", received.map(|(count, _)| count)),
            Err(_) => self.seen.push("waits".to_owned()),
        }
    }
}

macro_rules! programs {
    ($($name:literal => |$place:ident| $body:block)*) => {
        /// The programs by name.
        pub(super) const PROGRAMS: &[(&str, Program)] =
            &[$(($name, |$place| Box::pin(async move { $body }))),*];
    };
}

programs! {
    "connect to nobody" => |p| {
        let (listener, at) = p.listen().await;
        drop(listener);
        let opened = p.client.connect(&at).await;
        p.see("connect", opened.map(drop));
    }
    "accepted later" => |p| {
        let (mut listener, at) = p.listen().await;
        let mut all = Vec::new();
        for n in 0..50_u8 {
            let mut stream = p.client.connect(&at).await.unwrap();
            stream.write_all(&[n]).await.unwrap();
            all.push(stream);
        }
        let mut sum = 0;
        for _ in 0..50 {
            let (mut stream, _) = listener.accept().await.unwrap();
            sum += u32::from(stream.read_u8().await.unwrap());
        }
        p.see("sum", Ok(sum));
    }
    "backlog" => |p| {
        let (mut listener, at) = p.listen().await;
        let mut all = Vec::new();
        let clock = Arc::clone(&p.clock);
        while let Ok(opened) = clock.timeout(SETTLE * 5, p.client.connect(&at)).await {
            all.push(opened.unwrap());
        }
        p.see("opened", Ok(all.len()));
        let room = async {
            p.settle().await;
            listener.accept().await
        };
        let (opened, accepted) = join(p.client.connect(&at), room).await;
        p.see("accepts", accepted.map(drop));
        p.see("connect", opened.map(drop));
    }
    "listener dropped with streams waiting" => |p| {
        let (listener, at) = p.listen().await;
        let mut near = p.client.connect(&at).await.unwrap();
        p.settle().await;
        drop(listener);
        p.read("client", &mut near).await;
        p.read("client", &mut near).await;
        p.write("client", &mut near, b"x").await;
    }
    "listen on a used port" => |p| {
        let (_listener, at) = p.listen().await;
        let again = p.server.listen(&at).await;
        p.see("listen", again.map(drop));
    }
    "listen again after drop" => |p| {
        let (mut listener, at) = p.listen().await;
        let near = p.client.connect(&at).await.unwrap();
        let far = listener.accept().await.unwrap();
        drop(listener);
        let again = p.server.listen(&at).await;
        p.see("listen", again.map(drop));
        drop((near, far));
    }
    "listen on an address of nobody here" => |p| {
        let listened = p.server.listen(&Address::tcp("203.0.113.9", 0)).await;
        p.see("listen", listened.map(drop));
    }
    "connect that nobody waits for" => |p| {
        let (mut listener, at) = p.listen().await;
        drop(p.client.connect(&at).await.unwrap());
        p.settle().await;
        let (mut far, _) = listener.accept().await.unwrap();
        p.read("server", &mut far).await;
    }
    "closed with nothing unread" => |p| {
        let (mut near, mut far) = p.pair().await;
        far.write_all(b"last words").await.unwrap();
        drop(far);
        p.settle().await;
        p.read("client", &mut near).await;
        p.read("client", &mut near).await;
        p.read("client", &mut near).await;
    }
    "written after the peer closed" => |p| {
        let (mut near, far) = p.pair().await;
        drop(far);
        p.settle().await;
        p.read("client", &mut near).await;
        p.write("client", &mut near, b"one").await;
        p.write("client", &mut near, b"two").await;
        p.write("client", &mut near, b"three").await;
        p.read("client", &mut near).await;
    }
    "written after the peer closed, end not read" => |p| {
        let (mut near, far) = p.pair().await;
        drop(far);
        p.settle().await;
        p.write("client", &mut near, b"one").await;
        p.read("client", &mut near).await;
        p.write("client", &mut near, b"two").await;
    }
    "closed with bytes unread, then read" => |p| {
        let (mut near, far) = p.pair().await;
        p.write("client", &mut near, b"never read").await;
        drop(far);
        p.settle().await;
        p.read("client", &mut near).await;
        p.read("client", &mut near).await;
        p.write("client", &mut near, b"x").await;
    }
    "closed with bytes unread, then written" => |p| {
        let (mut near, far) = p.pair().await;
        p.write("client", &mut near, b"never read").await;
        drop(far);
        p.settle().await;
        p.write("client", &mut near, b"x").await;
        p.write("client", &mut near, b"y").await;
        p.read("client", &mut near).await;
    }
    "closed with bytes unread after an answer" => |p| {
        let (mut near, mut far) = p.pair().await;
        p.write("client", &mut near, b"never read").await;
        p.write("server", &mut far, b"answer").await;
        drop(far);
        p.settle().await;
        p.read("client", &mut near).await;
        p.read("client", &mut near).await;
        p.read("client", &mut near).await;
    }
    "closed by the client with bytes unread" => |p| {
        let (near, mut far) = p.pair().await;
        p.write("server", &mut far, b"never read").await;
        drop(near);
        p.settle().await;
        p.read("server", &mut far).await;
        p.read("server", &mut far).await;
    }
    "shut down after a reset" => |p| {
        let (mut near, far) = p.pair().await;
        p.write("client", &mut near, b"never read").await;
        drop(far);
        p.settle().await;
        let shut = near.shutdown().await;
        p.see("client shuts", shut);
        p.read("client", &mut near).await;
    }
    "half-close by the client" => |p| {
        let (mut near, mut far) = p.pair().await;
        p.write("client", &mut near, b"question").await;
        let shut = near.shutdown().await;
        p.see("client shuts", shut);
        p.read("server", &mut far).await;
        p.read("server", &mut far).await;
        p.write("server", &mut far, b"answer").await;
        p.read("client", &mut near).await;
        drop(far);
        p.read("client", &mut near).await;
    }
    "half-close by the server" => |p| {
        let (mut near, mut far) = p.pair().await;
        let shut = far.shutdown().await;
        p.see("server shuts", shut);
        p.read("client", &mut near).await;
        p.write("client", &mut near, b"more").await;
        p.read("server", &mut far).await;
        drop(near);
        p.read("server", &mut far).await;
    }
    "written after shutting down" => |p| {
        let (mut near, mut far) = p.pair().await;
        near.shutdown().await.unwrap();
        p.write("client", &mut near, b"x").await;
        let shut = near.shutdown().await;
        p.see("client shuts", shut);
        far.write_all(b"still heard").await.unwrap();
        p.read("client", &mut near).await;
    }
    "closed both ways" => |p| {
        let (mut near, mut far) = p.pair().await;
        near.shutdown().await.unwrap();
        far.shutdown().await.unwrap();
        p.settle().await;
        p.read("client", &mut near).await;
        p.read("server", &mut far).await;
        p.write("client", &mut near, b"x").await;
        p.read("client", &mut near).await;
    }
    "nothing written" => |p| {
        let (mut near, mut far) = p.pair().await;
        p.write("client", &mut near, b"").await;
        p.read("server", &mut far).await;
        near.shutdown().await.unwrap();
        p.write("client", &mut near, b"").await;
        p.read("server", &mut far).await;
    }
    "nothing read" => |p| {
        let (mut near, mut far) = p.pair().await;
        p.write("client", &mut near, b"x").await;
        let read = far.read(&mut []).await;
        p.see("server reads", read);
        p.read("server", &mut far).await;
    }
    "large transfer with a slow reader" => |p| {
        let (mut near, mut far) = p.pair().await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 251) as u8).collect();
        let send = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await
        };
        let receive = async {
            let (mut all, mut buffer) = (Vec::new(), vec![0; 150_000]);
            loop {
                p.clock.sleep(Duration::from_millis(1)).await;
                match far.read(&mut buffer).await.unwrap() {
                    0 => return all,
                    count => all.extend_from_slice(&buffer[..count]),
                }
            }
        };
        let (shut, all) = join(send, receive).await;
        p.see("client shuts", shut);
        p.see("bytes", Ok(all.len()));
        p.see("all are equal", Ok(all == sent));
    }
    "large transfers both ways at once" => |p| {
        let (near, far) = p.pair().await;
        let pump = |stream: Box<dyn Stream>| async move {
            let (mut read, mut write) = tokio::io::split(stream);
            let bytes = vec![1; 1_000_000];
            let send = async {
                write.write_all(&bytes).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let mut all = Vec::new();
            join(send, read.read_to_end(&mut all)).await.1.unwrap()
        };
        let counts = join(pump(near), pump(far)).await;
        p.see("bytes", Ok(counts));
    }
    "writer without a reader" => |p| {
        let (mut near, mut far) = p.pair().await;
        let clock = Arc::clone(&p.clock);
        let fill = vec![1; 256 * 1024];
        let mut sent = 0;
        while let Ok(count) = clock.timeout(SETTLE * 5, near.write(&fill)).await {
            sent += count.unwrap();
        }
        p.see("waits in the end", Ok(sent > 0));
        let mut read = vec![0; sent];
        far.read_exact(&mut read).await.unwrap();
        let written = clock.timeout(SETTLE * 5, near.write(b"x")).await;
        p.see("then writes", Ok(written.is_ok()));
    }
    "closed under a waiting writer" => |p| {
        let (mut near, far) = p.pair().await;
        let close = async {
            p.settle().await;
            drop(far);
        };
        let fill = vec![1; 64 << 20];
        let (written, ()) = join(near.write_all(&fill), close).await;
        p.see("client writes", written);
        p.write("client", &mut near, b"x").await;
    }
    "datagram to nobody" => |p| {
        let (client, server) = p.datagrams().await;
        let to = server.address();
        drop(server);
        let sent = client.send(b"hello", to).await;
        p.see("sends", sent);
        p.receive(&*client, 64).await;
        let sent = client.send(b"hello", to).await;
        p.see("sends", sent);
    }
    "datagrams keep their bounds" => |p| {
        let (client, server) = p.datagrams().await;
        for length in [3, 0, 2000] {
            client.send(&vec![1; length], server.address()).await.unwrap();
        }
        for _ in 0..4 {
            p.receive(&*server, 4096).await;
        }
    }
    "datagram answered" => |p| {
        let (client, server) = p.datagrams().await;
        client.send(b"hello", server.address()).await.unwrap();
        let mut buffer = [0; 16];
        let (_, from) = server.receive(&mut buffer).await.unwrap();
        p.see("from the client", Ok(from.port() == client.address().port()));
        let sent = server.send(b"hi", from).await;
        p.see("sends", sent);
        p.receive(&*client, 16).await;
    }
    "datagram cut" => |p| {
        let (client, server) = p.datagrams().await;
        client.send(b"longer than the buffer", server.address()).await.unwrap();
        p.receive(&*server, 6).await;
        p.receive(&*server, 64).await;
    }
    "datagram as long as may be" => |p| {
        let (client, server) = p.datagrams().await;
        let sent = client.send(&vec![1; 65_507], server.address()).await;
        p.see("sends", sent);
        p.receive(&*server, 70_000).await;
        let sent = client.send(&vec![1; 65_508], server.address()).await;
        p.see("sends", sent);
        p.receive(&*server, 70_000).await;
    }
    "datagrams on a used port" => |p| {
        let (_client, server) = p.datagrams().await;
        let again = p.server.datagram(server.address()).await;
        p.see("bind", again.map(drop));
        let (listener, at) = p.listen().await;
        let Address::Tcp { port, .. } = at else { unreachable!("it listens on TCP") };
        let other = SocketAddr::new(server.address().ip(), port);
        let beside = p.server.datagram(other).await;
        p.see("bind beside a listener", beside.map(drop));
        drop(listener);
    }
    "groups" => |p| {
        let (client, _server) = p.datagrams().await;
        let no_group = client.join([10, 0, 0, 1].into());
        p.see("join no group", no_group);
        let never_joined = client.leave([239, 1, 2, 3].into());
        p.see("leave", never_joined);
    }
}
