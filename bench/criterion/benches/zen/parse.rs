//! The trimmed parse against k8s-openapi's, against skipping the text without reading it, and of protobuf
//! against that of JSON.

use std::hint::black_box;

use criterion::Criterion;
use k8s_openapi::api::core::v1;
use serde::de::IgnoredAny;
use zen_bench::figures::{Table, in_turns, timed};
use zen_bench::pods::{Facts, Template, to_protobuf};
use zen_lead::logic::model::Pod;
use zen_lead::logic::reflect::{Encoding, Frame};

use crate::CpuTime;

const ROUNDS: usize = 50;
const PARSES: usize = 50;

pub(crate) fn bench(criterion: &mut Criterion<CpuTime>, table: &mut Table) {
    let mut json = Vec::new();
    let facts = Facts {
        namespace: "shop",
        name: "web-0",
        app: "web",
        number: 7,
        ready: true,
        version: 42,
        noise: 1,
    };
    Template::new().write(&facts, &mut json);
    let mut line = Vec::new();
    Template::new().frame("MODIFIED", &facts, &mut line);
    let event = to_protobuf(&line);

    let mut group = criterion.benchmark_group("parse");
    group.bench_function("trimmed", |b| b.iter(|| parse::<Pod>(&json)));
    group.bench_function("k8s-openapi", |b| b.iter(|| parse::<v1::Pod>(&json)));
    group.bench_function("skip", |b| b.iter(|| parse::<IgnoredAny>(&json)));
    group.bench_function("protobuf", |b| b.iter(|| frame(Encoding::Protobuf, &event)));
    group.finish();

    let many = |parse: fn(&[u8])| timed(|| (0..PARSES).for_each(|_| parse(&json))).0;
    let (whole, trimmed) = in_turns(ROUNDS, || many(parse::<v1::Pod>), || many(parse::<Pod>));
    table.compared(
        "50 pods of 10 kB, k8s-openapi as floor",
        &whole,
        &trimmed,
        0.3,
    );
    let (skip, trimmed) = in_turns(ROUNDS, || many(parse::<IgnoredAny>), || many(parse::<Pod>));
    table.beside("50 pods of 10 kB, skipping as floor", &skip, &trimmed);
    let frames =
        |encoding, event: &[u8]| timed(|| (0..PARSES).for_each(|_| frame(encoding, event))).0;
    let (json, protobuf) = in_turns(
        ROUNDS,
        || frames(Encoding::Json, line.trim_ascii()),
        || frames(Encoding::Protobuf, &event),
    );
    table.beside("50 events of 10 kB, JSON beside protobuf", &json, &protobuf);
}

fn frame(encoding: Encoding, event: &[u8]) {
    let read = Frame::<Pod>::read(encoding, black_box(event)).expect("no refusal");
    assert!(matches!(black_box(read), Frame::Applied(_)));
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) {
    let parsed: T = serde_json::from_slice(black_box(json)).expect("a pod");
    black_box(parsed);
}
