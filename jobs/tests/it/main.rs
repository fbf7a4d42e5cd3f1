//! Stories through the application: its handlers against fakes, and the real binary.

mod cli;
