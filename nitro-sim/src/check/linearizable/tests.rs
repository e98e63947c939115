//! Known histories, and agreement with a checker too simple to be wrong.

use super::*;
use crate::check::model::{
    Access, Change, Counter, KeyValue, Lock, Queue, Register, Seen, Transfer, Turn,
};
use crate::draw::Draw;

/// Enough to meet every shape of a few operations; more where the compiler has made it fast.
const HISTORIES: u64 = if cfg!(debug_assertions) {
    5_000
} else {
    100_000
};

fn made<I, O>(input: I, output: Option<O>, called: u64, returned: Option<u64>) -> Operation<I, O> {
    Operation {
        id: called,
        process: called,
        key: 0,
        input,
        output,
        called,
        returned,
    }
}

fn write(value: u64, called: u64, returned: u64) -> OperationOf<Register> {
    made(
        Access::Write(value),
        Some(Seen::Done),
        called,
        Some(returned),
    )
}

fn read(value: Option<u64>, called: u64, returned: u64) -> OperationOf<Register> {
    made(
        Access::Read,
        Some(Seen::Value(value)),
        called,
        Some(returned),
    )
}

fn lost_write(value: u64, called: u64) -> OperationOf<Register> {
    made(Access::Write(value), None, called, None)
}

fn register(history: &[OperationOf<Register>]) -> Answer {
    linearizable(&Register, history, Budget::default())
}

fn violation(answer: Answer) -> Violation {
    match answer {
        Answer::No(violation) => violation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn good_histories_are_accepted() {
    assert_eq!(register(&[]), Answer::Yes);
    assert_eq!(register(&[read(None, 0, 1)]), Answer::Yes);
    assert_eq!(
        register(&[write(1, 0, 1), read(Some(1), 2, 3)]),
        Answer::Yes
    );
    // Two reads beside a write may see it or not, in one order.
    let beside = [write(1, 0, 9), read(None, 1, 2), read(Some(1), 3, 4)];
    assert_eq!(register(&beside), Answer::Yes);
    // What returns as another is called is beside it.
    assert_eq!(register(&[write(1, 0, 5), read(None, 5, 6)]), Answer::Yes);
}

#[test]
fn bad_histories_are_refused_with_what_suffices() {
    let stale = [write(1, 0, 1), write(2, 2, 3), read(Some(1), 4, 5)];
    let found = violation(register(&stale));
    assert_eq!((found.key, found.last), (Some(0), 2));
    assert_eq!(found.operations, [0, 1, 2]);
    assert_eq!(found.states, ["Some(2)"]);
    // Two reads that see a write come and go.
    let back = [write(1, 0, 9), read(Some(1), 1, 2), read(None, 3, 4)];
    assert_eq!(violation(register(&back)).last, 2);
    assert_eq!(violation(register(&[read(Some(7), 0, 1)])).operations, [0]);
}

#[test]
fn an_operation_whose_return_was_not_heard_may_be_done_at_any_later_time_or_never() {
    let never = [lost_write(1, 0), read(None, 5, 6)];
    assert_eq!(register(&never), Answer::Yes);
    let late = [lost_write(1, 0), read(None, 5, 6), read(Some(1), 90, 91)];
    assert_eq!(register(&late), Answer::Yes);
    let twice = [
        lost_write(1, 0),
        read(Some(1), 5, 6),
        write(2, 7, 8),
        read(Some(1), 9, 10),
    ];
    assert_eq!(violation(register(&twice)).last, 3);
    let before_its_call = [read(Some(1), 0, 1), lost_write(1, 2)];
    assert_eq!(violation(register(&before_its_call)).last, 0);
}

#[test]
fn each_key_is_judged_apart_and_the_bad_one_named() {
    let mut history = Vec::new();
    for key in 0..5 {
        history.extend([write(key, 10 * key, 10 * key + 1), read(Some(key), 60, 61)]);
        for operation in history.iter_mut().rev().take(2) {
            operation.key = key;
        }
    }
    let answer = linearizable(&KeyValue, &history, Budget::default());
    assert_eq!(answer, Answer::Yes);
    history[7].output = Some(Seen::Value(Some(9)));
    let found = violation(linearizable(&KeyValue, &history, Budget::default()));
    assert_eq!((found.key, found.last), (Some(3), 7));
}

#[test]
fn what_does_not_matter_is_left_out_of_a_violation() {
    let mut history: Vec<_> = (0..200).map(|n| write(n, 10 * n, 10 * n + 5)).collect();
    history.push(read(Some(3), 2_100, 2_101));
    history.push(write(7, 2_200, 2_201));
    let found = violation(register(&history));
    // The last write, before which 3 was overwritten, and the read.
    assert!(found.operations.len() <= 3, "{found:?}");
    assert_eq!(found.last, 200);
}

#[test]
fn the_models_say_yes_and_no() {
    let counted = |told| {
        [
            made(Change(1), Some(1), 0, Some(1)),
            made(Change(1), None, 2, None),
            made(Change(0), Some(told), 3, Some(4)),
        ]
    };
    let count = |told| linearizable(&Counter, &counted(told), Budget::default());
    assert_eq!((count(1), count(2)), (Answer::Yes, Answer::Yes));
    assert!(matches!(count(3), Answer::No(_)));
    let queued = |first, second| {
        [
            made(Transfer::In(1), Some(None), 0, Some(1)),
            made(Transfer::In(2), Some(None), 2, Some(3)),
            made(Transfer::Out, Some(first), 4, Some(5)),
            made(Transfer::Out, Some(second), 6, Some(7)),
        ]
    };
    let queue = |first, second| {
        let answer = linearizable(&Queue, &queued(first, second), Budget::default());
        answer == Answer::Yes
    };
    assert!(queue(Some(1), Some(2)));
    assert!(!queue(Some(2), Some(1)) && !queue(Some(1), None) && !queue(Some(1), Some(1)));
    let locked = |second| {
        [
            made(Turn::Acquire(1), Some(true), 0, Some(1)),
            made(Turn::Acquire(2), Some(second), 2, Some(3)),
            made(Turn::Release(1), Some(true), 4, Some(5)),
        ]
    };
    let lock = |second| linearizable(&Lock, &locked(second), Budget::default());
    assert_eq!(lock(false), Answer::Yes);
    assert!(matches!(lock(true), Answer::No(_)));
}

#[test]
fn sequential_keeps_each_process_in_order_and_no_more() {
    let of = |process, mut operation: OperationOf<Register>| {
        operation.process = process;
        operation
    };
    // Stale for the clock, but not for any process.
    let stale = [of(1, write(1, 0, 1)), of(2, read(None, 2, 3))];
    assert!(matches!(register(&stale), Answer::No(_)));
    let judge = |history: &[_]| sequential(&Register, history, Budget::default());
    assert_eq!(judge(&stale), Answer::Yes);
    let own = [of(1, write(1, 0, 1)), of(1, read(None, 2, 3))];
    assert!(matches!(judge(&own), Answer::No(_)));
    // Two keys that are each in order, and together are not.
    let key = |key, mut operation: OperationOf<Register>| {
        operation.key = key;
        operation
    };
    let crossed = [
        of(1, write(1, 0, 1)),
        of(1, key(9, read(None, 2, 3))),
        of(2, key(9, write(1, 0, 1))),
        of(2, read(None, 2, 3)),
    ];
    assert!(matches!(judge(&crossed), Answer::No(_)));
}

#[test]
fn a_sequential_violation_has_the_fewest_operations_and_the_point_where_it_is_one() {
    let of = |process, key, mut operation: OperationOf<Register>| {
        (operation.process, operation.key) = (process, key);
        operation
    };
    let judge = |history: &[_]| sequential(&Register, history, Budget::default());
    let mut history = vec![
        of(1, 0, write(1, 100, 101)),
        of(1, 9, read(None, 110, 111)),
        of(2, 9, write(1, 100, 101)),
        of(2, 0, read(None, 112, 113)),
    ];
    // What others do before and after, and what these do besides.
    for n in 0..8 {
        history.push(of(3, 5, write(n, 10 * n, 10 * n + 1)));
        history.push(of(1, 6, write(n, 200 + n, 201 + n)));
        history.push(of(4, 5, read(None, 1_000 + n, 1_000 + n)));
    }
    let found = violation(judge(&history));
    assert_eq!((found.key, found.last), (None, 3));
    assert_eq!(found.operations, [0, 2, 1, 3]);
    // Each of the two keys is read before the other is written, so this one was written.
    assert_eq!(found.states, ["Some(1)"]);
    // One key alone: what was written is read, and then what was before.
    let back = [
        of(1, 7, write(1, 0, 1)),
        of(2, 7, read(Some(1), 2, 3)),
        of(1, 8, write(3, 3, 4)),
        of(2, 7, read(None, 5, 6)),
        of(2, 7, read(Some(1), 7, 8)),
    ];
    let found = violation(judge(&back));
    assert_eq!((found.key, found.last), (Some(7), 3));
    assert_eq!(found.operations, [1, 3]);
    assert_eq!(found.states, ["Some(1)"]);
    // What is written later by the clock may come first; what never is may not.
    let later = [of(1, 0, read(Some(5), 0, 1)), of(2, 0, write(5, 10, 11))];
    assert_eq!(judge(&later), Answer::Yes);
    let never = [of(1, 0, read(Some(5), 0, 1)), of(2, 0, write(6, 10, 11))];
    let found = violation(judge(&never));
    assert_eq!((found.operations, found.last), (vec![0], 0));
    assert_eq!(found.states, ["None", "Some(6)"]);
}

#[test]
fn past_its_budget_the_answer_is_not_known() {
    let mut history: Vec<_> = (0..20)
        .map(|n| made(Transfer::In(n), Some(None), n, Some(100 + n)))
        .collect();
    history.push(made(Transfer::Out, Some(Some(99)), 50, Some(200)));
    let budget = Budget { steps_max: 1_000 };
    let answer = linearizable(&Queue, &history, budget);
    assert_eq!(answer, Answer::Unknown(Some(0)));
    let mut history: Vec<_> = (0..20).map(|n| write(n, n, 100 + n)).collect();
    history.extend((0..20).map(|n| read(Some(n), 50 + n, 200)));
    let budget = Budget { steps_max: 10 };
    let answer = linearizable(&Register, &history, budget);
    assert_eq!(answer, Answer::Unknown(Some(0)));
    assert_eq!(register(&history), Answer::Yes);
}

#[test]
fn an_operation_beside_more_than_a_mask_has_bits_is_judged_all_the_same() {
    // It can be only after all others.
    let mut history = vec![read(Some(199), 0, 10_000)];
    for n in 0..200 {
        history.push(write(n, 10 * n + 1, 10 * n + 2));
        history.push(read(Some(n), 10 * n + 3, 10 * n + 4));
    }
    let effects = Effects::of(&Register, &history, &(0..401).collect::<Vec<_>>()).unwrap();
    assert_eq!(swift(&effects, Budget::default()), None);
    assert_eq!(register(&history), Answer::Yes);
    history.push(read(Some(3), 2_100, 2_101));
    assert_eq!(violation(register(&history)).last, 401);
}

/// Whether one must be done before another is.
type Waits<M> = fn(&OperationOf<M>, &OperationOf<M>) -> bool;

fn by_clock<M: Model>(earlier: &OperationOf<M>, later: &OperationOf<M>) -> bool {
    earlier.returned.unwrap_or(u64::MAX) < later.called
}

fn by_process<M: Model>(earlier: &OperationOf<M>, later: &OperationOf<M>) -> bool {
    earlier.process == later.process && by_clock::<M>(earlier, later)
}

/// Tries every order of every choice of what was done.
fn brute_force<M: Model>(model: &M, history: &[OperationOf<M>], waits: Waits<M>) -> bool {
    fn extend<M: Model>(
        model: &M,
        history: &[OperationOf<M>],
        waits: Waits<M>,
        done: u32,
        held: &BTreeMap<u64, M::State>,
    ) -> bool {
        let is_done = |place: usize| done & (1 << place) != 0;
        let places = 0..history.len();
        let mut heard = places
            .clone()
            .filter(|place| history[*place].returned.is_some());
        if heard.all(is_done) {
            return true;
        }
        places.clone().filter(|place| !is_done(*place)).any(|next| {
            let made = &history[next];
            let must_wait = places
                .clone()
                .any(|earlier| !is_done(earlier) && waits(&history[earlier], made));
            let state = held.get(&made.key).cloned();
            let state = state.unwrap_or_else(|| model.initial());
            let after = model.step(&state, &made.input, made.output.as_ref());
            !must_wait
                && after.is_some_and(|after| {
                    let mut held = held.clone();
                    held.insert(made.key, after);
                    extend(model, history, waits, done | 1 << next, &held)
                })
        })
    }
    extend(model, history, waits, 0, &BTreeMap::new())
}

/// A history of up to seven operations, more often wrong the more there are.
fn random<M: Model>(
    draw: &mut Draw,
    operation: impl Fn(&mut Draw) -> (M::Input, M::Output),
) -> Vec<OperationOf<M>> {
    let count = draw.whole(1, 7);
    let make = |_| {
        let (input, output) = operation(draw);
        let called = draw.whole(0, 12);
        let is_heard = draw.chance(0.8);
        let returned = is_heard.then(|| called + draw.whole(0, 6));
        made(input, is_heard.then_some(output), called, returned)
    };
    (0..count).map(make).collect()
}

/// What is said to suffice does suffice, and with less of it there is an order.
fn suffices<M: Model>(model: &M, history: &[OperationOf<M>], found: &Violation, waits: Waits<M>) {
    let without = |left_out: Option<usize>| {
        let mut part = history.to_vec();
        for (place, made) in part.iter_mut().enumerate() {
            if !found.operations.contains(&place) || left_out == Some(place) {
                (made.output, made.returned) = (None, None);
            }
        }
        brute_force(model, &part, waits)
    };
    assert!(!without(None), "{found:?} does not suffice: {history:?}");
    for place in &found.operations {
        let is_needed = without(Some(*place));
        assert!(is_needed, "{place} of {found:?} is too much: {history:?}");
    }
    assert!(found.operations.contains(&found.last));
}

/// How many were accepted and refused, after both checkers have said the same of each.
fn agree<M: Model>(model: &M, operation: impl Fn(&mut Draw) -> (M::Input, M::Output)) -> [u64; 2] {
    let mut counts = [0; 2];
    for seed in 0..HISTORIES {
        let history = random::<M>(&mut Draw::new(seed, "history"), &operation);
        let expected = brute_force(model, &history, by_clock::<M>);
        match linearizable(model, &history, Budget::default()) {
            Answer::Yes => assert!(expected, "seed {seed} was accepted: {history:?}"),
            Answer::No(found) => {
                assert!(!expected, "seed {seed} was refused: {history:?}");
                suffices(model, &history, &found, by_clock::<M>);
            }
            Answer::Unknown(_) => panic!("seed {seed}"),
        }
        counts[usize::from(expected)] += 1;
    }
    counts
}

fn both([refused, accepted]: [u64; 2]) {
    let least = HISTORIES / 20;
    assert!(refused > least && accepted > least, "{refused} {accepted}");
}

#[test]
fn the_search_and_brute_force_agree_on_registers() {
    both(agree(&Register, |draw| {
        let (old, new) = (draw.whole(0, 3), draw.whole(1, 3));
        let old = (old > 0).then_some(old);
        match draw.whole(0, 5) {
            0 | 1 => (Access::Read, Seen::Value(old)),
            2 | 3 => (Access::Write(new), Seen::Done),
            4 => (Access::Clear, Seen::Done),
            _ => {
                let seen = if draw.chance(0.5) {
                    Seen::Done
                } else {
                    Seen::Mismatch
                };
                (Access::Swap { expected: old, new }, seen)
            }
        }
    }));
}

#[test]
fn the_search_and_brute_force_agree_on_counters_queues_and_locks() {
    both(agree(&Counter, |draw| {
        (Change(draw.whole(0, 1)), draw.whole(0, 3))
    }));
    both(agree(&Queue, |draw| match draw.whole(0, 1) {
        0 => (Transfer::In(draw.whole(1, 3)), None),
        _ => {
            let out = draw.whole(0, 3);
            (Transfer::Out, (out > 0).then_some(out))
        }
    }));
    both(agree(&Lock, |draw| {
        let holder = draw.whole(1, 2);
        let turn = if draw.chance(0.5) {
            Turn::Acquire(holder)
        } else {
            Turn::Release(holder)
        };
        (turn, draw.chance(0.6))
    }));
}

#[test]
fn the_sequential_search_and_brute_force_agree_on_two_keys_and_three_processes() {
    let mut counts = [0; 2];
    for seed in 0..HISTORIES {
        let mut draw = Draw::new(seed, "history");
        let mut history = random::<KeyValue>(&mut draw, |draw| {
            let value = draw.whole(0, 2);
            match draw.whole(0, 3) {
                0 => (Access::Write(value.max(1)), Seen::Done),
                1 => (Access::Clear, Seen::Done),
                _ => (Access::Read, Seen::Value((value > 0).then_some(value))),
            }
        });
        for made in &mut history {
            (made.key, made.process) = (draw.whole(0, 1), draw.whole(0, 2));
        }
        let expected = brute_force(&KeyValue, &history, by_process::<KeyValue>);
        match sequential(&KeyValue, &history, Budget::default()) {
            Answer::Yes => assert!(expected, "seed {seed} was accepted: {history:?}"),
            Answer::No(found) => {
                assert!(!expected, "seed {seed} was refused: {history:?}");
                suffices(&KeyValue, &history, &found, by_process::<KeyValue>);
            }
            Answer::Unknown(_) => panic!("seed {seed}"),
        }
        counts[usize::from(expected)] += 1;
    }
    both(counts);
}
