//! `cargo +nightly fuzz run template_engine`: the property of the same name, with input that libFuzzer makes up.
#![no_main]

#[path = "../../tests/it/ingress/properties.rs"]
#[expect(dead_code, reason = "one property a fuzzer")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    properties::template_engine(data);
});
