//! Real servers and hostile networks for tests. Knows nothing of Tidemill, so that everything may use it.
