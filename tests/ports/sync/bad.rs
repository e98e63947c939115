//! What nobody leases.

use std::time::Duration;

use nitro::Kind;
use nitro::host::Host;
use nitro::sync::{Leases, Request, Terms};

pub(super) async fn what_cannot_be_a_name_an_owner_or_a_time_is_refused_with_what_is_right(
    leases: Leases,
    host: Host,
) {
    let long = "x".repeat(64 * 1024);
    let acquire = |name: &str, owner: &str, note: &str, permits, ttl_ms| Request::Acquire {
        name: name.to_owned(),
        owner: owner.to_owned(),
        note: note.to_owned(),
        permits,
        ttl_ms,
        wait_ms: 0,
    };
    let release = |name: &str, owner: &str| Request::Release {
        name: name.to_owned(),
        owner: owner.to_owned(),
    };
    let renew = Request::Renew {
        name: "n".to_owned(),
        owner: "o".to_owned(),
        ttl_ms: 0,
    };
    let observe = Request::Observe {
        name: "\0".to_owned(),
        seen: Vec::new(),
        wait_ms: 0,
    };
    let wrong = [
        (
            acquire("", "o", "", 1, 100),
            "a name of 0 bytes: expected 1 to 255",
        ),
        (acquire(&long, "o", "", 1, 100), "a name of 65536 bytes"),
        (acquire("a\0", "o", "", 1, 100), "has a NUL"),
        (acquire("n", "", "", 1, 100), "a owner of 0 bytes"),
        (
            acquire("n", "o", &long, 1, 100),
            "a note of 65536 bytes: expected 0 to 255",
        ),
        (
            acquire("n", "o", "", 0, 100),
            "0 permits: expected 1 to 1000",
        ),
        (acquire("n", "o", "", u32::MAX, 100), "expected 1 to 1000"),
        (
            acquire("n", "o", "", 1, 0),
            "a lease of 0 ms: expected 10 to 86400000",
        ),
        (
            acquire("n", "o", "", 1, u64::MAX),
            "a lease of 18446744073709551615 ms",
        ),
        (release("", "o"), "a name of 0 bytes"),
        (release("n", &long), "a owner of 65536 bytes"),
        (renew, "a lease of 0 ms"),
        (observe, "has a NUL"),
    ];
    for (request, expected) in wrong {
        let error = leases.ask(request).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        assert!(error.message().contains(expected), "{error}: {expected}");
    }
    let none = Terms {
        ttl: Duration::ZERO,
        ..Terms::default()
    };
    let error = leases.acquire(&host, "n", none).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    let holders = leases.observe("n", &[], Duration::ZERO).await.unwrap();
    assert!(holders.is_empty());
}
