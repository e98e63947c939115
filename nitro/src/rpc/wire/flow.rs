//! The two directions of a stream, and what may still be sent in each.

use std::collections::VecDeque;
use std::task::Waker;

use ::bytes::{Bytes, BytesMut};

use super::message::malformed;
use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::rpc::body::{Run, SHORT_BYTES_MAX};
use crate::time::Instant;
use crate::transport::{Alike, HEADER_BYTES, Payload};

/// What a DATA frame costs beyond its payload.
pub(super) const DATA_COST: u32 = 32;
/// The smallest window a side may announce, so that a fragment worth sending fits.
pub(super) const WINDOW_MIN: u32 = 16 * 1024;

/// What the messages of a run may have cost before another is begun. It is taken whole, and its
/// credit given back when the last of it has been looked at.
const RUN_COST_MAX: u32 = WINDOW_MIN;

/// What a DATA frame of so many bytes costs.
pub(super) fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a frame is short") + DATA_COST
}

/// What DATA frames cost together.
pub(super) fn cost_alike(frames: &Alike<'_>) -> u32 {
    let payloads = frames.frames.len() - frames.count * HEADER_BYTES;
    cost(payloads) + (frames.count as u32 - 1) * DATA_COST
}

/// Credit that is gathered until it is worth a frame.
#[derive(Debug)]
pub(super) struct Window {
    size: u32,
    /// What the other side may still send.
    left: u32,
    /// What has been freed and not yet been given back.
    gathered: u32,
}

impl Window {
    pub(super) fn new(size: u32) -> Self {
        let (left, gathered) = (size, 0);
        Self {
            size,
            left,
            gathered,
        }
    }

    /// Counts what has arrived.
    pub(super) fn spend(&mut self, cost: u32) -> Result<()> {
        let left = self.left.checked_sub(cost);
        self.left = left.ok_or_else(|| malformed("DATA", "the window is overrun"))?;
        Ok(())
    }

    /// Frees what was taken; answers what to give back now, if it is worth a frame.
    pub(super) fn free(&mut self, cost: u32) -> Option<u32> {
        self.gathered += cost;
        if self.gathered < self.size / 2 {
            return None;
        }
        self.left += self.gathered;
        Some(std::mem::take(&mut self.gathered))
    }
}

/// What comes in on a stream.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) head: Option<Metadata>,
    /// When the head came, on the calling side.
    pub(super) head_at: Option<Instant>,
    /// Whether the head has come, even if it has been taken since.
    pub(super) has_head: bool,
    pub(super) end: Option<Result<()>>,
    pub(super) is_ended_by_peer: bool,
    pub(super) reader: Option<Waker>,
    pub(super) window: Window,
    /// The message that came with the head, which costs nothing.
    inline: Option<Bytes>,
    /// Whole messages, with what each run of them has cost.
    runs: VecDeque<(Run, u32)>,
    /// Room for another run.
    spare: Run,
    /// What has been lent and is not yet known to have been looked at has cost.
    lent: u32,
    partial: BytesMut,
    partial_cost: u32,
    /// How long the last message was that came in fragments: the next may be alike.
    joined_bytes: usize,
    /// Whether the last fragment that came was not the last of its message.
    is_unfinished: bool,
    /// What the messages and the fragments that wait here, or are lent, have cost.
    held: u32,
}

impl Inbound {
    pub(super) fn new(window: u32) -> Self {
        Self {
            head: None,
            head_at: None,
            has_head: false,
            end: None,
            is_ended_by_peer: false,
            reader: None,
            window: Window::new(window),
            inline: None,
            runs: VecDeque::new(),
            spare: Run::default(),
            lent: 0,
            partial: BytesMut::new(),
            partial_cost: 0,
            joined_bytes: 0,
            is_unfinished: false,
            held: 0,
        }
    }

    /// Makes it as new, keeping its buffers for the next call.
    pub(super) fn reset(&mut self) {
        self.head = None;
        self.head_at = None;
        self.has_head = false;
        self.end = None;
        self.is_ended_by_peer = false;
        self.reader = None;
        self.window = Window::new(self.window.size);
        self.inline = None;
        self.runs.clear();
        self.spare.rest();
        self.lent = 0;
        self.partial = BytesMut::new();
        self.partial_cost = 0;
        self.joined_bytes = 0;
        self.is_unfinished = false;
        self.held = 0;
    }

    /// Takes in that the other side sends nothing more: well, unless there is an error.
    pub(super) fn finish(&mut self, frame: &str, error: Option<Error>) -> Result<()> {
        self.check_more(frame)?;
        // What was broken off at this end need not be whole.
        if error.is_none() && self.end.is_none() {
            if self.is_unfinished {
                return Err(malformed(frame, "a message is unfinished"));
            }
            self.check_head(frame)?;
        }
        self.is_ended_by_peer = true;
        self.end.get_or_insert(error.map_or(Ok(()), Err));
        Ok(())
    }

    /// Checks that the other side may send more.
    pub(super) fn check_more(&self, frame: &str) -> Result<()> {
        if self.is_ended_by_peer {
            return Err(malformed(frame, "it comes after the end of its stream"));
        }
        Ok(())
    }

    /// Checks that the head has come.
    pub(super) fn check_head(&self, frame: &str) -> Result<()> {
        if !self.has_head {
            return Err(malformed(frame, "it comes before the head of its stream"));
        }
        Ok(())
    }

    /// Adds a message that came in a head, and so cost nothing.
    pub(super) fn push_inline(&mut self, message: Bytes) {
        self.inline = Some(message);
    }

    /// Adds a fragment; answers how much of its cost may be given back at once.
    pub(super) fn push_fragment(
        &mut self,
        payload: &Payload<'_>,
        is_last: bool,
        message_bytes_max: u32,
    ) -> Result<u32> {
        let bytes = payload.as_slice();
        let cost = cost(bytes.len());
        if self.partial.len() + bytes.len() > message_bytes_max as usize {
            return Err(Error::resource_exhausted(format!(
                "a message of more than {message_bytes_max} bytes"
            )));
        }
        self.is_unfinished = !is_last;
        if is_last {
            let whole = std::mem::take(&mut self.partial_cost) + cost;
            self.held += cost;
            let partial = std::mem::take(&mut self.partial);
            if !partial.is_empty() {
                let mut message = partial;
                message.extend_from_slice(bytes);
                self.joined_bytes = message.len();
                self.open_run(whole).push(message.freeze());
                return Ok(0);
            }
            let run = self.open_run(whole);
            if bytes.len() <= SHORT_BYTES_MAX {
                run.push_short(bytes);
            } else {
                run.push_long(payload.keep_from(0));
            }
            return Ok(0);
        }
        if self.partial.is_empty() {
            let alike = self.joined_bytes.clamp(bytes.len(), 2 * bytes.len());
            self.partial.reserve(alike);
        }
        self.partial.extend_from_slice(bytes);
        if self.runs.is_empty() && self.lent == 0 {
            return Ok(cost);
        }
        self.partial_cost += cost;
        self.held += cost;
        Ok(0)
    }

    /// Adds short messages, each of them whole.
    pub(super) fn push_short(&mut self, messages: &Alike<'_>) {
        let cost = cost_alike(messages);
        self.held += cost;
        let run = self.open_run(cost);
        run.push_frames(messages.frames, messages.count);
    }

    /// The run that a message of this cost goes to.
    fn open_run(&mut self, cost: u32) -> &mut Run {
        let is_full = |(_, cost): &(Run, u32)| *cost >= RUN_COST_MAX;
        if self.runs.back().is_none_or(is_full) {
            // Where one run is full, the next will be.
            let run = match self.runs.is_empty() {
                true => std::mem::take(&mut self.spare),
                false => Run::with_capacity(RUN_COST_MAX as usize),
            };
            self.runs.push_back((run, 0));
        }
        let (run, whole) = self.runs.back_mut().expect("there is one now");
        *whole += cost;
        run
    }

    /// Takes note that what was lent has been looked at; answers what it had cost.
    pub(super) fn settle(&mut self) -> u32 {
        let mut cost = std::mem::take(&mut self.lent);
        if self.runs.is_empty() {
            // What waits now is an unfinished message alone, which must not run out of window.
            cost += std::mem::take(&mut self.partial_cost);
        }
        self.held -= cost;
        cost
    }

    /// Lends the next run, for one that is empty.
    pub(super) fn lend(&mut self, into: &mut Run) {
        if let Some(message) = self.inline.take() {
            into.push_long(message);
        } else if let Some((run, cost)) = self.runs.pop_front() {
            self.spare = std::mem::replace(into, run);
            self.lent = cost;
        }
    }

    /// Gives back room, while there is a wait for more.
    pub(super) fn rest(&mut self) {
        self.spare.rest();
    }

    /// The only message there is, with what it cost; `None` when there are more.
    pub(super) fn take_only(&mut self) -> Option<Option<(Bytes, u32)>> {
        if self.runs.is_empty() {
            return Some(self.inline.take().map(|message| (message, 0)));
        }
        let is_only = self.inline.is_none() && self.runs.len() == 1 && self.runs[0].0.len() == 1;
        if !is_only {
            return None;
        }
        let (mut run, cost) = self.runs.pop_front()?;
        self.held -= cost;
        Some(run.pop_bytes().map(|message| (message, cost)))
    }

    /// What all that waits here has cost.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    pub(super) fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// What goes out on a stream.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) credit: u32,
    pub(super) writer: Option<Waker>,
    /// The other side has been told that this call is given up.
    pub(super) is_cancelled: bool,
}

impl Outbound {
    /// Makes it as new.
    pub(super) fn reset(&mut self) {
        self.wake();
        self.credit = 0;
        self.is_cancelled = false;
    }

    pub(super) fn wake(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Room;

    fn push(inbound: &mut Inbound, bytes: &[u8], is_last: bool) -> u32 {
        let room = Room::default();
        let payload = Payload::Borrowed(bytes, &room);
        inbound.push_fragment(&payload, is_last, 1 << 20).unwrap()
    }

    #[test]
    fn an_unfinished_message_is_credited_only_while_no_whole_one_waits() {
        let mut inbound = Inbound::new(WINDOW_MIN);
        assert_eq!(push(&mut inbound, &[1; 100], false), 132);
        assert_eq!(push(&mut inbound, &[1; 100], true), 0);
        assert_eq!(
            push(&mut inbound, &[2; 50], false),
            0,
            "a whole message waits"
        );
        assert_eq!(inbound.held(), 132 + 82);
        let mut run = Run::default();
        inbound.lend(&mut run);
        assert_eq!(push(&mut inbound, &[2; 50], false), 0, "it is lent");
        assert_eq!(run.pop_bytes().unwrap().len(), 200);
        assert_eq!(inbound.settle(), 132 + 82 + 82);
        assert_eq!(inbound.held(), 0);
        assert_eq!(push(&mut inbound, &[2; 50], false), 82);
        assert_eq!(push(&mut inbound, &[2; 50], true), 0);
        inbound.lend(&mut run);
        assert_eq!(run.pop_bytes().unwrap().len(), 200);
        assert_eq!(inbound.settle(), 82);
        assert_eq!(inbound.held(), 0);
    }

    #[test]
    fn a_window_that_is_overrun_is_an_error() {
        let mut window = Window::new(WINDOW_MIN);
        window.spend(WINDOW_MIN).unwrap();
        assert!(window.spend(1).is_err());
        assert_eq!(window.free(100), None);
        assert_eq!(window.free(WINDOW_MIN / 2), Some(100 + WINDOW_MIN / 2));
        window.spend(100 + WINDOW_MIN / 2).unwrap();
    }
}
