//! The public listener and the webhook sources.
