//! Frames byte by byte, there and back, and whatever bytes a stranger may send.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::transport::HEADER_BYTES;
use crate::transport::Room;

fn outbox() -> Outbox {
    Outbox::Bytes(BytesMut::new())
}

/// What was written: header and payload of the only frame.
fn written(outbox: Outbox) -> (Vec<u8>, Vec<u8>) {
    let Outbox::Bytes(bytes) = outbox else {
        unreachable!("made above");
    };
    let (header, payload) = bytes.split_at(HEADER_BYTES);
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    assert_eq!(length as usize, payload.len());
    (header.to_vec(), payload.to_vec())
}

/// A frame as it goes on the wire, a space between fields.
fn frame(write: impl FnOnce(&mut Outbox), fields: &str) {
    let mut outbox = outbox();
    write(&mut outbox);
    let (header, payload) = written(outbox);
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let expected: String = fields.split_whitespace().collect();
    assert_eq!(hex(&header) + &hex(&payload), expected);
}

#[test]
fn settings_on_the_wire() {
    let settings = Settings {
        stream_window: 0x0008_0000,
        connection_window: 0x0200_0000,
        streams_max: 0x4000,
        message_bytes_max: 0x0040_0000,
    };
    frame(
        |outbox| settings.write(outbox),
        "00000018 00000000 01 00
         0001 00080000  0002 02000000  0003 00004000  0004 00400000",
    );
    assert_eq!(settings, Settings::of(&Limits::default()));
}

#[test]
fn a_call_on_the_wire_that_names_its_method() {
    let metadata = {
        let mut metadata = Metadata::new();
        metadata.insert("tag", b"\xff").unwrap();
        metadata
    };
    let head = CallHead {
        method: MethodName::New {
            number: 0,
            path: "math/double",
            content_type: "text/plain",
        },
        remaining_us: Some(5_000_000),
        metadata: metadata.as_block(),
    };
    frame(
        |outbox| head.write(outbox, 0x0001_0000, Some(b"21"), true),
        "0000002d 00010000 02 0f
         0000  000b 6d6174682f646f75626c65  0a 746578742f706c61696e
         00000000004c4b40
         0007 03 746167 0001 ff
         3231",
    );
}

#[test]
fn a_call_on_the_wire_by_number_whose_messages_follow() {
    let head = CallHead {
        method: MethodName::Known(7),
        remaining_us: None,
        metadata: &[],
    };
    frame(
        |outbox| head.write(outbox, 0x0003_0005, None, false),
        "00000004 00030005 02 00  0007 0000",
    );
}

#[test]
fn replies_on_the_wire() {
    frame(
        |outbox| write_reply(outbox, 0x0001_0000, &Metadata::new(), Some(b"42"), true),
        "00000004 00010000 03 03  0000 3432",
    );
    frame(
        |outbox| write_reply(outbox, 0x0001_0000, &Metadata::new(), None, false),
        "00000002 00010000 03 00  0000",
    );
}

#[test]
fn data_on_the_wire() {
    let fragment = Bytes::from_static(b"half");
    frame(
        |outbox| outbox.push_bytes(header(DATA, 0, 0x0001_0000), fragment),
        "00000004 00010000 04 00  68616c66",
    );
    let last = header(DATA, FLAG_MESSAGE | FLAG_END, 0x0001_0000);
    frame(
        |outbox| outbox.push_bytes(last, Bytes::new()),
        "00000000 00010000 04 03",
    );
}

#[test]
fn statuses_on_the_wire() {
    frame(
        |outbox| write_status(outbox, END, 0x0001_0000, None),
        "00000000 00010000 05 01",
    );
    let error = Error::not_found("no 7").with_detail("key", "7");
    frame(
        |outbox| write_status(outbox, END, 0x0001_0000, Some(&error)),
        "00000010 00010000 05 01
         05 00  0004 6e6f2037  0003 6b6579 0001 37",
    );
    let error = Error::unavailable("bye").unsent();
    frame(
        |outbox| write_status(outbox, GOAWAY, 0, Some(&error)),
        "00000007 00000000 0a 01  0e 01  0003 627965",
    );
}

#[test]
fn the_rest_on_the_wire() {
    frame(
        |outbox| outbox.push(header(CANCEL, 0, 0x0001_0000), |_| {}),
        "00000000 00010000 06 00",
    );
    frame(
        |outbox| write_credit(outbox, 0x0001_0000, 0x0004_0000),
        "00000004 00010000 07 00  00040000",
    );
    for (kind, first) in [(PING, "08"), (PONG, "09")] {
        frame(
            |outbox| outbox.push(header(kind, 0, 0), |payload| payload.put_u64(1)),
            &format!("00000008 00000000 {first} 00  0000000000000001"),
        );
    }
}

#[test]
fn a_status_fits_a_frame_whatever_its_details() {
    let mut many = Error::internal("x".repeat(100_000));
    for _ in 0..50_000 {
        many = many.with_detail("", "");
    }
    let long = Error::internal("x").with_detail("long", "é".repeat(30_000));
    let long = long.with_detail("short", "kept");
    for error in [many, long] {
        let mut outbox = outbox();
        write_status(&mut outbox, END, 1, Some(&error));
        let (_, payload) = written(outbox);
        let back = read_status("END", &payload).unwrap().unwrap();
        assert_eq!(back.kind(), Kind::Internal);
        assert_eq!(back.detail("short"), error.detail("short"));
        assert_eq!(back.detail("long"), None, "left out, not cut");
    }
}

#[test]
fn a_text_is_cut_between_characters() {
    let error = Error::internal("é".repeat(STATUS_BYTES_MAX));
    let mut outbox = outbox();
    write_status(&mut outbox, END, 1, Some(&error));
    let back = read_status("END", &written(outbox).1).unwrap().unwrap();
    assert!(error.message().starts_with(back.message()));
    assert!(back.message().len() > STATUS_BYTES_MAX - 8);
}

#[test]
fn what_is_wrong_with_a_frame_is_told() {
    let told = |result: Result<()>| result.unwrap_err().to_string();
    let call = |payload: &[u8]| told(CallHead::read(FLAG_NAMED, payload).map(drop));
    insta::assert_snapshot!(call(&[0]), @"invalid argument: malformed CALL frame: it is cut short");
    insta::assert_snapshot!(call(b"\0\0\0\x01\xff\0\0\0"), @"invalid argument: malformed CALL frame: a text is not UTF-8");
    insta::assert_snapshot!(call(b"\0\0\0\x01p\0\0\0x"), @"invalid argument: malformed CALL frame: bytes follow where no message is announced");
    insta::assert_snapshot!(told(Settings::read(&[0; 7]).map(drop)), @"invalid argument: malformed SETTINGS frame: a pair is cut short");
    insta::assert_snapshot!(told(read_credit(&[0; 5]).map(drop)), @"invalid argument: malformed CREDIT frame: expected 4 bytes");
    insta::assert_snapshot!(told(check_names("", "text/plain")), @"invalid argument: a path of 0 and a content type of 10 bytes: expected 1 to 8192 in all, the second at most 255");
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    let pairs = proptest::collection::btree_map("[a-z]{1,8}", vec(any::<u8>(), 0..40), 0..6);
    pairs.prop_map(|pairs| {
        let mut metadata = Metadata::new();
        for (key, value) in pairs {
            metadata.insert(&key, value).unwrap();
        }
        metadata
    })
}

fn any_error() -> impl Strategy<Value = Error> {
    let details = vec(("\\PC{0,12}", "\\PC{0,12}"), 0..4);
    (1_u8..=16, "\\PC{0,60}", details, any::<bool>()).prop_map(
        |(code, message, details, unsent)| {
            let mut error = Error::new(Kind::from_code(code), message);
            for (name, value) in details {
                error = error.with_detail(name, value);
            }
            if unsent { error.unsent() } else { error }
        },
    )
}

proptest! {
    #[test]
    fn settings_come_back(values in any::<[u32; 4]>()) {
        let [stream_window, connection_window, streams_max, message_bytes_max] = values;
        let streams_max = streams_max & 0xffff;
        let settings = Settings { stream_window, connection_window, streams_max, message_bytes_max };
        let mut outbox = outbox();
        settings.write(&mut outbox);
        prop_assert_eq!(Settings::read(&written(outbox).1).unwrap(), settings);
    }

    #[test]
    fn a_call_comes_back(
        name in proptest::option::of(("\\PC{1,40}", "\\PC{0,40}")),
        number in any::<u16>(),
        remaining_us in any::<Option<u64>>(),
        metadata in any_metadata(),
        message in proptest::option::of(vec(any::<u8>(), 0..200)),
        is_end in any::<bool>(),
    ) {
        let method = || match &name {
            Some((path, content_type)) => MethodName::New { number, path, content_type },
            None => MethodName::Known(number),
        };
        let head = CallHead { method: method(), remaining_us, metadata: metadata.as_block() };
        let mut outbox = outbox();
        head.write(&mut outbox, 9, message.as_deref(), is_end);
        let (header, payload) = written(outbox);
        let flags = header[9];
        prop_assert_eq!(flags & FLAG_END != 0, is_end);
        prop_assert_eq!(flags & FLAG_MESSAGE != 0, message.is_some());
        let (back, at) = CallHead::read(flags, &payload).unwrap();
        prop_assert_eq!(back, head);
        prop_assert_eq!(&payload[at..], message.as_deref().unwrap_or_default());
        // Every cut is noticed before the message, which only the frame's end delimits.
        for length in 0..at {
            prop_assert!(CallHead::read(flags, &payload[..length]).is_err());
        }
    }

    #[test]
    fn a_reply_comes_back(
        metadata in any_metadata(),
        message in proptest::option::of(vec(any::<u8>(), 0..200)),
    ) {
        let mut outbox = outbox();
        write_reply(&mut outbox, 9, &metadata, message.as_deref(), true);
        let (header, payload) = written(outbox);
        let payload = Bytes::from(payload);
        let owned = read_reply(header[9], &Payload::Owned(&payload)).unwrap();
        let borrowed = read_reply(header[9], &Payload::Borrowed(&payload, &Room::default())).unwrap();
        prop_assert_eq!(&owned, &borrowed);
        prop_assert_eq!(owned.0, metadata);
        prop_assert_eq!(owned.1.as_deref(), message.as_deref());
    }

    #[test]
    fn a_status_comes_back(error in any_error()) {
        let mut outbox = outbox();
        write_status(&mut outbox, END, 9, Some(&error));
        let (_, payload) = written(outbox);
        let back = read_status("END", &payload).unwrap().unwrap();
        prop_assert_eq!(format!("{back:?}"), format!("{error:?}"));
        prop_assert_eq!(back.is_unsent(), error.is_unsent());
        prop_assert!(!payload.is_empty(), "an error is never taken for success");
    }

    #[test]
    fn any_bytes_are_refused_or_read_and_never_panic(flags: u8, payload in vec(any::<u8>(), 0..400)) {
        let _ = Settings::read(&payload);
        if let Ok((head, at)) = CallHead::read(flags, &payload) {
            prop_assert!(at <= payload.len());
            let _ = Metadata::from_block(head.metadata);
        }
        let _ = read_reply(flags, &Payload::Borrowed(&payload, &Room::default()));
        let _ = read_status("END", &payload);
        let _ = read_credit(&payload);
    }

    #[test]
    fn nearly_good_bytes_are_refused_or_read_and_never_panic(
        metadata in any_metadata(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        let method = MethodName::New { number: 0, path: "math/double", content_type: "text/plain" };
        let head = CallHead { method, remaining_us: Some(1), metadata: metadata.as_block() };
        let mut outbox = outbox();
        head.write(&mut outbox, 9, Some(b"message"), false);
        let (header, mut payload) = written(outbox);
        let at = at.index(payload.len());
        payload[at] = with;
        if let Ok((head, at)) = CallHead::read(header[9], &payload) {
            prop_assert!(at <= payload.len());
            let _ = Metadata::from_block(head.metadata);
        }
    }
}
