//! Where a node can be reached, as text and as data.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where a node listens. As text: `host:port`, `[::1]:port`, `unix:/path` or `memory:name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A TCP or UDP port of a host, which is a name or an IP address.
    Tcp {
        /// The name or IP address, IPv6 without brackets.
        host: String,
        /// The port; 0 asks the machine to choose one when listening.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
    /// A name within this process: frames are handed over and no bytes are written.
    Memory(String),
}

impl Address {
    /// A TCP address.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        Address::Tcp { host, port }
    }

    /// An address within this process.
    pub fn memory(name: impl Into<String>) -> Self {
        Address::Memory(name.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Memory(name) => write!(f, "memory:{name}"),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid_argument(format!(
                "address {text:?}: expected host:port, [ipv6]:port, unix:/path or memory:name"
            ))
        };
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        if let Some(name) = text.strip_prefix("memory:").filter(|name| !name.is_empty()) {
            return Ok(Address::memory(name));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = match bare {
            Some(inner) => inner,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Address::tcp(host, port))
    }
}

impl TryFrom<String> for Address {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(socket: std::net::SocketAddr) -> Self {
        Address::tcp(socket.ip().to_string(), socket.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_address_agree_both_ways() {
        for text in [
            "db:5432",
            "127.0.0.1:0",
            "[::1]:80",
            "unix:/run/x",
            "memory:a",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_address_says_what_was_expected() {
        for text in ["", "db", ":80", "db:65536", "::1:80", "unix:", "memory:"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.message().contains("expected host:port"), "{text}");
        }
    }
}
