//! Streams in order with a latency, without faults.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use nitro::address::Address;
use nitro::host::{Datagram, Listener, Network, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::draw::Draw;

pub(super) struct Core {
    pub(super) draw: Draw,
    pub(super) latency_us: [u64; 2],
    pub(super) now: u64,
    pub(super) serial: u64,
    pub(super) due: BTreeMap<(u64, u64), (usize, What)>,
    pub(super) pipes: Vec<Pipe>,
    pub(super) listeners: BTreeMap<(usize, u16), Waiting>,
    pub(super) answers: BTreeMap<u64, Answer>,
    pub(super) next_port: u16,
}

pub(super) enum What {
    Bytes(usize, Bytes),
    End(usize),
    Open {
        from: usize,
        port: u16,
        call: u64,
    },
    Answer {
        call: u64,
        pipes: Option<[usize; 2]>,
    },
}

#[derive(Default)]
pub(super) struct Pipe {
    last: u64,
    arrived: VecDeque<Bytes>,
    is_ended: bool,
    reader: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Waiting {
    streams: VecDeque<([usize; 2], usize)>,
    waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Answer {
    answer: Option<Option<[usize; 2]>>,
    waker: Option<Waker>,
}

impl Core {
    fn send(&mut self, not_before: u64, to: usize, what: What) -> u64 {
        let [least, most] = self.latency_us;
        let latency = self.draw.whole(least, most) * 1000;
        let at = (self.now + latency).max(not_before);
        self.serial += 1;
        self.due.insert((at, self.serial), (to, what));
        at
    }

    pub(super) fn deliver(&mut self, node: usize, now: u64) -> Vec<Waker> {
        let due = self.due.range(..=(now, u64::MAX));
        let mine = due.filter(|(_, (to, _))| *to == node);
        let keys: Vec<(u64, u64)> = mine.map(|(key, _)| *key).collect();
        let mut wakers = Vec::new();
        for key in keys {
            let (_, what) = self.due.remove(&key).expect("it was there");
            wakers.extend(self.happen(node, what));
        }
        wakers
    }

    fn happen(&mut self, node: usize, what: What) -> Option<Waker> {
        match what {
            What::Bytes(pipe, bytes) => {
                self.pipes[pipe].arrived.push_back(bytes);
                self.pipes[pipe].reader.take()
            }
            What::End(pipe) => {
                self.pipes[pipe].is_ended = true;
                self.pipes[pipe].reader.take()
            }
            What::Open { from, port, call } => {
                let number = self.pipes.len();
                let pair = [number, number + 1];
                let waiting = self.listeners.get_mut(&(node, port));
                let is_open = waiting.is_some();
                let waker = waiting.and_then(|waiting| {
                    waiting.streams.push_back(([pair[1], pair[0]], from));
                    waiting.waker.take()
                });
                if is_open {
                    self.pipes.extend([Pipe::default(), Pipe::default()]);
                }
                let pipes = is_open.then_some(pair);
                let at = self.send(0, from, What::Answer { call, pipes });
                if is_open {
                    self.pipes[pair[0]].last = at;
                }
                waker
            }
            What::Answer { call, pipes } => {
                let answer = self.answers.get_mut(&call)?;
                answer.answer = Some(pipes);
                answer.waker.take()
            }
        }
    }

    pub(super) fn clear(&mut self, node: usize) {
        self.listeners.retain(|(owner, _), _| *owner != node);
    }
}

pub(super) struct Sockets {
    pub(super) node: usize,
    pub(super) core: Arc<Mutex<Core>>,
    pub(super) nodes: Arc<[(Arc<str>, IpAddr)]>,
}

struct Calling {
    core: Arc<Mutex<Core>>,
    call: u64,
}

impl Drop for Calling {
    fn drop(&mut self) {
        let mut core = self.core.lock().expect("not poisoned");
        core.answers.remove(&self.call);
    }
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what.to_owned())
}

impl Network for Sockets {
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let Address::Tcp { host, port } = to else {
                return Err(unsupported("only tcp"));
            };
            let ip: IpAddr = host.parse().map_err(|_| unsupported("a name"))?;
            let to = self.nodes.iter().position(|(_, address)| *address == ip);
            let to = to.unwrap_or(self.node);
            let call = {
                let mut core = self.core.lock().expect("not poisoned");
                core.serial += 1;
                let call = core.serial;
                core.answers.insert(call, Answer::default());
                let (from, port) = (self.node, *port);
                core.send(0, to, What::Open { from, port, call });
                call
            };
            let calling = Calling {
                core: Arc::clone(&self.core),
                call,
            };
            let answer = std::future::poll_fn(|context| {
                let mut core = calling.core.lock().expect("not poisoned");
                let answer = core.answers.get_mut(&calling.call).expect("until dropped");
                match answer.answer {
                    Some(pipes) => Poll::Ready(pipes),
                    None => {
                        answer.waker = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            });
            let [write, read] = answer.await.ok_or(io::ErrorKind::ConnectionRefused)?;
            let core = Arc::clone(&self.core);
            Ok(Box::new(End::new(core, read, write, to)) as Box<dyn Stream>)
        })
    }

    fn listen<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let Address::Tcp { port, .. } = at else {
                return Err(unsupported("only tcp"));
            };
            let mut core = self.core.lock().expect("not poisoned");
            let port = match *port {
                0 => {
                    core.next_port += 1;
                    core.next_port
                }
                port => port,
            };
            if core.listeners.contains_key(&(self.node, port)) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            core.listeners.insert((self.node, port), Waiting::default());
            Ok(Box::new(Listening {
                node: self.node,
                port,
                core: Arc::clone(&self.core),
                nodes: Arc::clone(&self.nodes),
            }) as Box<dyn Listener>)
        })
    }

    fn datagram(&self, _at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Datagram>>> {
        Box::pin(async move { Err(unsupported("no datagrams yet")) })
    }

    fn lookup<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Err(io::ErrorKind::NotFound.into()) })
    }
}

struct Listening {
    node: usize,
    port: u16,
    core: Arc<Mutex<Core>>,
    nodes: Arc<[(Arc<str>, IpAddr)]>,
}

impl Listener for Listening {
    fn address(&self) -> Address {
        Address::tcp(self.nodes[self.node].1.to_string(), self.port)
    }

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn Stream>, Address)>> {
        let mut core = self.core.lock().expect("not poisoned");
        let Some(waiting) = core.listeners.get_mut(&(self.node, self.port)) else {
            return Poll::Pending;
        };
        let Some(([write, read], from)) = waiting.streams.pop_front() else {
            waiting.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let end = End::new(Arc::clone(&self.core), read, write, from);
        let address = Address::tcp(self.nodes[from].1.to_string(), 50_000);
        Poll::Ready(Ok((Box::new(end), address)))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut core = self.core.lock().expect("not poisoned");
        core.listeners.remove(&(self.node, self.port));
    }
}

struct End {
    core: Arc<Mutex<Core>>,
    read: usize,
    write: usize,
    peer: usize,
    is_closed: bool,
}

impl End {
    fn new(core: Arc<Mutex<Core>>, read: usize, write: usize, peer: usize) -> Self {
        Self {
            core,
            read,
            write,
            peer,
            is_closed: false,
        }
    }

    fn close(&mut self) {
        if !std::mem::replace(&mut self.is_closed, true) {
            let mut core = self.core.lock().expect("not poisoned");
            let last = core.pipes[self.write].last;
            let at = core.send(last, self.peer, What::End(self.write));
            core.pipes[self.write].last = at;
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut core = self.core.lock().expect("not poisoned");
        let pipe = &mut core.pipes[self.read];
        match pipe.arrived.front_mut() {
            Some(bytes) => {
                let count = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..count]);
                bytes.advance(count);
                if bytes.is_empty() {
                    pipe.arrived.pop_front();
                }
                Poll::Ready(Ok(()))
            }
            None if pipe.is_ended => Poll::Ready(Ok(())),
            None => {
                pipe.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut core = self.core.lock().expect("not poisoned");
        let last = core.pipes[self.write].last;
        let what = What::Bytes(self.write, Bytes::copy_from_slice(bytes));
        let at = core.send(last, self.peer, what);
        core.pipes[self.write].last = at;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.close();
    }
}
