//! Streams of events: kept in a store, told through a broker.
//!
//! An event is first written, in the order of its stream, then published under the topic
//! `events.<stream>` with an id of its own. What a crash left written and not published is
//! published with the next event, or by [`Events::relay`]; published twice it is one message.

use bytes::Bytes;

use crate::broker::{Broker, Message};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::store::{Action, Condition, Record, Select, Store, Table};

/// How often an event is tried to be written that others of its stream were ahead of.
const TRIES_MAX: usize = 64;

/// Streams of events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    host: Host,
    broker: Broker,
    table: Table,
}

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number in the stream, from 1.
    pub number: u64,
    /// What happened.
    pub data: Bytes,
}

impl Events {
    /// The streams that are in a store.
    pub fn new(host: &Host, store: &Store, broker: &Broker) -> Self {
        Self {
            host: host.clone(),
            broker: broker.clone(),
            table: store.table("nitro", "events"),
        }
    }

    /// The topic of a stream.
    pub fn topic(stream: &str) -> String {
        format!("events.{stream}")
    }

    /// Writes an event and publishes it; answers its number. An error after which it stands
    /// written is that of publishing: it will be published with the next.
    ///
    /// # Errors
    ///
    /// As the store's commit and the broker's publish.
    pub async fn append(&self, stream: &str, data: impl Into<Bytes>) -> Result<u64> {
        let data = data.into();
        let mut tries = 1;
        loop {
            let number = self.last(stream).await? + 1;
            let absent = Condition::IfAbsent;
            let written = self
                .table
                .write_if(key(stream, number), data.clone(), absent);
            match written.await {
                Err(error) if error.kind() == Kind::AlreadyExists && tries < TRIES_MAX => {
                    tries += 1
                }
                Err(error) => return Err(error),
                Ok(_) => {
                    self.relay(stream).await?;
                    return Ok(number);
                }
            }
        }
    }

    /// The events after a number, as many as one answer holds.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    pub async fn read(&self, stream: &str, after: u64) -> Result<Vec<Event>> {
        let select = Select {
            after: Some(key(stream, after)),
            ..Select::prefix(prefix(stream))
        };
        let listed = self.table.list(select).await?;
        Ok(listed.records.iter().map(event).collect())
    }

    /// Publishes what is written and not published.
    ///
    /// # Errors
    ///
    /// As the broker's publish.
    pub async fn relay(&self, stream: &str) -> Result<()> {
        let marker = format!("told/{stream}");
        loop {
            let found = self.table.read(&*marker).await?;
            let told = found.as_ref().map_or(0, |record| number(&record.value));
            let Some(next) = self.read(stream, told).await?.into_iter().next() else {
                return Ok(());
            };
            let mut message = Message::new(&self.host, Self::topic(stream), next.data).key(stream);
            message.id = format!("{stream}/{}", next.number);
            self.broker.publish_all(vec![message]).await?;
            let condition = found.map_or(Condition::IfAbsent, |record| {
                Condition::IfVersion(record.version)
            });
            let action = Action::put(next.number.to_string());
            let write = self.table.prepare(&*marker, condition, action);
            match self.table.commit(vec![write], None).await {
                // Another has told it as well; the broker knows that it is one message.
                Err(error) if matches!(error.kind(), Kind::Aborted | Kind::AlreadyExists) => {}
                moved => drop(moved?),
            }
        }
    }

    async fn last(&self, stream: &str) -> Result<u64> {
        let last = Select {
            limit: 1,
            order: crate::store::Order::Descending,
            ..Select::prefix(prefix(stream))
        };
        let listed = self.table.list(last).await?;
        let Some(record) = listed.records.first() else {
            return match stream.is_empty() || stream.contains(['.', '/', '*', '>']) {
                true => Err(Error::invalid_argument(format!(
                    "events: the stream {stream:?}: expected one word without '.', '/', '*' and '>'"
                ))),
                false => Ok(0),
            };
        };
        Ok(event(record).number)
    }
}

fn prefix(stream: &str) -> String {
    format!("of/{stream}/")
}

fn key(stream: &str, number: u64) -> String {
    format!("{}{number:020}", prefix(stream))
}

fn event(record: &Record) -> Event {
    let digits = record.key.rsplit('/').next().unwrap_or_default();
    Event {
        number: number(digits.as_bytes()),
        data: record.value.clone(),
    }
}

fn number(digits: &[u8]) -> u64 {
    let text = std::str::from_utf8(digits).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
