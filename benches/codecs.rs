//! Codecs on a message of about 100 bytes, each beside the bare library that it is built on.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, criterion_group, criterion_main};
use nitro::codec::{Codec, ContentTypes, Json, Protobuf, Raw, Text};
use prost::Message;
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
struct Order {
    #[prost(string, tag = "1")]
    customer: String,
    #[prost(string, tag = "2")]
    article: String,
    #[prost(uint64, tag = "3")]
    number: u64,
    #[prost(int64, tag = "4")]
    placed_at_ms: i64,
    #[prost(uint32, tag = "5")]
    amount: u32,
    #[prost(bool, tag = "6")]
    express: bool,
    #[prost(string, repeated, tag = "7")]
    tags: Vec<String>,
}

fn order() -> Order {
    Order {
        customer: "a customer with a name of some length".to_owned(),
        article: "an article".to_owned(),
        number: 9_007_199_254_740_991,
        placed_at_ms: 1_750_000_000_000,
        amount: 3,
        express: true,
        tags: vec!["gift".to_owned(), "fragile".to_owned()],
    }
}

/// Encodes into a buffer that is used again and again, as a connection's is, and decodes.
fn both_ways<T, C: Codec<T>>(criterion: &mut Criterion, name: &str, codec: &C, value: &T) {
    let content_type = codec.preferred();
    let mut into = BytesMut::with_capacity(4096);
    criterion.bench_function(&format!("{name}/encode"), |bencher| {
        bencher.iter(|| {
            into.clear();
            let encoded = codec.encode(content_type, black_box(value), &mut into);
            encoded.expect("the value can be written");
            into.len()
        });
    });
    let bytes = into.split().freeze();
    criterion.bench_function(&format!("{name}/decode"), |bencher| {
        bencher.iter(|| {
            codec
                .decode(content_type, black_box(&bytes))
                .map(black_box)
                .is_ok()
        });
    });
}

fn bare(criterion: &mut Criterion) {
    let value = order();
    let mut into = Vec::with_capacity(4096);
    criterion.bench_function("bare serde_json/encode", |bencher| {
        bencher.iter(|| {
            into.clear();
            serde_json::to_writer(&mut into, black_box(&value)).expect("the value can be written");
            into.len()
        });
    });
    criterion.bench_function("bare serde_json/decode", |bencher| {
        bencher.iter(|| {
            serde_json::from_slice::<Order>(black_box(&into))
                .map(black_box)
                .is_ok()
        });
    });
    let mut into = Vec::with_capacity(4096);
    criterion.bench_function("bare prost/encode", |bencher| {
        bencher.iter(|| {
            into.clear();
            black_box(&value).encode(&mut into).expect("a vector grows");
            into.len()
        });
    });
    criterion.bench_function("bare prost/decode", |bencher| {
        bencher.iter(|| Order::decode(black_box(&into[..])).map(black_box).is_ok());
    });
}

fn codecs(criterion: &mut Criterion) {
    let value = order();
    both_ways(criterion, "json", &Json, &value);
    both_ways(criterion, "protobuf", &Protobuf, &value);
    both_ways(
        criterion,
        "protobuf, first of two",
        &(Protobuf, Json),
        &value,
    );
    both_ways(criterion, "json, first of two", &(Json, Protobuf), &value);
    both_ways(criterion, "raw", &Raw, &Bytes::from(vec![7; 100]));
    both_ways(criterion, "text", &Text, &"x".repeat(100));
    criterion.bench_function("negotiate", |bencher| {
        bencher.iter(|| {
            (Json, Protobuf)
                .negotiate(black_box("application/protobuf"))
                .is_ok()
        });
    });
}

criterion_group!(benches, bare, codecs);
criterion_main!(benches);
