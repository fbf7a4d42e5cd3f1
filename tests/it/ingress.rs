//! The public listener and the webhooks that come in through it.

mod listener;
mod receiving;
mod rig;
mod settings;
mod signatures;
mod slowloris;
mod wire;
