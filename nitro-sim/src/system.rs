//! What runs on the nodes: a system's roles, the operations it knows and its invariants.

mod node;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nitro::error::Result;

pub use node::{ASKS, Node, NodeParts};
pub use workload::Operation;

use crate::scenario::{Catalogue, Known};
use crate::trace::{Blame, Contradiction, Trace};

/// What a node of a role does, from its start to its end.
pub type Role = Arc<dyn Fn(Node) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// What must hold of every trace.
pub type Invariant = Arc<dyn Fn(&Trace) -> Judged + Send + Sync>;

/// What an invariant says of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// What violates it; none where it holds.
    pub violations: Vec<Breach>,
    /// Why it is not known whether it holds.
    pub doubts: Vec<String>,
}

impl Judged {
    /// The judgement of an invariant that is never in doubt.
    pub fn of(violations: Vec<impl Into<Breach>>) -> Self {
        Self {
            violations: violations.into_iter().map(Into::into).collect(),
            doubts: Vec::new(),
        }
    }
}

/// One thing that violates an invariant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breach {
    /// What it is, in words.
    pub what: String,
    /// What has a part in it, for who wants to know how it came to be.
    pub blames: Vec<Blame>,
    /// The operations that contradict one another, where that is what it is.
    pub contradiction: Option<Contradiction>,
}

impl Breach {
    /// A breach that these have a part in.
    pub fn of(what: impl Into<String>, blames: impl IntoIterator<Item = Blame>) -> Self {
        Self {
            what: what.into(),
            blames: blames.into_iter().collect(),
            contradiction: None,
        }
    }
}

impl From<String> for Breach {
    fn from(what: String) -> Self {
        Self::of(what, [])
    }
}

/// A system under test, by name.
#[derive(Clone)]
pub struct System {
    name: String,
    roles: BTreeMap<String, Role>,
    operations: Vec<String>,
    invariants: Vec<(String, Invariant)>,
    turn_wall_max: Option<Duration>,
}

impl System {
    /// A system without roles.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            roles: BTreeMap::new(),
            operations: Vec::new(),
            invariants: Vec::new(),
            turn_wall_max: None,
        }
    }

    /// The same system with a role: what its nodes do from start to end. A role that returns
    /// stops its node; one that fails or panics fails the run.
    pub fn role<F, R>(mut self, name: impl Into<String>, role: F) -> Self
    where
        F: Fn(Node) -> R + Send + Sync + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        let role: Role = Arc::new(move |node| role(node).boxed());
        self.roles.insert(name.into(), role);
        self
    }

    /// The same system with an operation that workloads may ask for.
    pub fn operation(mut self, name: impl Into<String>) -> Self {
        self.operations.push(name.into());
        self
    }

    /// The same system with an invariant, which says what in a trace violates it: in words, or as
    /// a [`Breach`] with what has a part in it.
    pub fn invariant<F, B>(self, name: impl Into<String>, holds: F) -> Self
    where
        F: Fn(&Trace) -> Vec<B> + Send + Sync + 'static,
        B: Into<Breach>,
    {
        self.judge(name, move |trace| Judged::of(holds(trace)))
    }

    /// The same system with an invariant that may not be able to tell.
    pub fn judge<F>(mut self, name: impl Into<String>, holds: F) -> Self
    where
        F: Fn(&Trace) -> Judged + Send + Sync + 'static,
    {
        self.invariants.push((name.into(), Arc::new(holds)));
        self
    }

    /// The same system, of which a turn of a node may take so long of this machine's time before
    /// the run counts as hung. Where it is not said, the engine has a limit of its own.
    pub fn turn_wall_max(self, most: Duration) -> Self {
        let turn_wall_max = Some(most);
        Self {
            turn_wall_max,
            ..self
        }
    }

    /// The longest that a turn of a node may take, where it says so.
    pub fn longest_turn(&self) -> Option<Duration> {
        self.turn_wall_max
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a node of a role does.
    pub fn find_role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name)
    }

    /// Its invariants, each with its name.
    pub fn invariants(&self) -> &[(String, Invariant)] {
        &self.invariants
    }

    /// The names of its roles.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// The names of its operations.
    pub fn operation_names(&self) -> impl Iterator<Item = &str> {
        self.operations.iter().map(String::as_str)
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("name", &self.name)
            .field("roles", &self.roles.keys())
            .field("operations", &self.operations)
            .finish_non_exhaustive()
    }
}

/// Makes a program's systems. It is a function and no closure, so that a process of its own can
/// call it too.
pub type Source = fn() -> Vec<System>;

/// The registered systems, by name.
#[derive(Clone, Debug, Default)]
pub struct Systems {
    by_name: BTreeMap<String, System>,
    source: Option<Source>,
}

impl Systems {
    /// The systems of a list.
    ///
    /// # Panics
    ///
    /// When two have the same name.
    pub fn new(systems: impl IntoIterator<Item = System>) -> Self {
        let mut map = BTreeMap::new();
        for system in systems {
            let name = system.name.clone();
            let earlier = map.insert(name.clone(), system);
            assert!(earlier.is_none(), "two systems are called {name:?}");
        }
        Self {
            by_name: map,
            source: None,
        }
    }

    /// The systems that a function makes, which other processes can make too.
    ///
    /// # Panics
    ///
    /// When two have the same name.
    pub fn made_by(source: Source) -> Self {
        Self {
            source: Some(source),
            ..Self::new(source())
        }
    }

    /// The function that makes them, if they were made by one.
    pub fn source(&self) -> Option<Source> {
        self.source
    }

    /// The system of a name.
    pub fn get(&self, name: &str) -> Option<&System> {
        self.by_name.get(name)
    }

    /// All systems, by name.
    pub fn iter(&self) -> impl Iterator<Item = &System> {
        self.by_name.values()
    }

    /// What scenarios may name.
    pub fn catalogue(&self) -> Catalogue {
        let known = |system: &System| Known {
            roles: system.role_names().map(str::to_owned).collect(),
            operations: system.operations.clone(),
        };
        self.iter()
            .map(|system| (system.name.clone(), known(system)))
            .collect()
    }
}
