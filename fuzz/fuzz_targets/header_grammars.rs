//! `cargo +nightly fuzz run header_grammars`: the property of the same name, with input that libFuzzer makes up.
#![no_main]

#[path = "../../tests/it/ingress/properties.rs"]
#[expect(dead_code, reason = "one property a fuzzer")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    properties::header_grammars(data);
});
