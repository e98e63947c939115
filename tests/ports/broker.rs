//! Every broker does the same.

mod bad;
mod cases;
mod groups;
mod model;
pub(crate) mod steps;

use std::sync::Arc;
use std::time::Duration;

use nitro::broker::{Broker, Request};
use nitro::host::Host;
use nitro::http::{HttpBroker, Settings};
use nitro::port::Call;
use nitro::registry::Registry;
use nitro::store::Store;
use nitro::{Address, Router, durable, remote};

use super::setting::{self, On, Open, Setting, conformance};

/// The backends that every suite runs on.
#[derive(Clone, Copy, Debug)]
enum Backend {
    Memory,
    StoredInMemory,
    StoredInFile,
    Remote,
    Http,
    HttpFromFile,
}

impl Open for Backend {
    type Port = Broker;

    async fn open(self, setting: &mut Setting) -> Broker {
        let host = setting.host.clone();
        match self {
            Backend::Memory => Broker::memory(&host),
            Backend::StoredInMemory => durable::broker(&host, &Store::memory(&host)),
            Backend::StoredInFile => {
                let path = setting.path("store");
                durable::broker(&host, &Store::file(&host, path).await.unwrap())
            }
            Backend::Remote => {
                let broker = Broker::memory(&host);
                let router = remote::serve_broker(Router::new(), &broker);
                let rpc = setting.serve(router).await;
                remote::broker(&setting.host, rpc)
            }
            Backend::Http => {
                let outbox = Broker::memory(&host);
                over_http(setting, outbox).await
            }
            Backend::HttpFromFile => {
                let path = setting.path("store");
                let store = Store::file(&host, path).await.unwrap();
                over_http(setting, durable::broker(&host, &store)).await
            }
        }
    }
}

/// Two nodes of a broker over HTTP, of which one publishes and the other receives.
///
/// What that broker says it does not promise is waited for: that the publisher knows of a
/// subscription, and what became of a message, at once.
async fn over_http(setting: &mut Setting, outbox: Broker) -> Broker {
    let host = setting.host.clone();
    let registry = Registry::memory(&host);
    let publisher = node(&host, &registry, &outbox).await;
    let receiver = node(&host, &registry, &Broker::memory(&host)).await;
    setting.keep((Arc::clone(&publisher), Arc::clone(&receiver)));
    let clock = host.clock.clone();
    Broker::new(tower::service_fn(move |call: Call<Request>| {
        let (publisher, receiver) = (Arc::clone(&publisher), Arc::clone(&receiver));
        let clock = Arc::clone(&clock);
        async move {
            let request = call.request;
            if let Request::Publish { .. } = request {
                return publisher.broker().ask(request).await;
            }
            let answered = receiver.broker().ask(request.clone()).await;
            match request {
                Request::Subscribe { subscription, .. } if answered.is_ok() => {
                    publisher.knows(&subscription).await;
                }
                Request::Settle { .. } => clock.sleep(A_MOMENT).await,
                _ => {}
            }
            answered
        }
    }))
}

async fn node(host: &Host, registry: &Registry, outbox: &Broker) -> Arc<HttpBroker> {
    let settings = Settings::at(Address::tcp("127.0.0.1", 0));
    let started = HttpBroker::start(host, registry, outbox, settings).await;
    Arc::new(started.unwrap())
}

/// How long an answer is on its way between the two, at the most.
const A_MOMENT: Duration = Duration::from_millis(10);

/// What a broker over HTTP does not promise, and why.
const ABSENT_OVER_HTTP: [(&str, &str); 1] = [(
    "a_full_group_that_drops_loses_the_oldest_and_counts_them",
    "two messages may be on their way to a member that does not ask: the case after it is run instead",
)];

#[test]
fn what_a_broker_over_http_does_not_promise_is_told_by_name() {
    for (case, why) in ABSENT_OVER_HTTP {
        setting::not_run(&format!("http: {case}"), why);
    }
}

/// The cases that all brokers have in common, and some more, on a backend.
macro_rules! cases {
    ($name:ident: $backend:expr; $($more:ident)*) => {
        conformance! {
            $name: $backend;
            cases::a_message_comes_as_it_was_published
            cases::a_topic_without_subscribers_is_no_error
            cases::patterns_say_which_topics_come
            cases::a_message_that_is_not_acknowledged_comes_again
            cases::a_message_that_failed_comes_again_after_its_delay
            cases::a_message_that_is_given_back_comes_again_and_counts_for_nothing
            cases::a_message_that_fails_too_often_is_a_dead_letter_with_the_reason
            cases::acknowledging_twice_late_or_for_nothing_is_an_error_each
            cases::a_message_published_twice_comes_once
            cases::messages_of_one_key_come_one_after_another
            cases::a_handler_that_fails_or_panics_does_not_end_the_others
            groups::each_group_gets_all_and_each_member_its_share
            groups::who_receives_alone_gets_all
            groups::a_group_keeps_what_comes_while_nobody_is_there
            groups::joining_a_group_on_other_terms_is_refused
            groups::a_full_group_that_refuses_gives_the_publisher_an_error
            groups::a_full_group_that_blocks_makes_the_publisher_wait
            groups::what_was_published_before_can_be_had_from_a_number_on
            groups::nobody_loses_or_doubles_a_message_among_many
            bad::what_cannot_be_published_or_received_is_refused_with_what_is_right
            $( groups::$more )*
        }
    };
}

cases!(memory: Backend::Memory; a_full_group_that_drops_loses_the_oldest_and_counts_them);
cases!(stored_in_memory: Backend::StoredInMemory; a_full_group_that_drops_loses_the_oldest_and_counts_them);
cases!(stored_in_file: Backend::StoredInFile; a_full_group_that_drops_loses_the_oldest_and_counts_them);
cases!(remote_memory: Backend::Remote; a_full_group_that_drops_loses_the_oldest_and_counts_them);
cases!(http: Backend::Http; a_full_group_that_drops_keeps_the_latest_and_counts_what_it_loses);
cases!(http_from_file: Backend::HttpFromFile; a_full_group_that_drops_keeps_the_latest_and_counts_what_it_loses);

/// It takes minutes, so it is done where time passes at once.
#[test]
fn who_receives_alone_stays_for_as_long_as_it_asks_and_what_waits_for_it_does_too() {
    let backends = [
        Backend::Memory,
        Backend::StoredInMemory,
        Backend::StoredInFile,
        Backend::Remote,
    ];
    for backend in backends {
        setting::on(On::Memory, backend, groups::who_receives_alone_stays);
    }
}
