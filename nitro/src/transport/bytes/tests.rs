//! The parser of frames against good frames in pieces, and against whatever bytes there are.

use std::io;
use std::task::Waker;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A stream of given bytes, read in pieces of given lengths, that swallows what is written.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    lengths: Vec<usize>,
    turn: usize,
}

impl Pieces {
    fn new(bytes: Vec<u8>, lengths: Vec<usize>) -> Self {
        let (at, turn) = (0, 0);
        Self {
            bytes,
            at,
            lengths,
            turn,
        }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let piece = this.lengths[this.turn % this.lengths.len()];
        this.turn += 1;
        assert!(buffer.remaining() > 0, "there is always room to read into");
        let left = this.bytes.len() - this.at;
        let count = piece.min(left).min(buffer.remaining());
        buffer.put_slice(&this.bytes[this.at..this.at + count]);
        this.at += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

type Parsed = Vec<(u8, u8, u32, Vec<u8>)>;

/// Every frame up to the end, or up to what is no frame.
fn parse(bytes: Vec<u8>, lengths: Vec<usize>) -> (Parsed, Result<Filled>, bool) {
    let mut end = StreamEnd::new(Box::new(Pieces::new(bytes, lengths)));
    let mut context = Context::from_waker(Waker::noop());
    let mut parsed = Vec::new();
    loop {
        loop {
            match end.next_frame() {
                Ok(Some(Frame { header, payload })) => {
                    let payload = payload.as_slice().to_vec();
                    parsed.push((header.kind, header.flags, header.stream, payload));
                }
                Ok(None) => break,
                Err(error) => return (parsed, Err(error), end.is_partial()),
            }
        }
        let Poll::Ready(filled) = end.poll_fill(&mut context) else {
            unreachable!("pieces are always there");
        };
        assert!(end.reading.len() <= READ_BYTES_MAX, "the buffer is bounded");
        match filled {
            Ok(Filled::More) => {}
            ended => return (parsed, ended, end.is_partial()),
        }
    }
}

fn encoded(frames: &Parsed) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    for (kind, flags, stream, payload) in frames {
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(stream.to_be_bytes());
        bytes.extend([*kind, *flags]);
        bytes.extend(payload);
    }
    bytes
}

#[test]
fn whoever_is_behind_reads_more_at_a_time_and_gives_the_room_back_at_rest() {
    // Frames much shorter than the buffer: it is never full of what is unread.
    let frames: Parsed = (0..2_000).map(|_| (4, 2, 1, vec![7; 90])).collect();
    let pieces = Pieces::new(encoded(&frames), vec![usize::MAX]);
    let mut end = StreamEnd::new(Box::new(pieces));
    let mut context = Context::from_waker(Waker::noop());
    let (mut reads, mut count) = (0, 0);
    while count < frames.len() {
        assert!(end.poll_fill(&mut context).is_ready());
        reads += 1;
        while end.next_frame().unwrap().is_some() {
            count += 1;
        }
    }
    assert!(reads < 10, "{reads} reads for 200 kB");
    assert!(end.reading.len() <= READ_BYTES_BUSY);
    end.rest();
    assert_eq!(end.reading.len(), 0);
    assert!(matches!(
        end.poll_fill(&mut context),
        Poll::Ready(Ok(Filled::End))
    ));
}

fn any_frames() -> impl Strategy<Value = Parsed> {
    let length = prop_oneof![
        8 => 0..100_usize,
        1 => 4_000..5_000_usize,
        1 => FRAME_BYTES_MAX - 2..=FRAME_BYTES_MAX,
    ];
    let payload = (any::<u8>(), length).prop_map(|(byte, length)| vec![byte; length]);
    vec((any::<u8>(), any::<u8>(), any::<u32>(), payload), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_pieces(
        frames in any_frames(),
        lengths in vec(1..9_000_usize, 1..6),
    ) {
        let (parsed, ended, is_partial) = parse(encoded(&frames), lengths);
        prop_assert_eq!(ended.unwrap(), Filled::End);
        prop_assert!(!is_partial);
        prop_assert!(parsed == frames);
    }

    #[test]
    fn frames_that_are_alike_come_out_together_in_their_order_and_none_too_long_or_too_many(
        frames in vec((0..2_u8, Just(2_u8), 0..2_u32, vec(any::<u8>(), 0..30)), 0..60),
        lengths in vec(1..900_usize, 1..6),
        (longest, most) in (0..40_usize, 0..10_usize),
    ) {
        let mut end = StreamEnd::new(Box::new(Pieces::new(encoded(&frames), lengths)));
        let mut context = Context::from_waker(Waker::noop());
        let mut parsed = PREFACE.to_vec();
        while let Poll::Ready(Ok(Filled::More)) = end.poll_fill(&mut context) {
            while let Some(frame) = end.next_frame().unwrap() {
                let (header, payload) = (frame.header, frame.payload.as_slice());
                parsed.extend(header.encode(payload.len()));
                parsed.extend(payload);
                let alike = end.next_alike(header, longest, most);
                prop_assert!(alike.count <= most);
                let mut rest = alike.frames;
                for _ in 0..alike.count {
                    let (next, length) = Header::decode(rest.first_chunk().unwrap());
                    prop_assert!(next == header && length <= longest);
                    rest = &rest[HEADER_BYTES + length..];
                }
                prop_assert!(rest.is_empty());
                parsed.extend(alike.frames);
            }
        }
        prop_assert!(parsed == encoded(&frames));
    }

    #[test]
    fn what_is_cut_is_known_to_be_partial(frames in any_frames(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&frames);
        let length = cut.index(bytes.len());
        let (parsed, ended, is_partial) = parse(bytes[..length].to_vec(), vec![1_000]);
        prop_assert_eq!(ended.unwrap(), Filled::End);
        prop_assert!(parsed.len() <= frames.len());
        let whole = encoded(&parsed).len();
        prop_assert_eq!(is_partial, length > 0 && (length < PREFACE.len() || length > whole));
        prop_assert!(parsed == frames[..parsed.len()]);
    }

    #[test]
    fn any_bytes_are_frames_or_an_error_and_never_panic(
        has_preface: bool,
        bytes in vec(any::<u8>(), 0..2_000),
        // Lengths that are likely: a random one is nearly always too long.
        starts in vec(0..40_u8, 0..20),
        lengths in vec(1..300_usize, 1..4),
    ) {
        let mut all = if has_preface { PREFACE.to_vec() } else { Vec::new() };
        for start in starts {
            all.extend([0, 0, 0, start]);
            all.extend(bytes.iter().take(usize::from(start) + 6));
        }
        all.extend(&bytes);
        let total = all.len();
        let (parsed, ended, _) = parse(all, lengths);
        let taken: usize = parsed.iter().map(|frame| HEADER_BYTES + frame.3.len()).sum();
        prop_assert!(taken <= total);
        if let Err(error) = ended {
            prop_assert_eq!(error.kind(), crate::error::Kind::InvalidArgument);
        }
    }
}

#[test]
fn what_is_no_frame_is_told() {
    let told = |bytes: &[u8]| parse(bytes.to_vec(), vec![100]).1.unwrap_err().to_string();
    let after = |bytes: &[u8]| told(&[&PREFACE[..], bytes].concat());
    insta::assert_snapshot!(told(b"GET / HTTP/1.1\r\n"), @"invalid argument: the peer does not speak nitro: it began with [47, 45, 54, 20, 2f, 20, 48, 54]");
    insta::assert_snapshot!(told(b"NITRO\x02\0\0"), @"invalid argument: the peer speaks version 2, expected 1");
    insta::assert_snapshot!(told(b"NITRO\x01\0\x01"), @"invalid argument: the peer asks for options that are not known: [00, 01]");
    insta::assert_snapshot!(after(b"\0\x01\0\x01\0\0\0\0\0\0"), @"invalid argument: a frame of 65537 bytes: at most 65536");
    insta::assert_snapshot!(after(&[0xff; 10]), @"invalid argument: a frame of 4294967295 bytes: at most 65536");
}

#[test]
fn one_byte_at_a_time_brings_the_same_frames() {
    let frames: Parsed = (0..20).map(|n| (4, 2, n, vec![7; n as usize])).collect();
    let bytes = encoded(&frames);
    let length = bytes.len();
    let mut end = StreamEnd::new(Box::new(Pieces::new(bytes, vec![usize::MAX])));
    end.read_at_most(1);
    let mut context = Context::from_waker(Waker::noop());
    let (mut reads, mut streams) = (0, Vec::new());
    while matches!(end.poll_fill(&mut context), Poll::Ready(Ok(Filled::More))) {
        reads += 1;
        while let Some(Frame { header, payload }) = end.next_frame().unwrap() {
            assert_eq!(payload.as_slice().len(), header.stream as usize);
            streams.push(header.stream);
        }
    }
    assert_eq!(reads, length);
    assert_eq!(streams, (0..20).collect::<Vec<_>>());
}

#[test]
fn what_is_taken_in_pieces_is_sent_once_and_in_order() {
    let (near, mut far) = tokio::io::duplex(10);
    let mut end = StreamEnd::new(Box::new(near));
    let mut context = Context::from_waker(Waker::noop());
    let (mut came, mut expected) = (Vec::new(), PREFACE.to_vec());
    for round in 1..4 {
        let mut room = [0; 64];
        while end.poll_flush(&mut context).is_pending() {
            let mut buffer = ReadBuf::new(&mut room);
            let read = Pin::new(&mut far).poll_read(&mut context, &mut buffer);
            assert!(matches!(read, Poll::Ready(Ok(()))));
            came.extend_from_slice(buffer.filled());
        }
        let more: Vec<u8> = (0..25 * round).collect();
        expected.extend_from_slice(&more);
        end.swap(&mut BytesMut::from(&more[..]));
        assert!(!end.is_flushed());
    }
    assert_eq!(expected[..came.len()], came);
    assert_eq!(end.sent() as usize, expected.len() - PREFACE.len() - 75);
}

#[test]
fn a_connection_that_was_busy_once_gives_back_its_long_write_buffer_while_it_sends_little() {
    let mut end = StreamEnd::new(Box::new(Pieces::new(Vec::new(), Vec::new())));
    let mut context = Context::from_waker(Waker::noop());
    let mut outbox = BytesMut::new();
    let mut send = |end: &mut StreamEnd, length: usize| {
        assert!(end.poll_flush(&mut context).is_ready());
        outbox.extend_from_slice(&vec![7; length]);
        end.swap(&mut outbox);
        assert!(end.poll_flush(&mut context).is_ready());
    };
    send(&mut end, 300_000);
    assert!(end.trim() >= 300_000);
    assert!(
        end.writing.capacity() >= 300_000,
        "it is likely to be used again"
    );
    // The two buffers take turns.
    send(&mut end, 100);
    send(&mut end, 100);
    assert_eq!(end.trim(), WRITE_BYTES_MIN);
    assert_eq!(end.writing.capacity(), 0);
}
