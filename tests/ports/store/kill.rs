//! A process that writes to a store is killed at random moments: nothing it said it had written
//! is lost.
//!
//! The process is this test binary, started again with a path in its environment.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nitro::host::entropy::Sequence;
use nitro::store::{Condition, Select, Store};

use super::{On, Setting, run};

const PATH: &str = "NITRO_TEST_STORE";
const KILLS: u64 = 200;

/// Writes numbers, and says which are written, until it is killed. Without a path in the
/// environment it is no process of its own, and has nothing to do.
#[test]
fn the_process_that_is_killed() {
    let Ok(path) = std::env::var(PATH) else {
        return;
    };
    run(On::Machine, async |setting: Setting| {
        let store = Store::file(&setting.host, path).await.unwrap();
        let table = store.table("d", "t");
        let mut n = next(&table.list(Select::default()).await.unwrap().records);
        say("open", n);
        loop {
            let value = vec![(n % 251) as u8; (n as usize * 131) % 9_000];
            let write = |key| {
                let action = nitro::store::Action::put(value.clone());
                table.prepare(key, Condition::Always, action)
            };
            let writes = vec![write(format!("n/{}", n % 40)), write("last".to_owned())];
            let mut writes = writes;
            writes.push(table.prepare(
                "number",
                Condition::Always,
                nitro::store::Action::put(n.to_string()),
            ));
            table.commit(writes, None).await.unwrap();
            say("written", n);
            n += 1;
        }
    });
}

fn next(records: &[nitro::store::Record]) -> u64 {
    let number = records.iter().find(|record| record.key == "number");
    number.map_or(1, |record| number_of(&record.value) + 1)
}

fn number_of(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Past the test harness, which would keep it.
fn say(what: &str, n: u64) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {n}").unwrap();
    out.flush().unwrap();
}

fn start(path: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "store::kill::the_process_that_is_killed",
            "--exact",
            "--nocapture",
        ])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command.spawn().unwrap()
}

#[test]
fn a_store_whose_process_is_killed_at_any_moment_has_all_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let draw = Sequence::from_seed(3);
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = start(&path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = child.id();
        // Every other time it may be while it starts, however long that takes on this machine.
        if kill % 2 == 1 {
            let mut opened = lines.by_ref().map_while(Result::ok);
            assert!(opened.any(|line| line.starts_with("open ")), "it opens");
        }
        let after = Duration::from_micros(draw.below(60_000) as u64);
        run(On::Machine, async |setting: Setting| {
            setting.host.clock.sleep(after).await;
        });
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            let line = line.unwrap();
            if let Some(n) = line.strip_prefix("written ") {
                acknowledged = n.parse().unwrap();
            }
        }
        run(On::Machine, async |setting: Setting| {
            let store = Store::file(&setting.host, &path).await.unwrap();
            let table = store.table("d", "t");
            let number = table.read("number").await.unwrap();
            let found = number.map_or(0, |record| number_of(&record.value));
            assert!(
                found == acknowledged || found == acknowledged + 1,
                "kill {kill} of process {pid}: {found} found, {acknowledged} acknowledged"
            );
            acknowledged = found;
            if found > 0 {
                let last = table.read("last").await.unwrap().unwrap();
                let key = format!("n/{}", found % 40);
                let same = table.read(key).await.unwrap().unwrap();
                assert_eq!(last.value, same.value);
                assert_eq!(last.version, same.version);
            }
        });
    }
    assert!(
        acknowledged > KILLS / 2,
        "only {acknowledged} writes in all"
    );
}
