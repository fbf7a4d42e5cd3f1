//! What Tidemill is measured by: one JSON line a measurement.

fn main() {}
