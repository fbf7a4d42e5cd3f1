//! The public listener and the webhooks that come in through it.

mod attempt;
mod fake_plaid;
mod hostile;
mod listener;
mod plaid;
mod properties;
mod receiving;
mod replies;
mod rig;
mod schemes;
mod settings;
mod signatures;
mod slowloris;
mod timing;
mod vectors;
mod wire;
