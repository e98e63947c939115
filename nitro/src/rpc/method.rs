//! Methods as constants that both sides share, typed by what goes in and what comes out.

use std::marker::PhantomData;

/// One message in, one out.
#[derive(Clone, Copy, Debug)]
pub struct Unary;
/// One message in, a stream out.
#[derive(Clone, Copy, Debug)]
pub struct ServerStreaming;
/// A stream in, one message out.
#[derive(Clone, Copy, Debug)]
pub struct ClientStreaming;
/// A stream in, a stream out.
#[derive(Clone, Copy, Debug)]
pub struct Bidirectional;

/// A method: its path, its messages and its kind.
///
/// ```
/// use nitro::rpc::Method;
///
/// pub const HELLO: Method<String, String> = Method::unary("greeter/hello").idempotent();
/// # assert_eq!(HELLO.path(), "greeter/hello");
/// ```
pub struct Method<In, Out, Kind = Unary> {
    path: &'static str,
    is_idempotent: bool,
    types: PhantomData<fn(In, Kind) -> Out>,
}

impl<In, Out, Kind> Method<In, Out, Kind> {
    const fn new(path: &'static str) -> Self {
        let is_idempotent = false;
        let types = PhantomData;
        Self {
            path,
            is_idempotent,
            types,
        }
    }

    /// The same method, declared safe to repeat: doing it twice is the same as doing it once.
    pub const fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// The path, as `service/method`.
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// Whether it is declared safe to repeat.
    pub const fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }
}

impl<In, Out> Method<In, Out, Unary> {
    /// A method with one message each way.
    pub const fn unary(path: &'static str) -> Self {
        Self::new(path)
    }
}

impl<In, Out> Method<In, Out, ServerStreaming> {
    /// A method that answers one message with a stream.
    pub const fn server_streaming(path: &'static str) -> Self {
        Self::new(path)
    }
}

impl<In, Out> Method<In, Out, ClientStreaming> {
    /// A method that answers a stream with one message.
    pub const fn client_streaming(path: &'static str) -> Self {
        Self::new(path)
    }
}

impl<In, Out> Method<In, Out, Bidirectional> {
    /// A method with a stream each way.
    pub const fn bidirectional(path: &'static str) -> Self {
        Self::new(path)
    }
}

impl<In, Out, Kind> std::fmt::Debug for Method<In, Out, Kind> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Method").field(&self.path).finish()
    }
}
