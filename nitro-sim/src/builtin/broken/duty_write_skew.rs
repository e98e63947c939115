//! Two who each make sure of the other, and both leave: each writes only what is its own, on
//! condition that nobody has written that.

use nitro::error::{Kind, Result};
use nitro::store::{Action, Condition, Record, Select, Table};
use serde_json::{Value, json};

use super::service::{is_broken, work};
use crate::builtin::keeper::{self, KEEPER};
use crate::check::model::{Called, Done, Heard, Model};
use crate::system::{Node, Operation, System};

const NAMES: [&str; 2] = ["alice", "bob"];

pub(super) fn system() -> System {
    System::new("duty_write_skew")
        .role(KEEPER, keeper::keep)
        .role("client", ask)
        .operation("leave")
        .operation("come")
        .linearizable_as(Duty, read)
}

#[derive(Clone)]
struct Doctor {
    node: Node,
    table: Table,
    is_broken: bool,
}

async fn ask(node: Node) -> Result<()> {
    let doctor = Doctor {
        table: keeper::reach(&node).store.table("ward", "duty"),
        is_broken: is_broken(&node)?,
        node: node.clone(),
    };
    work(&node, doctor, make).await
}

async fn make(doctor: Doctor, operation: Operation) -> Result<Value> {
    let me = doctor.node.index() % NAMES.len();
    doctor.node.asks(operation.id, json!({ "who": me }));
    if operation.name == "come" {
        doctor.table.write(NAMES[me], "on").await?;
        return Ok(json!(true));
    }
    loop {
        let all = doctor.table.list(Select::default()).await?.records;
        let [own, other] = [me, 1 - me].map(|who| all.iter().find(|row| row.key == NAMES[who]));
        if other.is_some_and(|row| &*row.value == b"off") {
            return Ok(json!(false));
        }
        let leaving = doctor
            .table
            .prepare(NAMES[me], unchanged(own), Action::put("off"));
        let mut writes = vec![leaving];
        // The bug: without this, nothing says that the other is still there.
        if !doctor.is_broken {
            let staying = doctor
                .table
                .prepare(NAMES[1 - me], unchanged(other), Action::Check);
            writes.push(staying);
        }
        match doctor.table.commit(writes, None).await {
            Ok(_) => return Ok(json!(true)),
            Err(error) if matches!(error.kind(), Kind::Aborted | Kind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
}

fn unchanged(found: Option<&Record>) -> Condition {
    found.map_or(Condition::IfAbsent, |record| {
        Condition::IfVersion(record.version)
    })
}

/// Who is on duty, both at first. One may leave while the other stays.
struct Duty;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    Leave(usize),
    Come(usize),
}

impl Model for Duty {
    type State = [bool; 2];
    type Input = Turn;
    /// Whether it was done.
    type Output = bool;

    fn initial(&self) -> [bool; 2] {
        [true; 2]
    }

    fn step(&self, on: &[bool; 2], turn: &Turn, told: Option<&bool>) -> Option<[bool; 2]> {
        let (who, can, stays) = match *turn {
            Turn::Leave(who) => (who, on[1 - who], false),
            Turn::Come(who) => (who, true, true),
        };
        let mut after = *on;
        if can {
            after[who] = stays;
        }
        told.is_none_or(|told| *told == can).then_some(after)
    }

    fn is_pure(&self, _: &Turn, told: Option<&bool>) -> bool {
        told == Some(&false)
    }
}

fn read(called: &Called<'_>, heard: Heard<'_>) -> Vec<Done<Duty>> {
    // One that did not get as far as saying who it is has not begun.
    let who = called.input.and_then(|input| input.get("who")?.as_u64());
    let Some(who) = who.map(|who| who as usize) else {
        return Vec::new();
    };
    let turn = match called.name {
        "leave" => Turn::Leave(who),
        _ => Turn::Come(who),
    };
    vec![(turn, heard.reply().and_then(Value::as_bool))]
}
