//! The limit: length-prefixed protobuf on one connection, written in batches, and nothing else.
//! Calls are answered in order; no multiplexing, no deadline, no error, no bound.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use nitro::host;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::work::{Blob, Count, Order, Peer, Spent, blob, order};

/// What the first byte of a connection's life asks for.
const ECHO: u8 = 0;
const ORDERS: u8 = 1;
const BLOBS: u8 = 2;

const WRITE_BYTES: usize = 64 * 1024;

struct Pipe {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    buffer: BytesMut,
    out: BytesMut,
}

impl Pipe {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        let (buffer, out) = (BytesMut::with_capacity(2 * WRITE_BYTES), BytesMut::new());
        Self {
            read,
            write,
            buffer,
            out,
        }
    }

    fn put(&mut self, message: &impl Message) {
        self.out.put_u32(message.encoded_len() as u32);
        message.encode(&mut self.out).unwrap();
    }

    async fn flush(&mut self) {
        self.write.write_all(&self.out).await.unwrap();
        self.out.clear();
    }

    /// A whole message that is there already.
    fn take(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(*self.buffer.first_chunk::<4>()?) as usize;
        if self.buffer.len() < 4 + length {
            return None;
        }
        self.buffer.advance(4);
        Some(self.buffer.split_to(length).freeze())
    }

    /// The same for a message that shares nothing, without the cost of sharing.
    fn take_small<M: Message + Default>(&mut self) -> Option<M> {
        let length = u32::from_be_bytes(*self.buffer.first_chunk::<4>()?) as usize;
        let message = M::decode(self.buffer.get(4..4 + length)?).unwrap();
        self.buffer.advance(4 + length);
        Some(message)
    }

    /// Whether there was more to read.
    async fn fill(&mut self) -> bool {
        self.buffer.reserve(2 * WRITE_BYTES);
        self.read
            .read_buf(&mut self.buffer)
            .await
            .is_ok_and(|count| count > 0)
    }
}

async fn echo(mut pipe: Pipe) {
    while pipe.fill().await {
        while let Some(order) = pipe.take_small::<Order>() {
            pipe.put(&order);
        }
        pipe.flush().await;
    }
}

async fn stream(mut pipe: Pipe, message: impl Message) {
    loop {
        let Some(wanted) = pipe.take_small::<Count>() else {
            if !pipe.fill().await {
                return;
            }
            continue;
        };
        for _ in 0..wanted.count {
            pipe.put(&message);
            if pipe.out.len() >= WRITE_BYTES {
                pipe.flush().await;
            }
        }
        pipe.flush().await;
    }
}

#[derive(Clone)]
pub(crate) struct Raw {
    echo: std::sync::Arc<Mutex<Pipe>>,
    orders: std::sync::Arc<Mutex<Pipe>>,
    blobs: std::sync::Arc<Mutex<Pipe>>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is nothing between this and tokio"
)]
impl Peer for Raw {
    const NAME: &'static str = "raw";

    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                match stream.read_u8().await.unwrap() {
                    ECHO => tokio::spawn(echo(Pipe::new(stream))),
                    ORDERS => tokio::spawn(self::stream(Pipe::new(stream), order())),
                    _ => tokio::spawn(self::stream(Pipe::new(stream), blob())),
                };
            }
        });
        let open = |kind: u8| async move {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_u8(kind).await.unwrap();
            std::sync::Arc::new(Mutex::new(Pipe::new(stream)))
        };
        Self {
            echo: open(ECHO).await,
            orders: open(ORDERS).await,
            blobs: open(BLOBS).await,
        }
    }

    async fn unary(&self, order: Order) -> Order {
        let mut pipe = self.echo.lock().await;
        pipe.put(&order);
        pipe.flush().await;
        loop {
            if let Some(order) = pipe.take_small() {
                return order;
            }
            pipe.fill().await;
        }
    }

    async fn calls(&self, calls: usize, at_once: usize, spent: &mut Spent) {
        let clock = host::tokio::host().clock;
        let is_timed = spent.capacity() > 0;
        let mut pipe = self.echo.lock().await;
        let order = order();
        let mut begun = VecDeque::with_capacity(at_once);
        let (mut sent, mut came) = (0, 0);
        while came < calls {
            while sent < calls && sent - came < at_once {
                pipe.put(&order);
                sent += 1;
                if is_timed {
                    begun.push_back(clock.now());
                }
            }
            pipe.flush().await;
            pipe.fill().await;
            while let Some(answer) = pipe.take_small::<Order>() {
                std::hint::black_box(answer);
                came += 1;
                if let Some(begun) = begun.pop_front() {
                    spent.push(clock.now().since(begun).as_nanos() as u32);
                }
            }
        }
    }

    async fn orders(&self, count: u64) -> u64 {
        let mut pipe = self.orders.lock().await;
        pipe.put(&Count { count });
        pipe.flush().await;
        for _ in 0..count {
            while pipe.take_small::<Order>().is_none() {
                pipe.fill().await;
            }
        }
        count
    }

    async fn blobs(&self, count: u64) -> u64 {
        let mut pipe = self.blobs.lock().await;
        pipe.put(&Count { count });
        pipe.flush().await;
        for _ in 0..count {
            loop {
                if let Some(bytes) = pipe.take() {
                    Blob::decode(bytes).unwrap();
                    break;
                }
                pipe.fill().await;
            }
        }
        count
    }

    async fn echoes(&self, count: u64) -> u64 {
        // Written ahead by as much as both ways hold without stopping each other.
        self.calls(count as usize, 256, &mut Spent::new()).await;
        count
    }
}
