//! Listing in pages while others write.

use nitro::host::Host;
use nitro::store::{Order, Select, Store};

pub(super) async fn a_list_in_pages_has_once_all_that_stays_while_others_come_and_go(
    store: Store,
    _: Host,
) {
    let table = store.table("shop", "orders");
    let key = |n: usize| format!("stays-{n:03}");
    for n in 0..30 {
        table.write(key(n), "x").await.unwrap();
    }
    for order in [Order::Ascending, Order::Descending] {
        let mut select = Select {
            limit: 4,
            order,
            ..Select::default()
        };
        let mut seen = Vec::new();
        for page in 0.. {
            let listed = table.list(select.clone()).await.unwrap();
            select.after = listed.records.last().map(|record| record.key.clone());
            let stays = listed.records.iter().map(|record| &*record.key);
            let stays = stays.filter(|key: &&str| key.starts_with("stays"));
            seen.extend(stays.map(str::to_owned));
            if !listed.more {
                break;
            }
            // Before, within and behind what has been listed; the last listed is written anew.
            for other in ["a", "stayz", &format!("stays-{page:03}-too")] {
                match page % 2 {
                    0 => drop(table.write(other, "y").await.unwrap()),
                    _ => drop(table.delete(other).await.unwrap()),
                }
            }
            let last = seen.last().unwrap();
            table.write(&**last, "z").await.unwrap();
        }
        let plain = |key: &&String| key.len() == "stays-000".len();
        let mut stayed: Vec<&String> = seen.iter().filter(plain).collect();
        if order == Order::Descending {
            stayed.reverse();
        }
        let expected: Vec<String> = (0..30).map(key).collect();
        assert_eq!(stayed, expected.iter().collect::<Vec<_>>());
    }
}
